package main

import (
	"crypto/rand"
	"slices"

	"github.com/IBM/sarama"
)

// traceHeader names the trace that a message belongs to.
const traceHeader = "trace-id"

// A traceInterceptor gives each message a trace, unless it has one. The producer calls it once a message, by one
// goroutine, before it looks at the message's size and chooses the partition; a retry does not call it again.
type traceInterceptor struct{}

func (traceInterceptor) OnSend(msg *sarama.ProducerMessage) { traceOf(msg) }

// traceOf returns the message's trace. One that has none gets a new one.
func traceOf(msg *sarama.ProducerMessage) string {
	for _, h := range msg.Headers {
		if string(h.Key) == traceHeader {
			return string(h.Value)
		}
	}
	trace := rand.Text()
	msg.Headers = append(slices.Clip(msg.Headers), // other messages may have the same headers
		sarama.RecordHeader{Key: []byte(traceHeader), Value: []byte(trace)})
	return trace
}
