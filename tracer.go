package sluice

import (
	"context"

	"github.com/IBM/sarama"
)

// Tracer is called when a message begins and when it has its outcome, and may add headers. Package github.com/sluice-kafka/sluice/otel
// has one for OpenTelemetry.
//
// Begin and the functions that it returns are called concurrently. They must not block, nor use the producer. If one panics, that is
// logged, and the message goes on.
type Tracer interface {
	// Begin is called once for each message, whichever way it comes in; for a nil message it is not called. It comes before the
	// interceptors, the check of the message's size, and the wait for memory. Produce, SendMessage and the like call it on their
	// caller's goroutine, with their context, or context.Background() if they have none. For Input and InputBatch a goroutine of the
	// producer calls it, with context.Background().
	//
	// Begin may read msg until it returns. It may set msg.Headers, and nothing else. It must set a new slice, and not append to the
	// old one: several messages may share that array. A message keeps its headers when its sender gets it back, and has them when
	// it is sent again. SendMessageContext and SendMessagesContext send copies.
	//
	// end is called exactly once, with the outcome: after all retries, and also if the message is refused or withdrawn. That is
	// before the sender or a Flush learns the outcome. If the sender has given up a message that may be written, end is called when
	// the real outcome is known. partition is -1 if none was chosen. offset is -1 if err is not nil, or if the broker returned none.
	// end may be nil.
	Begin(ctx context.Context, msg *sarama.ProducerMessage) (end func(partition int32, offset int64, err error))
}

// WithTracer sets a Tracer, which is called for each message. The default, and nil, is none.
//
// If the tracer adds headers, do not send a message again before it has its outcome: another goroutine may be reading its headers.
//
// The constructors with sarama's names take no options. There a wrapper such as otelsarama's does the same; or use New, whose Producer
// satisfies sarama.AsyncProducer and sarama.SyncProducer.
func WithTracer(t Tracer) Option {
	return func(o *options) error {
		o.tracer = t
		return nil
	}
}
