package sluice

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// SyncProducer is sarama's SyncProducer with contexts. All methods may be called concurrently.
type SyncProducer interface {
	sarama.SyncProducer

	// SendMessageContext is SendMessage that ends with ctx. A message that was not encoded by then is withdrawn and
	// never sent; one that was gets an error that wraps ErrOutcomeUnknown and the context's cause, and may still be
	// written. A copy of msg is sent, so that msg and its bytes are the caller's again when the call returns; Partition,
	// Offset and Timestamp are copied back with an outcome only.
	SendMessageContext(ctx context.Context, msg *sarama.ProducerMessage) (partition int32, offset int64, err error)

	// SendMessagesContext is SendMessages that ends with ctx. If any message failed it returns sarama.ProducerErrors
	// with exactly those that failed, in their order; the others carry their Partition and Offset. All are the caller's
	// again when it returns.
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
	// These are reused, but not by other producers: their channels belong to the testing/synctest bubble that they were
	// made in, as the producer does.
	waiters, tallies, groups sync.Pool
}

func newSyncProducer(async *asyncProducer) *syncProducer {
	return &syncProducer{
		async: async, waiters: sync.Pool{New: newWaiter}, tallies: sync.Pool{New: newTally}, groups: sync.Pool{New: newGroup},
	}
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
			return -1, -1, withdrawn(flow.ContextError(ctx))
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

// Outcome implements flow.Sink. The call is of one message.
func (w *waiter) Outcome(_ []flow.Record, partition int32, offset int64, timestamp time.Time, err error) {
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
	if err := checkAll(msgs); err != nil || len(msgs) == 0 {
		return err
	}
	t := p.tallies.Get().(*tally)
	t.left = len(msgs)
	recs := flow.GetRun(len(msgs))
	for _, msg := range msgs {
		recs = append(recs, flow.Record{Msg: msg, Call: &t.call, Partition: -1})
	}
	p.async.submitAll(context.Background(), recs, t.refused)
	flow.PutRun(recs)
	<-t.all
	failed := t.fill()
	p.recycleTally(t)
	return inOrder(failed, msgs)
}

func (p *syncProducer) SendMessagesContext(ctx context.Context, msgs []*sarama.ProducerMessage) error {
	if ctx.Done() == nil {
		return p.SendMessages(msgs)
	}
	if err := checkAll(msgs); err != nil || len(msgs) == 0 {
		return err
	}
	copies := make([]sarama.ProducerMessage, len(msgs))
	g := p.groups.Get().(*group)
	g.begin(len(msgs))
	recs := flow.GetRun(len(msgs))
	for i, msg := range msgs {
		copies[i] = *msg
		recs = append(recs, flow.Record{Msg: &copies[i], Call: &g.calls[i], Partition: -1})
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

func checkAll(msgs []*sarama.ProducerMessage) error {
	for i, msg := range msgs {
		if msg == nil {
			return fmt.Errorf("sluice: %w", sarama.ConfigurationError(fmt.Sprintf("message %d of %d is nil; none was sent", i, len(msgs))))
		}
	}
	return nil
}

func (p *syncProducer) Close() error { return p.CloseContext(context.Background()) }

func (p *syncProducer) CloseContext(ctx context.Context) error { return p.async.CloseContext(ctx) }
