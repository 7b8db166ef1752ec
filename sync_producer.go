package sluice

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// NewSyncProducer is sarama.NewSyncProducer, with the contract that NewAsyncProducer describes. A nil conf means sarama's
// defaults. Unlike in sarama it does not matter what Producer.Return says. The result is a *Producer underneath.
func NewSyncProducer(addrs []string, conf *sarama.Config) (sarama.SyncProducer, error) {
	if conf == nil {
		conf = sarama.NewConfig()
		conf.Producer.Return.Successes = true // as sarama does: it shows in Successes
	}
	return orNil[sarama.SyncProducer](newProducer(addrs, conf, saramaContract))
}

// NewSyncProducerFromClient is sarama.NewSyncProducerFromClient, see NewSyncProducer. The client stays open when the
// producer is closed.
func NewSyncProducerFromClient(client sarama.Client) (sarama.SyncProducer, error) {
	return orNil[sarama.SyncProducer](newFromClient(client, saramaContract))
}

// SendMessage sends a message and waits for its outcome: its partition and offset, or -1, -1 and an error. The message is
// the caller's again when it returns. The offset is -1 where the broker returns none (acks 0). It waits while the buffer
// memory is used up. After Close it returns sarama.ErrShuttingDown.
func (p *Producer) SendMessage(msg *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	return p.send(context.Background(), msg, msg)
}

// SendMessageContext is SendMessage that ends with ctx. If ctx ends while the call waits for memory, the error wraps
// ErrBufferFull. If it ends before the message is encoded, the message is withdrawn and never sent. If it ends later,
// the error wraps ErrOutcomeUnknown and the context's cause, and the message may still be written.
//
// A copy of msg is sent, so that msg and its bytes are the caller's again when the call returns. Partition, Offset and
// Timestamp are copied back with an outcome only.
func (p *Producer) SendMessageContext(ctx context.Context, msg *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	if msg == nil {
		return p.send(ctx, nil, nil)
	}
	sent := *msg
	return p.send(ctx, msg, &sent)
}

// send sends the message sent and writes the outcome into msg. SendMessage passes one message as both.
func (p *Producer) send(ctx context.Context, msg, sent *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	if msg == nil {
		return -1, -1, sarama.ConfigurationError("a nil message was sent")
	}
	w := p.waiters.Get().(*waiter)
	w.call.NotCancellable = ctx.Done() == nil
	w.call.End = p.shared.Trace(ctx, sent)
	if err := p.submit(ctx, flow.Record{Msg: sent, Completion: &w.call, Partition: -1}); err != nil {
		p.recycle(w)
		return -1, -1, err
	}
	select {
	case <-w.decided:
	case <-ctx.Done():
		if w.call.Withdraw() {
			// The pipeline drops the record when it comes to it. Until then it knows the waiter, which is therefore
			// not used again.
			err := withdrawn(flow.ContextError(ctx))
			p.endTrace(&w.call, sent.Topic, err)
			return -1, -1, err
		}
		select {
		case <-w.decided: // at the same moment
		default:
			err := flow.Unknown(flow.ContextError(ctx))
			p.txnFailed(err) // its sender takes it for lost: it must not be committed
			return -1, -1, err
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
	call    flow.Completion
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
	w.call.Waiter = w
	return w
}

// Outcome implements flow.Waiter. The call is of one message.
func (w *waiter) Outcome(_ []flow.Record, partition int32, offset int64, timestamp time.Time, err error) {
	w.got = outcome{partition, offset, timestamp, err}
	w.decided <- struct{}{}
}

// recycle gives a waiter back that the pipeline does not know any more.
func (p *Producer) recycle(w *waiter) {
	w.got = outcome{}
	w.call.Reset()
	p.waiters.Put(w)
}

// SendMessages sends messages and waits for all outcomes. If any failed it returns sarama.ProducerErrors with exactly
// those that did, in the order of msgs; the others have their Partition and Offset. A nil message fails the call, and
// nothing is sent.
func (p *Producer) SendMessages(msgs []*sarama.ProducerMessage) error {
	if err := checkAll(msgs); err != nil || len(msgs) == 0 {
		return err
	}
	c := p.batchCalls.Get().(*batchCall)
	c.left = len(msgs)
	recs := flow.GetRun(len(msgs))
	for _, msg := range msgs {
		completion := &c.call
		if end := p.shared.Trace(context.Background(), msg); end != nil {
			completion = &flow.Completion{Waiter: c, NotCancellable: true, End: end}
		}
		recs = append(recs, flow.Record{Msg: msg, Completion: completion, Partition: -1})
	}
	p.submitAll(context.Background(), recs, c.refused)
	flow.PutRun(recs)
	<-c.all
	failed := c.fill()
	p.recycleBatchCall(c)
	return inOrder(failed, msgs)
}

// SendMessagesContext is SendMessages that ends with ctx, as SendMessageContext does. Copies are sent: all messages are
// the caller's again when it returns.
func (p *Producer) SendMessagesContext(ctx context.Context, msgs []*sarama.ProducerMessage) error {
	if ctx.Done() == nil && p.shared.Tracer == nil {
		return p.SendMessages(msgs)
	}
	if err := checkAll(msgs); err != nil || len(msgs) == 0 {
		return err
	}
	copies := make([]sarama.ProducerMessage, len(msgs))
	c := p.cancellableCalls.Get().(*cancellableCall)
	c.begin(len(msgs))
	recs := flow.GetRun(len(msgs))
	for i, msg := range msgs {
		copies[i] = *msg
		c.calls[i].End = p.shared.Trace(ctx, &copies[i])
		recs = append(recs, flow.Record{Msg: &copies[i], Completion: &c.calls[i], Partition: -1})
	}
	p.submitAll(ctx, recs, c.refused)
	flow.PutRun(recs)

	again := true
	select {
	case <-c.all:
	case <-ctx.Done():
		cause := flow.ContextError(ctx)
		if c.giveUp(cause, func(i int, err error) { p.endTrace(&c.calls[i], copies[i].Topic, err) }) {
			p.txnFailed(flow.Unknown(cause)) // as for a single message
		}
		<-c.all
		again = false // the pipeline may still come to what was withdrawn
	}

	var failed sarama.ProducerErrors
	for i := range c.got {
		failed = c.got[i].fill(msgs[i], failed)
	}
	if again {
		p.recycleCancellableCall(c)
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}

func checkAll(msgs []*sarama.ProducerMessage) error {
	for i, msg := range msgs {
		if msg == nil {
			return sarama.ConfigurationError(fmt.Sprintf("message %d of %d is nil; none was sent", i, len(msgs)))
		}
	}
	return nil
}
