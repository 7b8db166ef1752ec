package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// perfBatch is how many records share a hand-over and its time.
const perfBatch = 256

// sampleInterval is how often it is noted how far a round is.
const sampleInterval = 100 * time.Millisecond

// A perfLoad is one client under load.
type perfLoad struct {
	client   string
	flags    *perfFlags
	payloads []sarama.Encoder
	keys     *keyring
	sender   sender
	status   *sluice.Status // of our own client
	stats    *stats
	txns     *transactions // nil without transactions

	sent    int64 // warm-up included
	failure error // why the load ended early, but for an interrupt
	rounds  []*measurement
}

// measure connects all clients, warms them up, and has them take turns. It returns an error if nothing could be measured.
func (f *perfFlags) measure(ctx context.Context, addrs []string, payloads []sarama.Encoder, con *console, faults *faults, lines io.Writer) (loads []*perfLoad, err error) {
	w := newWatch(con)
	defer w.stop()
	defer func() {
		for _, l := range loads {
			l.close(ctx)
		}
	}()
	for _, client := range f.clients {
		s := f.settings
		if f.transactional() && len(f.clients) > 1 {
			conf := *s.Conf
			conf.Producer.Transaction.ID += "-" + client // one id is for one producer
			s = s.with(&conf)
		}
		l := &perfLoad{client: client, flags: f, payloads: payloads, keys: newKeyring(int(f.keys), f.seed), status: &sluice.Status{}, stats: newStats(faults)}
		w.phase(l.waits(addrs, time.Now()), nil)
		if l.sender, err = openSender(ctx, client, addrs, s, l.status, l.stats.outcome); err != nil {
			if len(f.clients) > 1 {
				err = fmt.Errorf("%s: %w", client, err)
			}
			return loads, err
		}
		if f.transactional() {
			l.txns = &transactions{sender: l.sender, duration: f.txnDuration, stats: l.stats}
		}
		loads = append(loads, l)
	}
	stop := noteInterrupts(ctx, con, loads)
	defer stop()
	if f.warmup > 0 {
		for _, l := range loads {
			w.phase(l.waits(addrs, time.Time{}), func() []string { return []string{"warming " + l.client + " up"} })
			l.send(ctx, int64(f.warmup))
		}
	}
	for range f.rounds {
		for _, l := range loads {
			if l.failure != nil || ctx.Err() != nil && len(l.rounds) > 0 {
				continue
			}
			l.measureRound(ctx, w, addrs, lines)
		}
	}
	return loads, nil
}

// waits is what there is to say of a client that does not get on: ours says it itself. Of another one it is only known that it has
// been connecting since then; the zero time stands for a client that has connected.
func (l *perfLoad) waits(addrs []string, connecting time.Time) func() []sluice.Wait {
	return func() []sluice.Wait {
		if l.client == "sluice" {
			return explainAdvertised(l.status.Waits(), addrs)
		}
		if connecting.IsZero() {
			return nil
		}
		return []sluice.Wait{{What: l.client + " connects to " + strings.Join(addrs, ", "), Since: connecting}}
	}
}

// noteInterrupts answers the first signal at once, whatever is waited for, until the returned function is called.
func noteInterrupts(ctx context.Context, con *console, loads []*perfLoad) (stop func()) {
	return onInterrupt(ctx, func() {
		n := int64(0)
		for _, l := range loads {
			n += l.stats.outstanding()
		}
		if n > 0 {
			con.notef("interrupted: waiting for %s (interrupt again to end at once)", plural(n, "outstanding record"))
		}
	})
}

