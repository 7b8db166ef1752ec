package sluice

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What waits for the outcomes of messages that SendMessages and SendMessagesContext send together.

// batchCall collects the outcomes of messages that were sent together and can't be withdrawn. All share its call. They are
// written into the messages when all have come: the same message may have been sent twice, and be read until then.
type batchCall struct {
	call flow.Completion
	all  chan struct{} // one token when none is left; then the batchCall is the sender's

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

func newBatchCall() any {
	t := &batchCall{all: make(chan struct{}, 1)}
	t.call.Waiter, t.call.NotCancellable = t, true
	return t
}

// Outcome implements flow.Waiter.
func (t *batchCall) Outcome(recs []flow.Record, partition int32, offset int64, timestamp time.Time, err error) {
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
func (t *batchCall) refused(rec flow.Record, err error) {
	t.Outcome([]flow.Record{rec}, -1, flow.NoOffset, time.Time{}, err)
}

// fill writes the outcomes into the messages and returns the failures.
func (t *batchCall) fill() (failed sarama.ProducerErrors) {
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

// recycleBatchCall gives a batchCall back all of whose outcomes have come.
func (p *Producer) recycleBatchCall(t *batchCall) {
	if len(t.msgs) > callKept {
		return
	}
	clear(t.msgs)
	clear(t.fates)
	t.msgs, t.fates = t.msgs[:0], t.fates[:0]
	p.batchCalls.Put(t)
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

// cancellableCall waits for the outcomes of messages that were sent together, until their sender gives up.
type cancellableCall struct {
	calls   []flow.Completion
	decided []uint32 // whoever sets it writes the place in got
	got     []outcome
	left    atomic.Int64  // places of got that are not written
	all     chan struct{} // one token when none is left; then got is the sender's
}

func newCancellableCall() any { return &cancellableCall{all: make(chan struct{}, 1)} }

// begin makes a cancellableCall of n messages of one that nobody uses.
func (g *cancellableCall) begin(n int) {
	if cap(g.calls) < n {
		g.calls, g.decided, g.got = make([]flow.Completion, n), make([]uint32, n), make([]outcome, n)
		for i := range g.calls {
			g.calls[i].Waiter, g.calls[i].Index = g, i // not written again: see flow.Waiter
		}
	}
	g.calls, g.decided, g.got = g.calls[:n], g.decided[:n], g.got[:n]
	for i := range g.calls {
		g.calls[i].Reset()
	}
	clear(g.decided)
	g.left.Store(int64(n))
}

// callKept is how many messages a cancellableCall or a batchCall may have had that is used again.
const callKept = 10_000

// recycleCancellableCall gives a cancellableCall back all of whose outcomes have come.
func (p *Producer) recycleCancellableCall(g *cancellableCall) {
	if len(g.got) <= callKept {
		clear(g.got)
		p.cancellableCalls.Put(g)
	}
}

// Outcome implements flow.Waiter. Each message has a call of its own, so it is one record; after giveUp it is too late.
func (g *cancellableCall) Outcome(recs []flow.Record, partition int32, offset int64, timestamp time.Time, err error) {
	g.settle(recs[0].Completion.Index, outcome{partition, offset, timestamp, err})
}

func (g *cancellableCall) settle(i int, got outcome) {
	if !atomic.CompareAndSwapUint32(&g.decided[i], 0, 1) {
		return
	}
	g.got[i] = got
	if g.left.Add(-1) == 0 {
		g.all <- struct{}{}
	}
}

// refused is the outcome of a message that did not enter the pipeline.
func (g *cancellableCall) refused(rec flow.Record, err error) { g.fail(rec.Completion.Index, err) }

func (g *cancellableCall) fail(i int, err error) {
	g.settle(i, outcome{partition: -1, offset: flow.NoOffset, err: err})
}

// giveUp withdraws what can be withdrawn, and decides the rest as unknown.
func (g *cancellableCall) giveUp(cause error) {
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
	return flow.Errorf("withdrawn before it was sent: %w", cause)
}
