package simtest

import (
	"context"
	"math/rand/v2"
	"time"
)

// schedule is what happens to the cluster while the senders send.
func (r *run) schedule(ended chan<- struct{}) {
	defer close(ended)
	draw := rand.New(rand.NewPCG(r.seed, 6))
	end := time.Now().Add(r.sc.length)
	if r.sc.chaos == 0 {
		r.wait(r.sc.length)
		return
	}
	brokers := make([]int32, r.sc.brokers)
	for i := range brokers {
		brokers[i] = int32(i)
	}
	added := int32(r.sc.brokers)
	for time.Now().Before(end) {
		if !r.wait(time.Duration(draw.Int64N(int64(r.sc.chaos*2)))) || r.whole.Load() {
			return
		}
		node := pick(draw, brokers...)
		topic, p := pick(draw, r.sc.topicNames()...), draw.Int32N(r.sc.partitions)
		switch draw.IntN(14) {
		case 0, 1, 2, 3, 4:
			r.trace("%s/%d moves to broker %d", topic, p, node)
			_ = r.cluster.MoveTopicPartition(topic, p, node)
		case 5, 6:
			r.trace("connections to broker %d are cut", node)
			r.net.cut(addr(node))
		case 7:
			r.trace("broker %d is down", node)
			r.net.set(r.net.down, addr(node), true)
			r.net.cut(addr(node))
			r.later(draw, func() {
				r.trace("broker %d is up", node)
				r.net.set(r.net.down, addr(node), false)
			})
		case 8:
			r.trace("broker %d hangs", node)
			r.net.set(r.net.deaf, addr(node), true)
			r.later(draw, func() {
				r.trace("broker %d wakes up", node)
				r.net.set(r.net.deaf, addr(node), false)
			})
		case 9, 10:
			r.trace("%s/%d has no leader", topic, p)
			r.setLeaderless(topic, p, true)
			r.later(draw, func() {
				r.trace("%s/%d has a leader", topic, p)
				r.setLeaderless(topic, p, false)
			})
		case 11:
			r.trace("all leaders move")
			for _, topic := range r.sc.topicNames() {
				for p := range r.sc.partitions {
					_ = r.cluster.MoveTopicPartition(topic, p, pick(draw, brokers...))
				}
			}
		case 12:
			if added < 20 {
				r.trace("broker %d is added", added)
				if _, _, err := r.cluster.AddNode(added, 9000+int(added)); err == nil {
					brokers = append(brokers, added)
				}
				added++
			}
		case 13:
			if len(brokers) > 1 && node != 0 { // the seed stays
				r.trace("broker %d is removed", node)
				if r.cluster.RemoveNode(node) == nil {
					r.net.cut(addr(node))
					kept := brokers[:0:0]
					for _, b := range brokers {
						if b != node {
							kept = append(kept, b)
						}
					}
					brokers = kept
				}
			}
		}
	}
}

// later undoes a fault after a while.
func (r *run) later(draw *rand.Rand, undo func()) {
	time.AfterFunc(time.Duration(draw.Int64N(int64(2*r.sc.readTimeout))), undo)
}

// wait returns false if the run has ended.
func (r *run) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-r.stop:
		return false
	}
}

func (r *run) setLeaderless(topic string, id int32, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaderLess[partition{topic, id}] = is
}

// flusher flushes at some moment and checks that it was waited for: what was taken before has its outcome.
func (r *run) flusher(number int) {
	draw := rand.New(rand.NewPCG(r.seed, uint64(number)|8<<60))
	if !r.wait(time.Duration(draw.Int64N(int64(r.sc.length)))) {
		return
	}
	r.mu.Lock()
	r.forced = true
	var before []*sent
	for _, m := range r.messages {
		if m.taken && m.accepted {
			before = append(before, m)
		}
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(draw.Int64N(int64(4*r.sc.delivery))))
	defer cancel()
	begin := time.Now()
	err := r.async.Flush(ctx)
	r.trace("flush %d of %d messages took %v: %v", number, len(before), time.Since(begin), err)
	if err != nil {
		if ctx.Err() == nil {
			r.fail("Flush: %v", err)
		}
		if took := time.Since(begin); took > r.sc.delivery+r.slack() && !r.sc.scarce() {
			r.fail("Flush waited for %v, the delivery timeout is %v", took, r.sc.delivery)
		}
		return
	}
	// With Flush.MaxMessages 1 each message is a request.
	bound := 100*time.Millisecond + time.Duration(len(before))*latency
	if took := time.Since(begin); r.sc.quiet() && took > bound {
		r.fail("Flush took %v where nothing was wrong", took)
	}
	// An outcome is handed over without waiting, unless the readers are slow: let that happen at this instant.
	if r.sc.slowReaders {
		return
	}
	flushed := time.Now()
	time.Sleep(time.Nanosecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range before {
		if r.closing {
			return // Close takes outcomes as well
		}
		if !m.told(r.sc.report && m.how != "produce" && m.how != "append", flushed) {
			r.failures = append(r.failures, "Flush returned before the outcome of "+m.String())
			return
		}
	}
}

// told tells whether a message had an outcome at a moment.
func (m *sent) told(byReport bool, at time.Time) bool {
	outcomes := m.outcomes
	if byReport {
		outcomes = m.reports
	}
	return len(outcomes) > 0 && !outcomes[0].at.After(at)
}

// fiveBounds is what the producer holds at most: the bound for what has no outcome, and four of them for outcomes that
// nobody takes.
func (r *run) fiveBounds() int64 { return 5 * r.sc.memory }

// watchMemory looks whether the budget is kept. A flush and Close take in what the inputs hold, beyond it.
func (r *run) watchMemory() {
	for r.wait(7 * time.Millisecond) {
		r.mu.Lock()
		beyond := r.forced || r.closing
		r.mu.Unlock()
		if beyond {
			return
		}
		if _, bytes := r.async.Buffered(); bytes > r.fiveBounds() {
			r.mu.Lock()
			beyond = r.forced || r.closing
			r.mu.Unlock()
			if !beyond {
				r.fail("%d bytes are buffered, the budget is %d", bytes, r.sc.memory)
			}
			return
		}
	}
}
