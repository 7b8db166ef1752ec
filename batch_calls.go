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

	mu       sync.Mutex
	left     int                       // messages without an outcome
	msgs     []*sarama.ProducerMessage // with one, as it came
	outcomes []sharedOutcome           // of msgs that follow each other
}

// sharedOutcome is the outcome of n messages.
type sharedOutcome struct {
	n int
	outcome
}

func newBatchCall() any {
	c := &batchCall{all: make(chan struct{}, 1)}
	c.call.Waiter, c.call.NotCancellable = c, true
	return c
}

// Outcome implements flow.Waiter.
func (c *batchCall) Outcome(recs []flow.Record, partition int32, offset int64, timestamp time.Time, err error) {
	c.mu.Lock()
	for i := range recs {
		c.msgs = append(c.msgs, recs[i].Msg)
	}
	c.outcomes = append(c.outcomes, sharedOutcome{len(recs), outcome{partition, offset, timestamp, err}})
	c.left -= len(recs)
	last := c.left == 0
	c.mu.Unlock()
	if last {
		c.all <- struct{}{}
	}
}

// refused is the outcome of a message that did not enter the pipeline.
func (c *batchCall) refused(rec flow.Record, err error) {
	c.Outcome([]flow.Record{rec}, -1, flow.NoOffset, time.Time{}, err)
}

// fill writes the outcomes into the messages and returns the failures.
func (c *batchCall) fill() (failed sarama.ProducerErrors) {
	msgs := c.msgs
	for _, shared := range c.outcomes {
		for i, msg := range msgs[:shared.n] {
			oc := shared.outcome
			oc.offset = flow.OffsetBehind(oc.offset, i)
			failed = oc.fill(msg, failed)
		}
		msgs = msgs[shared.n:]
	}
	return failed
}

// fill writes an outcome into its message, and appends it to failed if it is a failure.
func (oc *outcome) fill(msg *sarama.ProducerMessage, failed sarama.ProducerErrors) sarama.ProducerErrors {
	flow.Fill(msg, oc.partition, oc.offset, oc.timestamp, oc.err)
	if oc.err != nil {
		failed = append(failed, &sarama.ProducerError{Msg: msg, Err: oc.err})
	}
	return failed
}

// recycleBatchCall gives a batchCall back all of whose outcomes have come.
func (p *Producer) recycleBatchCall(c *batchCall) {
	if len(c.msgs) > callKept {
		return
	}
	clear(c.msgs)
	clear(c.outcomes)
	c.msgs, c.outcomes = c.msgs[:0], c.outcomes[:0]
	p.batchCalls.Put(c)
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

// begin readies an unused cancellableCall for n messages.
func (c *cancellableCall) begin(n int) {
	if cap(c.calls) < n {
		c.calls, c.decided, c.got = make([]flow.Completion, n), make([]uint32, n), make([]outcome, n)
		for i := range c.calls {
			c.calls[i].Waiter, c.calls[i].Index = c, i // not written again: see flow.Waiter
		}
	}
	c.calls, c.decided, c.got = c.calls[:n], c.decided[:n], c.got[:n]
	for i := range c.calls {
		c.calls[i].Reset()
	}
	clear(c.decided)
	c.left.Store(int64(n))
}

// callKept is how many messages a cancellableCall or a batchCall may have had that is used again.
const callKept = 10_000

// recycleCancellableCall gives a cancellableCall back all of whose outcomes have come.
func (p *Producer) recycleCancellableCall(c *cancellableCall) {
	if len(c.got) <= callKept {
		clear(c.got)
		p.cancellableCalls.Put(c)
	}
}

// Outcome implements flow.Waiter. Each message has a call of its own, so it is one record; after giveUp it is too late.
func (c *cancellableCall) Outcome(recs []flow.Record, partition int32, offset int64, timestamp time.Time, err error) {
	c.settle(recs[0].Completion.Index, outcome{partition, offset, timestamp, err})
}

// settle writes the outcome of a message, if it is the first one.
func (c *cancellableCall) settle(i int, got outcome) (first bool) {
	if !atomic.CompareAndSwapUint32(&c.decided[i], 0, 1) {
		return false
	}
	c.got[i] = got
	if c.left.Add(-1) == 0 {
		c.all <- struct{}{}
	}
	return true
}

// refused is the outcome of a message that did not enter the pipeline.
func (c *cancellableCall) refused(rec flow.Record, err error) { c.fail(rec.Completion.Index, err) }

func (c *cancellableCall) fail(i int, err error) (first bool) {
	return c.settle(i, outcome{partition: -1, offset: flow.NoOffset, err: err})
}

// giveUp withdraws what can be withdrawn, calling withdrew for each, and decides the rest as unknown. It tells whether anything was
// left to give up.
func (c *cancellableCall) giveUp(cause error, withdrew func(i int, err error)) (any bool) {
	for i := range c.calls {
		err := flow.Unknown(cause)
		if c.calls[i].Withdraw() {
			err = withdrawn(cause)
			withdrew(i, err)
		}
		any = c.fail(i, err) || any
	}
	return any
}

// withdrawn is the error of a message that its sender took back.
func withdrawn(cause error) error {
	return flow.Errorf("withdrawn before it was sent: %w", cause)
}
