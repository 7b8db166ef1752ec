package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// A Span is what became of one message.
type Span struct {
	Context   TraceContext
	Topic     string
	Partition int32
	Offset    int64
	Start     time.Time
	Took      time.Duration
	Err       error
}

func (s Span) String() string {
	if s.Err != nil {
		return fmt.Sprintf("%s %s: %v after %v", s.Context, s.Topic, s.Err, s.Took)
	}
	return fmt.Sprintf("%s %s/%d/%d written in %v", s.Context, s.Topic, s.Partition, s.Offset, s.Took)
}

// A tracedProducer stands between a program and a producer. It owns the three channels that the program sees, and has
// one goroutine for each; a message's span travels as its Metadata, which is the program's again with the outcome.
type tracedProducer struct {
	sarama.AsyncProducer

	conf      *sarama.Config
	finish    func(Span)
	input     chan *sarama.ProducerMessage // never closed: a late sender waits, as on a channel that nobody reads
	successes chan *sarama.ProducerMessage // closed by forwardSuccesses
	errors    chan *sarama.ProducerError   // closed by forwardErrors
	closing   chan struct{}                // closed by the first AsyncClose
	closeOnce sync.Once
}

// pending is a message's span until its outcome, with the Metadata that it displaced.
type pending struct {
	span     Span
	metadata any
}

// WrapAsyncProducer returns a producer that gives each message a span, from Input to its outcome, and calls finish with
// it, from two goroutines at once. conf is the one that p was made with: where successes or errors are not returned, the
// span of a message ends when it is handed over. The caller uses the result in place of p, and closes it in its place.
func WrapAsyncProducer(conf *sarama.Config, p sarama.AsyncProducer, finish func(Span)) sarama.AsyncProducer {
	t := &tracedProducer{
		AsyncProducer: p,
		conf:          conf,
		finish:        finish,
		input:         make(chan *sarama.ProducerMessage),
		successes:     make(chan *sarama.ProducerMessage),
		errors:        make(chan *sarama.ProducerError),
		closing:       make(chan struct{}),
	}
	go t.forwardInput()
	go t.forwardSuccesses()
	go t.forwardErrors()
	return t
}

func (t *tracedProducer) Input() chan<- *sarama.ProducerMessage     { return t.input }
func (t *tracedProducer) Successes() <-chan *sarama.ProducerMessage { return t.successes }
func (t *tracedProducer) Errors() <-chan *sarama.ProducerError      { return t.errors }

// AsyncClose passes the end on behind what Input has taken.
func (t *tracedProducer) AsyncClose() { t.closeOnce.Do(func() { close(t.closing) }) }

// Close drains both channels, as sarama's Close does, and returns the messages that failed.
func (t *tracedProducer) Close() error {
	t.AsyncClose()
	go func() {
		for range t.successes {
		}
	}()
	var failed sarama.ProducerErrors
	for err := range t.errors {
		failed = append(failed, err)
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}

func (t *tracedProducer) forwardInput() {
	defer t.AsyncProducer.AsyncClose()
	for {
		select {
		case msg := <-t.input:
			t.begin(msg)
			t.AsyncProducer.Input() <- msg
		case <-t.closing:
			return
		}
	}
}

func (t *tracedProducer) begin(msg *sarama.ProducerMessage) {
	if msg == nil {
		return
	}
	span := Span{Context: nextContext(msg), Topic: msg.Topic, Start: time.Now()}
	setContext(msg, span.Context)
	if !t.conf.Producer.Return.Successes || !t.conf.Producer.Return.Errors {
		t.finish(span)
		return
	}
	msg.Metadata = &pending{span, msg.Metadata}
}

func (t *tracedProducer) end(msg *sarama.ProducerMessage, err error) {
	p, ok := msg.Metadata.(*pending)
	if !ok {
		return
	}
	msg.Metadata = p.metadata
	span := p.span
	span.Partition, span.Offset, span.Took, span.Err = msg.Partition, msg.Offset, time.Since(span.Start), err
	t.finish(span)
}

func (t *tracedProducer) forwardSuccesses() {
	defer close(t.successes)
	for msg := range t.AsyncProducer.Successes() {
		t.end(msg, nil)
		t.successes <- msg
	}
}

func (t *tracedProducer) forwardErrors() {
	defer close(t.errors)
	for failed := range t.AsyncProducer.Errors() {
		t.end(failed.Msg, failed.Err)
		t.errors <- failed
	}
}
