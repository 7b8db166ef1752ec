package flow

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/IBM/sarama"
)

// Tracer is sluice.Tracer.
type Tracer interface {
	Begin(ctx context.Context, msg *sarama.ProducerMessage) (end func(partition int32, offset int64, err error))
}

// Trace tells the user's tracer that a message begins. It returns what the message's Completion must keep: nil without a tracer, or
// if the tracer does not ask for the outcome. Any goroutine may call it, before anybody else has the message.
func (s *Shared) Trace(ctx context.Context, msg *sarama.ProducerMessage) (end func(partition int32, offset int64, err error)) {
	if s.Tracer == nil {
		return nil
	}
	topic := msg.Topic
	defer func() {
		if p := recover(); p != nil {
			end = nil
			tracerFailed(s.Log, topic, "as a message began", p)
		}
	}()
	return s.Tracer.Begin(ctx, msg)
}

// EndTrace tells the tracer the outcome of the Completion's message, if it asked for it. Only the first call counts. Whoever decides
// the outcome calls it before the sender hears of it, so that nobody else has the Completion.
func (c *Completion) EndTrace(log *Log, topic string, partition int32, offset int64, err error) {
	end := c.End
	if end == nil {
		return // a Completion that messages share is only read
	}
	c.End = nil
	defer func() {
		if p := recover(); p != nil {
			tracerFailed(log, topic, "as a message ended", p)
		}
	}()
	end(partition, offset, err)
}

// tracerFailed logs a panic of the tracer. As with interceptors, the message goes on.
func tracerFailed(log *Log, topic, when string, panicked any) {
	log.Printf("sluice: the tracer panicked %s, topic %q: %v\n", when, topic, panicked)
	log.Event(TracerFailed, when, slog.String("topic", topic), slog.String("when", when), slog.String("panic", fmt.Sprintf("%T", panicked)))
}
