package sluice

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// SyncProducer is sarama's SyncProducer with contexts. All methods may be called concurrently.
type SyncProducer interface {
	sarama.SyncProducer

	// SendMessageContext is SendMessage that ends with ctx. A message that was not encoded by then is withdrawn and
	// never sent; one that was gets an error that wraps ErrOutcomeUnknown and the context's cause, and may still be
	// written. A copy of msg is sent, so that msg is the caller's again when the call returns; Partition, Offset and
	// Timestamp are copied back with an outcome only.
	SendMessageContext(ctx context.Context, msg *sarama.ProducerMessage) (partition int32, offset int64, err error)

	// SendMessagesContext is SendMessages that ends with ctx. If any message failed it returns sarama.ProducerErrors
	// with exactly those that failed; the others carry their Partition and Offset.
	SendMessagesContext(ctx context.Context, msgs []*sarama.ProducerMessage) error

	// CloseContext is Close with a bound: when ctx ends, what is left fails with an error that wraps the context's
	// cause.
	CloseContext(ctx context.Context) error
}

var _ SyncProducer = (*syncProducer)(nil)

// syncProducer waits for the outcomes of an asyncProducer's messages. They never pass through its channels: the stage
// that decides a fate wakes the sender.
type syncProducer struct {
	nonTransactional
	async *asyncProducer
	// waiters and groups are reused, but not by other producers: their channels belong to the testing/synctest bubble that
	// they were made in, as the producer does.
	waiters, groups sync.Pool
}

func newSyncProducer(async *asyncProducer) *syncProducer {
	return &syncProducer{async: async, waiters: sync.Pool{New: newWaiter}, groups: sync.Pool{New: newGroup}}
}

// NewSyncProducer makes a producer as NewAsyncProducer does. A nil conf means sarama's defaults. Unlike in sarama it
// does not matter what Producer.Return says.
func NewSyncProducer(addrs []string, conf *sarama.Config, opts ...Option) (SyncProducer, error) {
	if conf == nil {
		conf = sarama.NewConfig()
	}
	p, err := newAsyncProducer(addrs, conf, opts)
	if err != nil {
		return nil, err
	}
	return newSyncProducer(p), nil
}

// NewSyncProducerFromClient makes a producer as NewAsyncProducerFromClient does.
func NewSyncProducerFromClient(client sarama.Client, opts ...Option) (SyncProducer, error) {
	p, err := newFromClient(client, opts)
	if err != nil {
		return nil, err
	}
	return newSyncProducer(p), nil
}

func (p *syncProducer) SendMessage(msg *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	return p.send(context.Background(), msg, msg)
}

func (p *syncProducer) SendMessageContext(ctx context.Context, msg *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	if msg == nil {
		return p.send(ctx, nil, nil)
	}
	sent := *msg
	return p.send(ctx, msg, &sent)
}

// send sends one message and writes its outcome into msg, which may be the same.
func (p *syncProducer) send(ctx context.Context, msg, sent *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	if msg == nil {
		return -1, -1, fmt.Errorf("sluice: %w", sarama.ConfigurationError("a nil message was sent"))
	}
	w := p.waiters.Get().(*waiter)
	w.call.Firm = ctx.Done() == nil
	if err := p.async.submit(ctx, flow.Record{Msg: sent, Call: &w.call, Partition: -1}); err != nil {
		p.recycle(w)
		return -1, -1, err
	}
	select {
	case <-w.decided:
	case <-ctx.Done():
		if w.call.Withdraw() {
			// The pipeline drops the record when it comes to it. Until then it knows the waiter, which is therefore
			// not used again.
			return -1, -1, fmt.Errorf("sluice: withdrawn before it was sent: %w", flow.ContextError(ctx))
		}
		select {
		case <-w.decided: // at the same moment
		default:
			return -1, -1, flow.Unknown(flow.ContextError(ctx))
		}
	}
	got := w.got
	p.recycle(w)
	flow.Fill(msg, got.partition, got.offset, got.timestamp, got.err)
	if got.err != nil {
		return -1, -1, got.err
	}
	return got.partition, got.offset, nil
}

// waiter waits for one outcome.
type waiter struct {
	call    flow.Call
	decided chan struct{} // one token an outcome
	got     outcome
}

type outcome struct {
	partition int32
	offset    int64
	timestamp time.Time
	err       error
}

func newWaiter() any {
	w := &waiter{decided: make(chan struct{}, 1)}
	w.call.Sink = w
	return w
}

// Outcome implements flow.Sink.
func (w *waiter) Outcome(_ int, partition int32, offset int64, timestamp time.Time, err error) {
	w.got = outcome{partition, offset, timestamp, err}
	w.decided <- struct{}{}
}

