package main

import (
	"time"

	"github.com/IBM/sarama"
)

// A span is what became of one message.
type span struct {
	Trace     string
	Topic     string
	Partition int32
	Offset    int64
	Took      time.Duration
	Err       error

	start    time.Time
	metadata any // the message's own, which the span displaces
}

// A tracedProducer stands between a program and its producer, as the wrappers of tracing libraries do. It has channels of
// its own, and a goroutine for each.
type tracedProducer struct {
	sarama.AsyncProducer

	input     chan *sarama.ProducerMessage // closed by AsyncClose: a later send panics, as sarama's does
	successes chan *sarama.ProducerMessage
	errors    chan *sarama.ProducerError
}

// wrapAsyncProducer returns a producer to use in place of p, which conf was given to. It calls ended with each message's
// span, from Input to its outcome; where conf does not return both outcomes, a span ends as the message is handed to p.
// ended is called by several goroutines at once.
func wrapAsyncProducer(conf *sarama.Config, p sarama.AsyncProducer, ended func(span)) sarama.AsyncProducer {
	t := &tracedProducer{
		AsyncProducer: p,
		input:         make(chan *sarama.ProducerMessage),
		successes:     make(chan *sarama.ProducerMessage),
		errors:        make(chan *sarama.ProducerError),
	}
	end := func(msg *sarama.ProducerMessage, err error) {
		if s, ok := msg.Metadata.(*span); ok {
			msg.Metadata = s.metadata
			s.Partition, s.Offset, s.Took, s.Err = msg.Partition, msg.Offset, time.Since(s.start), err
			ended(*s)
		}
	}
	go func() {
		defer p.AsyncClose()
		for msg := range t.input {
			msg.Metadata = &span{Trace: traceOf(msg), Topic: msg.Topic, start: time.Now(), metadata: msg.Metadata}
			if !conf.Producer.Return.Successes || !conf.Producer.Return.Errors {
				end(msg, nil)
			}
			p.Input() <- msg
		}
	}()
	go func() {
		defer close(t.successes)
		for msg := range p.Successes() {
			end(msg, nil)
			t.successes <- msg
		}
	}()
	go func() {
		defer close(t.errors)
		for failure := range p.Errors() {
			end(failure.Msg, failure.Err)
			t.errors <- failure
		}
	}()
	return t
}

func (t *tracedProducer) Input() chan<- *sarama.ProducerMessage     { return t.input }
func (t *tracedProducer) Successes() <-chan *sarama.ProducerMessage { return t.successes }
func (t *tracedProducer) Errors() <-chan *sarama.ProducerError      { return t.errors }
func (t *tracedProducer) AsyncClose()                               { close(t.input) }

// Close drains both channels, as sarama's does, and returns the messages that failed.
func (t *tracedProducer) Close() error {
	t.AsyncClose()
	go func() {
		for range t.successes {
		}
	}()
	var failed sarama.ProducerErrors
	for failure := range t.errors {
		failed = append(failed, failure)
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}
