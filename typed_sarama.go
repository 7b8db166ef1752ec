package sluice

import (
	"context"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// A Typed over sarama's interfaces. Behind them is a *Producer, as a rule, which is used as such. The rest is for others: a
// wrapper that traces, a mock, sarama's own.

// NewTypedSync is [NewTyped] over a sarama.SyncProducer. Over one that is not Sluice's, Send and Produce return when the
// message has its outcome, done is called before that, and Flush has nothing to do.
func NewTypedSync[K, V any](producer sarama.SyncProducer, key Serializer[K], value Serializer[V]) *Typed[K, V] {
	if p, ok := producer.(MessageProducer); ok {
		return NewTyped(p, key, value)
	}
	if producer == nil {
		return NewTyped(nil, key, value)
	}
	return NewTyped(&syncMessages{producer: producer}, key, value)
}

type syncMessages struct {
	producer sarama.SyncProducer

	mu      sync.Mutex
	closed  bool
	sending sync.WaitGroup // calls of SendMessage, which panics in sarama's producer if Close has overtaken it
	closing sync.Once
}

func (p *syncMessages) Produce(ctx context.Context, msg *sarama.ProducerMessage, done func(*sarama.ProducerMessage, error)) error {
	if ctx.Err() != nil {
		return flow.Errorf("a message to topic %q was not sent: %w", msg.Topic, flow.ContextError(ctx))
	}
	if !p.begin() {
		return sarama.ErrShuttingDown
	}
	_, _, err := p.send(msg)
	done(msg, err)
	return nil
}

// begin returns false after Close.
func (p *syncMessages) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.sending.Add(1)
	}
	return !p.closed
}

func (p *syncMessages) send(msg *sarama.ProducerMessage) (int32, int64, error) {
	defer p.sending.Done()
	return p.producer.SendMessage(msg)
}

func (p *syncMessages) Close() (err error) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.closing.Do(func() {
		p.sending.Wait()
		err = p.producer.Close()
	})
	return err
}

// NewTypedAsync is [NewTyped] over a sarama.AsyncProducer. Over one that is not Sluice's, Producer.Return.Successes and
// Errors must be set, and the Typed reads both channels from now on: nobody else must, nor send to Input or close the
// producer. Then close it by [Typed.Close]; Flush waits until no message of the Typed is under way; and done must not send,
// because Input may be full until it returns.
func NewTypedAsync[K, V any](producer sarama.AsyncProducer, key Serializer[K], value Serializer[V]) *Typed[K, V] {
	if p, ok := producer.(MessageProducer); ok {
		return NewTyped(p, key, value)
	}
	if producer == nil || key == nil || value == nil {
		return NewTyped(nil, key, value)
	}
	p := &asyncMessages{producer: producer, idle: make(chan struct{})}
	close(p.idle)
	p.readers.Go(func() {
		for msg := range producer.Successes() {
			p.outcome(msg, nil)
		}
	})
	p.readers.Go(func() {
		for failure := range producer.Errors() {
			p.outcome(failure.Msg, failure.Err)
		}
	})
	return NewTyped(p, key, value)
}

type asyncMessages struct {
	producer sarama.AsyncProducer
	readers  sync.WaitGroup // of Successes and Errors; they end with the producer

	sending sync.RWMutex // held by a send, so that Close does not close Input under it
	closed  bool

	done sync.Mutex // held by a callback: one runs at a time

	mu      sync.Mutex
	pending int           // messages that were sent and have no outcome
	idle    chan struct{} // closed while there are none
}

// asyncCall is a message's Metadata until its outcome.
type asyncCall struct {
	done     func(*sarama.ProducerMessage, error)
	metadata any // what it displaces
}

func (p *asyncMessages) Produce(ctx context.Context, msg *sarama.ProducerMessage, done func(*sarama.ProducerMessage, error)) error {
	p.sending.RLock()
	defer p.sending.RUnlock()
	if p.closed {
		return sarama.ErrShuttingDown
	}
	msg.Metadata = &asyncCall{done, msg.Metadata}
	p.count(1)
	select {
	case p.producer.Input() <- msg:
		return nil
	case <-ctx.Done():
		p.count(-1)
		return flow.Errorf("a message to topic %q was not sent: %w", msg.Topic, flow.ContextError(ctx))
	}
}

func (p *asyncMessages) outcome(msg *sarama.ProducerMessage, err error) {
	call, ok := msg.Metadata.(*asyncCall)
	if !ok {
		return
	}
	msg.Metadata = call.metadata
	defer p.count(-1)
	p.done.Lock()
	defer p.done.Unlock()
	call.done(msg, err)
}

func (p *asyncMessages) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == 0 {
		p.idle = make(chan struct{})
	}
	if p.pending += n; p.pending == 0 {
		close(p.idle)
	}
}

func (p *asyncMessages) Flush(ctx context.Context) error {
	p.mu.Lock()
	idle := p.idle
	p.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return flow.Errorf("flushing: %w", flow.ContextError(ctx))
	}
}

func (p *asyncMessages) Close() error {
	p.sending.Lock()
	first := !p.closed
	p.closed = true
	p.sending.Unlock()
	if first { // sarama's panics at a second one
		p.producer.AsyncClose()
	}
	p.readers.Wait()
	return nil
}