// recycle gives a waiter back that the pipeline does not know any more.
func (p *syncProducer) recycle(w *waiter) {
	w.got = outcome{}
	w.call.Reset()
	p.waiters.Put(w)
}

func (p *syncProducer) SendMessages(msgs []*sarama.ProducerMessage) error {
	return p.sendAll(context.Background(), msgs, msgs)
}

func (p *syncProducer) SendMessagesContext(ctx context.Context, msgs []*sarama.ProducerMessage) error {
	copies := make([]sarama.ProducerMessage, len(msgs))
	sent := make([]*sarama.ProducerMessage, len(msgs))
	for i, msg := range msgs {
		if msg != nil {
			copies[i] = *msg
			sent[i] = &copies[i]
		}
	}
	return p.sendAll(ctx, msgs, sent)
}

// sendAll sends messages together and writes their outcomes into msgs, which may be the same.
func (p *syncProducer) sendAll(ctx context.Context, msgs, sent []*sarama.ProducerMessage) error {
	for i, msg := range msgs {
		if msg == nil {
			return fmt.Errorf("sluice: %w", sarama.ConfigurationError(fmt.Sprintf("message %d of %d is nil; none was sent", i, len(msgs))))
		}
	}
	if len(msgs) == 0 {
		return nil
	}
	g := p.groups.Get().(*group)
	g.begin(len(msgs), ctx.Done() == nil)
	recs := flow.GetRun(len(msgs))
	for i, msg := range sent {
		recs = append(recs, flow.Record{Msg: msg, Call: &g.calls[i], Partition: -1})
	}
	p.async.submitAll(ctx, recs, g.refused)
	flow.PutRun(recs)

	again := true
	select {
	case <-g.all:
	case <-ctx.Done():
		g.giveUp(flow.ContextError(ctx))
		<-g.all
		again = false // the pipeline may still come to what was withdrawn
	}

	var failed sarama.ProducerErrors
	for i := range g.got {
		got := &g.got[i]
		flow.Fill(msgs[i], got.partition, got.offset, got.timestamp, got.err)
		if got.err != nil {
			failed = append(failed, &sarama.ProducerError{Msg: msgs[i], Err: got.err})
		}
	}
	if again {
		p.recycleGroup(g)
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}

// group waits for the outcomes of messages that were sent together.
type group struct {
	calls   []flow.Call
	decided []uint32 // whoever sets it writes the place in got; not looked at where nobody gives up (Call.Firm)
	got     []outcome
	left    atomic.Int64  // places of got that are not written
	all     chan struct{} // one token when none is left; then got is the sender's
}

func newGroup() any { return &group{all: make(chan struct{}, 1)} }

// begin makes a group of n messages of one that nobody uses.
func (g *group) begin(n int, firm bool) {
	if cap(g.calls) < n {
		g.calls, g.decided, g.got = make([]flow.Call, n), make([]uint32, n), make([]outcome, n)
		for i := range g.calls {
			g.calls[i].Sink, g.calls[i].Index = g, i // not written again: see flow.Sink
		}
	}
	g.calls, g.decided, g.got = g.calls[:n], g.decided[:n], g.got[:n]
	for i := range g.calls {
		g.calls[i].Firm = firm
		g.calls[i].Reset()
	}
	clear(g.decided)
	g.left.Store(int64(n))
}

// groupKept is how many messages a group may have had that is used again.
const groupKept = 10_000

// recycleGroup gives a group back all of whose outcomes have come.
func (p *syncProducer) recycleGroup(g *group) {
	if len(g.got) <= groupKept {
		clear(g.got)
		p.groups.Put(g)
	}
}

// Outcome implements flow.Sink. One that comes after giveUp is too late.
func (g *group) Outcome(i int, partition int32, offset int64, timestamp time.Time, err error) {
	if !g.calls[i].Firm && !atomic.CompareAndSwapUint32(&g.decided[i], 0, 1) {
		return
	}
	g.got[i] = outcome{partition, offset, timestamp, err}
	if g.left.Add(-1) == 0 {
		g.all <- struct{}{}
	}
}

// refused is the outcome of a message that did not enter the pipeline.
func (g *group) refused(i int, err error) { g.Outcome(i, -1, flow.NoOffset, time.Time{}, err) }

// giveUp withdraws what can be withdrawn, and decides the rest as unknown.
func (g *group) giveUp(cause error) {
	for i := range g.calls {
		err := flow.Unknown(cause)
		if g.calls[i].Withdraw() {
			err = fmt.Errorf("sluice: withdrawn before it was sent: %w", cause)
		}
		g.refused(i, err)
	}
}

func (p *syncProducer) Close() error { return p.CloseContext(context.Background()) }

func (p *syncProducer) CloseContext(ctx context.Context) error { return p.async.CloseContext(ctx) }
