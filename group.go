package sluice

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What waits for the outcomes of messages that SendMessages and SendMessagesContext send together.

// tally collects the outcomes of messages that were sent together and can't be withdrawn. All share its call. They are
// written into the messages when all have come: the same message may have been sent twice, and be read until then.
type tally struct {
	call flow.Call
	all  chan struct{} // one token when none is left; then the tally is the sender's

	mu    sync.Mutex
	left  int                       // messages without an outcome
	msgs  []*sarama.ProducerMessage // with one, as it came
	fates []fate                    // of msgs that follow each other
}

// fate is what became of n messages.
type fate struct {
	n int
	outcome
}

func newTally() any {
	t := &tally{all: make(chan struct{}, 1)}
	t.call.Sink, t.call.Firm = t, true
	return t
}

// Outcome implements flow.Sink.
func (t *tally) Outcome(recs []flow.Record, partition int32, offset int64, timestamp time.Time, err error) {
	t.mu.Lock()
	for i := range recs {
		t.msgs = append(t.msgs, recs[i].Msg)
	}
	t.fates = append(t.fates, fate{len(recs), outcome{partition, offset, timestamp, err}})
	t.left -= len(recs)
	last := t.left == 0
	t.mu.Unlock()
	if last {
		t.all <- struct{}{}
	}
}

// refused is the outcome of a message that did not enter the pipeline.
func (t *tally) refused(rec flow.Record, err error) {
	t.Outcome([]flow.Record{rec}, -1, flow.NoOffset, time.Time{}, err)
}

// fill writes the outcomes into the messages and returns the failures.
func (t *tally) fill() (failed sarama.ProducerErrors) {
	msgs := t.msgs
	for _, f := range t.fates {
		for i, msg := range msgs[:f.n] {
			flow.Fill(msg, f.partition, flow.OffsetBehind(f.offset, i), f.timestamp, f.err)
			if f.err != nil {
				failed = append(failed, &sarama.ProducerError{Msg: msg, Err: f.err})
			}
		}
		msgs = msgs[f.n:]
	}
	return failed
}

// recycleTally gives a tally back all of whose outcomes have come.
func (p *Producer) recycleTally(t *tally) {
	if len(t.msgs) > groupKept {
		return
	}
	clear(t.msgs)
	clear(t.fates)
	t.msgs, t.fates = t.msgs[:0], t.fates[:0]
	p.tallies.Put(t)
}

// inOrder puts failures into the order of the messages that were sent; a message may be among these more than once.
func inOrder(failed sarama.ProducerErrors, msgs []*sarama.ProducerMessage) error {
	if len(failed) == 0 {
		return nil
	}
	place := make(map[*sarama.ProducerMessage]int, len(msgs))
	for i, msg := range msgs {
		place[msg] = i
	}
	slices.SortStableFunc(failed, func(a, b *sarama.ProducerError) int { return place[a.Msg] - place[b.Msg] })
	return failed
}

// group waits for the outcomes of messages that were sent together, until their sender gives up.
type group struct {
	calls   []flow.Call
	decided []uint32 // whoever sets it writes the place in got
	got     []outcome
	left    atomic.Int64  // places of got that are not written
	all     chan struct{} // one token when none is left; then got is the sender's
}

func newGroup() any { return &group{all: make(chan struct{}, 1)} }

// begin makes a group of n messages of one that nobody uses.
func (g *group) begin(n int) {
	if cap(g.calls) < n {
		g.calls, g.decided, g.got = make([]flow.Call, n), make([]uint32, n), make([]outcome, n)
		for i := range g.calls {
			g.calls[i].Sink, g.calls[i].Index = g, i // not written again: see flow.Sink
		}
	}
	g.calls, g.decided, g.got = g.calls[:n], g.decided[:n], g.got[:n]
	for i := range g.calls {
		g.calls[i].Reset()
	}
	clear(g.decided)
	g.left.Store(int64(n))
}

// groupKept is how many messages a group or a tally may have had that is used again.
const groupKept = 10_000

// recycleGroup gives a group back all of whose outcomes have come.
func (p *Producer) recycleGroup(g *group) {
	if len(g.got) <= groupKept {
		clear(g.got)
		p.groups.Put(g)
	}
}

// Outcome implements flow.Sink. Each message has a call of its own, so it is one record; after giveUp it is too late.
func (g *group) Outcome(recs []flow.Record, partition int32, offset int64, timestamp time.Time, err error) {
	g.settle(recs[0].Call.Index, outcome{partition, offset, timestamp, err})
}

func (g *group) settle(i int, got outcome) {
	if !atomic.CompareAndSwapUint32(&g.decided[i], 0, 1) {
		return
	}
	g.got[i] = got
	if g.left.Add(-1) == 0 {
		g.all <- struct{}{}
	}
}

// refused is the outcome of a message that did not enter the pipeline.
func (g *group) refused(rec flow.Record, err error) { g.fail(rec.Call.Index, err) }

func (g *group) fail(i int, err error) {
	g.settle(i, outcome{partition: -1, offset: flow.NoOffset, err: err})
}

// giveUp withdraws what can be withdrawn, and decides the rest as unknown.
func (g *group) giveUp(cause error) {
	for i := range g.calls {
		err := flow.Unknown(cause)
		if g.calls[i].Withdraw() {
			err = withdrawn(cause)
		}
		g.fail(i, err)
	}
}

// withdrawn is the error of a message that its sender took back.
func withdrawn(cause error) error {
	return fmt.Errorf("sluice: withdrawn before it was sent: %w", cause)
}
