package main

import "github.com/IBM/sarama"

// A TraceInterceptor gives each message a span of its own: a child of the trace context that the message has, or the
// first of a new trace. The producer calls it once a message, before the message's size is checked and its partition is
// chosen; a retry does not call it again.
type TraceInterceptor struct{}

var _ sarama.ProducerInterceptor = TraceInterceptor{}

// OnSend is called by one goroutine of the producer.
func (TraceInterceptor) OnSend(msg *sarama.ProducerMessage) {
	setContext(msg, nextContext(msg))
}

func nextContext(msg *sarama.ProducerMessage) TraceContext {
	if parent, ok := contextOf(msg); ok {
		return parent.child()
	}
	return newTrace()
}