// measureRound sends the records once. It shows a line a second, or one in all where there are several rounds.
func (l *perfLoad) measureRound(ctx context.Context, w *watch, addrs []string, lines io.Writer) {
	who := ""
	if len(l.flags.clients) > 1 {
		who = l.client + ": "
		runtime.GC() // what the client before has left is not this one's
	}
	several := l.flags.rounds > 1 || len(l.flags.clients) > 1
	l.stats.start()
	var last atomic.Value
	last.Store(who + "measuring")
	if progress := (func() []string { return []string{last.Load().(string)} }); several {
		w.phase(l.waits(addrs, time.Time{}), progress)
	} else {
		w.phase(l.waits(addrs, time.Time{}), nil) // lines tell the progress
	}
	stopLines := every(time.Second, func() {
		if line := who + l.stats.line(); several {
			last.Store(line)
		} else {
			fmt.Fprintln(lines, line)
		}
	}, func() {})
	stopSamples := every(sampleInterval, l.stats.sample, func() {})
	l.send(ctx, int64(l.flags.records))
	stopSamples()
	stopLines()
	m := l.stats.finish()
	l.rounds = append(l.rounds, m)
	w.phase(nil, nil)
	if several {
		w.con.progress()
		fmt.Fprintf(lines, "round %d, %s%s\n", len(l.rounds), who, m.line())
	}
}

// send sends n records, or without an end if n is 0, in transactions if there are any. It returns when they have had their
// outcomes. A second signal gives up those that have none.
func (l *perfLoad) send(ctx context.Context, n int64) {
	pace := newPacer(l.flags.rate)
	for sent := int64(0); n == 0 || sent < n; {
		most := int64(perfBatch)
		if n > 0 {
			most = min(most, n-sent)
		}
		take := pace.wait(ctx, sent, int(most))
		if take == 0 {
			break
		}
		if l.failure = l.txns.begin(); l.failure != nil {
			break
		}
		msgs := l.next(take)
		l.stats.handOver(take)
		if ours, ok := l.sender.(batchSender); !ok {
			l.sender.send(msgs)
		} else if !ours.sendUnless(giveUp(ctx), msgs) {
			l.stats.outcome(msgs, context.Cause(giveUp(ctx)))
		}
		sent += int64(take)
		if l.failure = l.txns.sent(giveUp(ctx)); l.failure != nil {
			break
		}
	}
	if l.failure == nil {
		l.failure = l.txns.end(giveUp(ctx))
	}
	if l.failure == nil && giveUp(ctx).Err() == nil {
		if f, ok := l.sender.(flusher); ok && l.txns == nil {
			f.flush(giveUp(ctx))
		}
		l.stats.await(giveUp(ctx), l.sent)
	}
	if l.failure != nil || giveUp(ctx).Err() != nil {
		l.close(ctx) // it brings the outcomes that are missing
	}
	if giveUp(ctx).Err() != nil {
		l.failure = nil // it is the interrupt's
	}
}

// close returns when every record has had its outcome. With the second signal ours gives up what has none, and others are left
// behind.
func (l *perfLoad) close(ctx context.Context) {
	if l.sender == nil {
		return
	}
	if ours, ok := l.sender.(batchSender); ok {
		ours.closeUnless(giveUp(ctx))
	} else {
		closed, other := make(chan struct{}), l.sender
		go func() { other.close(); close(closed) }()
		select {
		case <-closed:
		case <-giveUp(ctx).Done():
		}
	}
	l.sender = nil
}

// next makes the next n records.
func (l *perfLoad) next(n int) []*sarama.ProducerMessage {
	slab, msgs := make([]sarama.ProducerMessage, n), make([]*sarama.ProducerMessage, n)
	stamp := &sendTime{time.Now()}
	for i := range slab {
		m := &slab[i]
		m.Topic, m.Value, m.Metadata = l.flags.topic, l.payloads[(l.sent+int64(i))%int64(len(l.payloads))], stamp
		m.Key = l.keys.next()
		msgs[i] = m
	}
	l.sent += int64(n)
	return msgs
}

// total is all rounds together.
func (l *perfLoad) total() *measurement {
	total := &measurement{}
	for _, m := range l.rounds {
		total.add(m)
	}
	return total
}

// measured is how many records were sent in rounds, and wanted how many were to be.
func (l *perfLoad) measured() int64 { return max(l.sent-int64(l.flags.warmup), 0) }
func (l *perfLoad) wanted() int64   { return int64(l.flags.records) * int64(l.flags.rounds) }

func (l *perfLoad) interrupted() bool { return l.failure == nil && l.measured() < l.wanted() }
