package sluice

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Typed sends messages whose keys are of one type and whose values are of another, each with a serializer of its own, as
// the producers of Java and Python do. [NewTyped] makes one over a *Producer, [NewTypedSync] and [NewTypedAsync] over
// sarama's interfaces.
//
// All methods may be called concurrently. Messages that one goroutine sends stay in order. Their outcomes come neither on
// Successes and Errors nor in delivery reports.
type Typed[K, V any] struct {
	producer MessageProducer
	key      Serializer[K]
	value    Serializer[V]
}

// MessageProducer is what a Typed sends through. *Producer has it, its mock in package mocks, and the Tx of a Transact.
// See [Producer.Produce] for the contract.
type MessageProducer interface {
	Produce(ctx context.Context, msg *sarama.ProducerMessage, done func(*sarama.ProducerMessage, error)) error
}

// NewTyped returns a Typed that sends through producer. Producer and serializers must not be nil.
func NewTyped[K, V any](producer MessageProducer, key Serializer[K], value Serializer[V]) *Typed[K, V] {
	if producer == nil || key == nil || value == nil {
		panic("sluice: NewTyped with a nil producer or serializer")
	}
	return &Typed[K, V]{producer, key, value}
}

// MessageOption sets more of a message than topic, key and value. Any function of this type is one; it must not set those
// three.
type MessageOption func(*sarama.ProducerMessage)

// MessagePartition has the message go to a partition, and the partitioner not be asked. A partition that is not there fails
// it with sarama.ErrInvalidPartition. Over a producer that is not Sluice's, or is wrapped, this takes
// sarama.NewManualPartitioner; without it the message is written elsewhere, and its outcome is an error that says so. So it is
// if an interceptor replaces the message's Metadata.
func MessagePartition(partition int32) MessageOption {
	return func(msg *sarama.ProducerMessage) {
		msg.Partition, msg.Metadata = partition, flow.ChosenPartition(partition)
	}
}

// MessageHeader adds a header. A key may be there more than once.
func MessageHeader(key string, value []byte) MessageOption {
	return func(msg *sarama.ProducerMessage) {
		msg.Headers = append(msg.Headers, sarama.RecordHeader{Key: []byte(key), Value: value})
	}
}

// MessageTimestamp sets the message's time, in place of when it is sent.
func MessageTimestamp(at time.Time) MessageOption {
	return func(msg *sarama.ProducerMessage) { msg.Timestamp = at }
}

// RecordMetadata tells where a message was written.
type RecordMetadata struct {
	Topic     string
	Partition int32     // -1 if the message failed and none was chosen
	Offset    int64     // -1 if the broker returns none (acks 0), or if the message failed
	Timestamp time.Time // MessageTimestamp's, or the broker's if the topic has LogAppendTime; else zero
}

// Send sends a message and returns a [Future] of its outcome at once, as Java's send does; every error is the Future's. While
// the buffer memory is used up it waits, until ctx ends; ctx has no meaning after that.
//
//	written, err := orders.Send(ctx, "orders", "user-7", order).Get(ctx) // waits for this message
func (t *Typed[K, V]) Send(ctx context.Context, topic string, key K, value V, opts ...MessageOption) *Future {
	f := &Future{done: make(chan struct{})}
	if err := t.Produce(ctx, topic, key, value, f.complete, opts...); err != nil {
		f.complete(RecordMetadata{Topic: topic, Partition: -1, Offset: -1}, err)
	}
	return f
}

