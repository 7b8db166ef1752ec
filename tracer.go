package sluice

import (
	"context"

	"github.com/IBM/sarama"
)

// Tracer follows each message from its sender to its outcome, and may add headers to it: what tracing needs. Package
// github.com/sluice-kafka/sluice/otel has one for OpenTelemetry.
//
// Its methods, and the functions that it returns, are called concurrently. They must not block, nor use the producer. A panic of theirs
// is logged, and the message goes on.
type Tracer interface {
	// Begin is called once for each message that is not nil, by whatever way it comes in, before its size is taken, the
	// interceptors run, and the producer waits for memory. Produce, SendMessage and the like call it on their caller's goroutine:
	// ctx is their context. It is context.Background() for the methods without one, and for messages of Input and InputBatch, for
	// which a goroutine of the producer calls it.
	//
	// It may read msg until it returns, and set msg.Headers; nothing else. It must set it to another slice, and not append to the
	// one that is there: the messages of a program may share its array. The message keeps its headers when its sender gets it
	// back, and has them when it is sent again. SendMessageContext and SendMessagesContext send copies.
	//
	// end is called exactly once, with the outcome, before the sender or a Flush hears of it: after retries, and also if the message is
	// refused or withdrawn. partition is -1 if none was chosen; offset is -1 if err is not nil, or if the broker returned none. If
	// a sender has given up a message that may be written, end comes when the truth is known. A nil end is not called.
	Begin(ctx context.Context, msg *sarama.ProducerMessage) (end func(partition int32, offset int64, err error))
}

// WithTracer has t follow each message. The default is none, which costs nothing; a nil t is none.
//
// The constructors with sarama's names take no options. There a wrapper does the same, such as otelsarama's; or use New, whose
// Producer satisfies sarama.AsyncProducer and sarama.SyncProducer.
//
// With a tracer that adds headers, a message must not be sent again before it has its outcome: another goroutine may be reading
// its headers.
func WithTracer(t Tracer) Option {
	return func(o *options) error {
		o.tracer = t
		return nil
	}
}
