package sluice

import (
	"context"

	"github.com/IBM/sarama"
)

// AsyncProducer is sarama's AsyncProducer with what it lacks: batches in one channel operation, a callback a message,
// Flush, a Close that a context bounds, and the number of messages that are under way.
//
// All methods may be called concurrently.
type AsyncProducer interface {
	sarama.AsyncProducer

	// InputBatch is Input for many messages in one channel operation. The slice is the producer's from then on; the
	// caller must not read or write it again. Nil messages in it are ignored. Order is kept within InputBatch, not
	// between it and Input.
	InputBatch() chan<- []*sarama.ProducerMessage

	// Produce hands over one message whose outcome goes to done, once, in place of Successes, Errors and delivery
	// reports. It waits while the buffer memory is used up, until ctx ends: then it returns an error that wraps
	// ErrBufferFull and the context's error, and done is not called. After Close it returns sarama.ErrShuttingDown.
	// A nil done is allowed. done runs on a goroutine of the producer, one call at a time; it may call everything but
	// Close. Order is kept among the calls of one goroutine.
	Produce(ctx context.Context, msg *sarama.ProducerMessage, done func(*sarama.ProducerMessage, error)) error

	// Flush sends what was accepted before the call without waiting for linger, and returns when the fate of each such
	// message is decided, or when ctx ends, with its error. It does not wait until outcomes are read: a goroutine may
	// flush and then read Successes.
	Flush(ctx context.Context) error

	// CloseContext is Close with a bound: when ctx ends, what is left fails with an error that wraps the context's
	// cause. Like Close it drains Successes and Errors, and returns sarama.ProducerErrors if a message failed.
	CloseContext(ctx context.Context) error

	// Buffered tells how many messages are accepted and without an outcome, and the bytes that they are charged with.
	Buffered() (messages int, bytes int64)
}