// Produce sends a message and has done called with its outcome, as Python's produce does; done may be nil. It waits for
// memory as Send does. If it returns an error, the message was not sent, and done is not called.
//
// done runs on a goroutine of the producer, one call at a time. It may call everything but Close.
func (t *Typed[K, V]) Produce(
	ctx context.Context, topic string, key K, value V, done func(RecordMetadata, error), opts ...MessageOption,
) error {
	msg, err := t.message(topic, key, value, opts)
	if err != nil {
		t.messageFailed(err)
		return err
	}
	chosen, named := msg.Metadata.(flow.ChosenPartition)
	return t.producer.Produce(ctx, msg, func(msg *sarama.ProducerMessage, err error) {
		written := RecordMetadata{Topic: msg.Topic, Partition: msg.Partition, Offset: msg.Offset, Timestamp: msg.Timestamp}
		if err != nil {
			written.Offset = flow.NoOffset
		} else if named && int32(chosen) != msg.Partition {
			err = flow.Errorf("a message to topic %q was written to partition %d, not to %d: "+
				"the producer's partitioner does not take what is asked for, as sarama.NewManualPartitioner does",
				msg.Topic, msg.Partition, int32(chosen))
		}
		if done != nil {
			done(written, err)
		}
	})
}

// Flush sends what waits, and returns when the outcome of each message sent before is decided, or with ctx's error. See
// [Producer.Flush]. Over a Tx it does nothing: Transact waits.
func (t *Typed[K, V]) Flush(ctx context.Context) error {
	if p, ok := t.producer.(interface{ Flush(context.Context) error }); ok {
		return p.Flush(ctx)
	}
	return nil
}

// Close delivers what was sent and closes the producer. Do not call it where others use the producer: a Typed needs no Close
// of its own, but for one of [NewTypedAsync]. Over a Tx it does nothing. It may be called more than once.
func (t *Typed[K, V]) Close() error {
	if p, ok := t.producer.(interface{ Close() error }); ok {
		return p.Close()
	}
	return nil
}

func (t *Typed[K, V]) message(topic string, key K, value V, opts []MessageOption) (*sarama.ProducerMessage, error) {
	k, err := serialize(t.key, "key", topic, key)
	if err != nil {
		return nil, err
	}
	v, err := serialize(t.value, "value", topic, value)
	if err != nil {
		return nil, err
	}
	msg := &sarama.ProducerMessage{Topic: topic, Partition: -1}
	if k != nil { // an Encoder of nil bytes would be a key to a partitioner
		msg.Key = sarama.ByteEncoder(k)
	}
	if v != nil {
		msg.Value = sarama.ByteEncoder(v)
	}
	for _, opt := range opts {
		opt(msg)
	}
	return msg, nil
}

// serialize calls a serializer, which is the user's code. Its error names the topic, the part of the message, and its type.
func serialize[T any](s Serializer[T], part, topic string, v T) (b []byte, err error) {
	defer func() {
		p := recover()
		if p != nil {
			cause, ok := p.(error)
			if !ok {
				cause = fmt.Errorf("%v", p)
			}
			err = fmt.Errorf("the serializer panicked: %w", cause)
		}
		if err != nil {
			err = flow.Errorf("a message to topic %q: serializing the %s, a %v: %w", topic, part, reflect.TypeFor[T](), flow.External(err))
		}
	}()
	return s(topic, v)
}

// messageFailed has a message that could not be serialized fail the transaction that it would be part of, as Java does: its
// sender may not look at the Future before the commit.
func (t *Typed[K, V]) messageFailed(err error) {
	switch p := t.producer.(type) {
	case *Producer:
		p.txnFailed(err)
	case tx:
		p.p.txnFailed(err)
	}
}

// Future is the outcome of a message that [Typed.Send] sent. All methods may be called concurrently, and often.
type Future struct {
	done    chan struct{} // closed when the fields below are written
	written RecordMetadata
	err     error
}

func (f *Future) complete(written RecordMetadata, err error) {
	f.written, f.err = written, err
	close(f.done)
}

// Done is closed when the outcome is there.
func (f *Future) Done() <-chan struct{} { return f.done }

// Get waits for the outcome. If ctx ends before, it returns ctx's error, and the message goes on: ask again.
func (f *Future) Get(ctx context.Context) (RecordMetadata, error) {
	select {
	case <-f.done:
		return f.written, f.err
	default:
	}
	select {
	case <-f.done:
		return f.written, f.err
	case <-ctx.Done():
		return RecordMetadata{Partition: -1, Offset: -1}, flow.Errorf("waiting for the outcome of a message: %w", flow.ContextError(ctx))
	}
}
