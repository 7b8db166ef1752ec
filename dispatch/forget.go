package dispatch

import (
	"slices"
	"time"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// How a topic is forgotten that nothing is sent to any more: its goroutines, look-ups and metrics. Without that, a program
// that writes to ever new topics would grow for ever, and its refreshes with it.
//
// The dispatcher decides, since it alone gives a topic its runs. Both count them:
//
//	topic                               dispatcher
//	has taken n runs, and is idle:
//	asks to be forgotten, and says n
//	                                    has put n: removes the topic, which gets no more, and tells it so
//	                                    has put more: does nothing; the topic asks again when it is idle again
//	ends its partition producers, then
//	itself, and hands their sequences
//	back
//	                                    starts the topic anew if there were runs for it meanwhile
//
// So no run is lost, and no two partition producers of a partition exist at a time, which its order needs.
//
// With idempotence a partition's next sequence number outlives it. If numbers began at 0 again, a broker that remembers
// the first batch would take the next one for the same: it would be acknowledged, and never written.

// forgetAfter is how long a topic stays that nothing is sent to, at least (Java: metadata.max.idle.ms). It also stays for
// the delivery timeout and forgetSlack, by when every message has its outcome: so nothing waits, is unsure or backs off.
const (
	forgetAfter = 5 * time.Minute
	forgetSlack = 10 * time.Second
)

// idleRequest is what a topic asks of the dispatcher: to forget it, or to take notice that it has ended.
type idleRequest struct {
	topic *topic
	taken uint64 // how many runs it has taken
	ended bool
}

// keptSequence is what is left of a partition producer.
type keptSequence struct {
	partition int32
	sequence  txn.Sequence
	state     brokerproducer.SequenceState
}

// On the topic's goroutine:

// untilIdle is how long to sleep before the topic may ask to be forgotten; 0: no timer is needed. If the topic may ask now,
// it does.
func (t *topic) untilIdle() time.Duration {
	if t.asked || t.idle == nil || len(t.waiting) > 0 || len(t.dirty) > 0 {
		return 0
	}
	after := max(forgetAfter, t.deps.DeliveryTimeout+forgetSlack)
	if left := t.usedAt + int64(after) - t.deps.Now(); left > 0 {
		return time.Duration(left)
	}
	t.asked = true
	t.idle.Put(idleRequest{topic: t, taken: t.takenRuns})
	return 0
}

// forget ends the partition producers.
func (t *topic) forget() {
	t.forgotten = true
	for _, slot := range t.partitions {
		if slot != nil {
			t.ending++
			slot.producer.events.Put(partitionEvent{kind: forgetPartition, topic: t.events})
		}
	}
}

// onProducerEnded handles the end of a partition producer.
func (t *topic) onProducerEnded(pp *partitionProducer) {
	t.ending--
	if seq := pp.rules.sequence; seq.Known() {
		t.kept = append(t.kept, keptSequence{pp.partition, seq, pp.rules.sequenceState})
	}
}

// leave is the end of a forgotten topic.
func (t *topic) leave() {
	if t.watched {
		t.deps.Metadata.Unwatch(t.name)
	}
	t.deps.Brokers.Forget(t.name)
	t.deps.Stats.Fold(t.stats)
	t.idle.Put(idleRequest{topic: t, ended: true})
}

// restore lets a new partition producer go on where a forgotten one has ended.
func (t *topic) restore(pp *partitionProducer) {
	i := slices.IndexFunc(t.kept, func(k keptSequence) bool { return k.partition == pp.partition })
	if i < 0 {
		return
	}
	pp.rules.sequence, pp.rules.sequenceState = t.kept[i].sequence, t.kept[i].state
	t.kept = slices.Delete(t.kept, i, i+1)
}

// On the dispatcher's goroutine:

// idleTopics are the dispatcher's books about forgotten topics.
type idleTopics struct {
	requests *flow.Mailbox[idleRequest]
	leaving  map[string]bool           // they were forgotten, and have not ended
	kept     map[string][]keptSequence // of topics that have
	identity txn.Identity              // what these are numbered under
}

// handleIdle handles the topics' requests. Call it also while waiting for memory: a topic that is to be started anew may
// hold it.
func (d *Dispatcher) handleIdle() {
	for _, req := range d.idle.requests.Take(nil) {
		t := d.topics[req.topic.name]
		switch {
		case req.ended:
			delete(d.idle.leaving, req.topic.name)
			d.keep(req.topic)
			if t != nil {
				d.start(t)
			}
		case t.putRuns == req.taken:
			delete(d.topics, t.name)
			if d.last == t {
				d.last = nil
			}
			d.idle.leaving[t.name] = true
			d.deps.Stats.Forget(t.stats)
			t.events.Put(topicEvent{kind: forgetTopic})
		}
	}
}

// start starts a topic, once its predecessor has ended.
func (d *Dispatcher) start(t *topicSlot) {
	if d.idle.leaving[t.name] {
		return // handleIdle will
	}
	d.dropOldSequences()
	t.kept = d.idle.kept[t.name]
	delete(d.idle.kept, t.name)
	d.stages.Go(t.run)
}

// keep keeps the sequences of a topic that has ended.
func (d *Dispatcher) keep(t *topic) {
	d.dropOldSequences()
	kept := slices.DeleteFunc(t.kept, func(k keptSequence) bool { return k.sequence.Identity != d.idle.identity })
	if len(kept) > 0 {
		d.idle.kept[t.name] = slices.Clip(kept)
	}
}

// dropOldSequences drops the sequences of another id or epoch: under a new one every partition begins at 0.
func (d *Dispatcher) dropOldSequences() {
	if d.deps.Identities == nil {
		return
	}
	if now := d.deps.Identities.Current(); now != d.idle.identity {
		d.idle.identity = now
		clear(d.idle.kept)
	}
}
