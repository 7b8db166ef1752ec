package main

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"

	"github.com/IBM/sarama"
)

// headerKey is the header of the W3C Trace Context recommendation.
const headerKey = "traceparent"

// A TraceContext tells one span of a trace from all others.
type TraceContext struct {
	TraceID [16]byte
	SpanID  [8]byte
	Sampled bool
}

// newTrace begins a trace.
func newTrace() TraceContext {
	c := TraceContext{Sampled: true}
	randomID(c.TraceID[:])
	return c.child()
}

// child is a new span of the same trace.
func (c TraceContext) child() TraceContext {
	randomID(c.SpanID[:])
	return c
}

// randomID fills in an id; one of zeros is not an id.
func randomID(id []byte) {
	for i := range id {
		id[i] = byte(1 + rand.IntN(255))
	}
}

// String is the header's value, version 00.
func (c TraceContext) String() string {
	flags := "00"
	if c.Sampled {
		flags = "01"
	}
	return "00-" + hex.EncodeToString(c.TraceID[:]) + "-" + hex.EncodeToString(c.SpanID[:]) + "-" + flags
}

// parse reads a header's value. Of later versions it takes the fields that version 00 has.
func parse(value string) (c TraceContext, ok bool) {
	parts := strings.Split(value, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || parts[0] == "00" && len(parts) != 4 || value != strings.ToLower(value) {
		return c, false
	}
	var flags, version [1]byte
	for i, into := range [][]byte{version[:], c.TraceID[:], c.SpanID[:], flags[:]} {
		if hex.DecodedLen(len(parts[i])) != len(into) || len(parts[i])%2 != 0 {
			return TraceContext{}, false
		}
		if _, err := hex.Decode(into, []byte(parts[i])); err != nil {
			return TraceContext{}, false
		}
	}
	if c.TraceID == [16]byte{} || c.SpanID == [8]byte{} {
		return TraceContext{}, false
	}
	c.Sampled = flags[0]&1 != 0
	return c, true
}

// contextOf reads a message's trace context.
func contextOf(msg *sarama.ProducerMessage) (TraceContext, bool) {
	for _, h := range msg.Headers {
		if strings.EqualFold(string(h.Key), headerKey) {
			return parse(string(h.Value))
		}
	}
	return TraceContext{}, false
}

// setContext puts a trace context into a message's headers, in place of one that is there. The headers may be shared
// with other messages, so they are copied.
func setContext(msg *sarama.ProducerMessage, c TraceContext) {
	headers := make([]sarama.RecordHeader, 0, len(msg.Headers)+1)
	for _, h := range msg.Headers {
		if !strings.EqualFold(string(h.Key), headerKey) {
			headers = append(headers, h)
		}
	}
	msg.Headers = append(headers, sarama.RecordHeader{Key: []byte(headerKey), Value: []byte(c.String())})
}
