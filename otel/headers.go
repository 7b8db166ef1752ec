package sluiceotel

import (
	"slices"
	"sync/atomic"

	"github.com/IBM/sarama"
	"go.opentelemetry.io/otel/propagation"
)

// propagator carries contexts in headers. It may be the global one, which knows its fields only after the program has set it.
type propagator struct {
	propagation.TextMapPropagator
	known atomic.Pointer[[]string]
}

// fields are the keys of the headers that belong to the propagator.
func (p *propagator) fields() []string {
	if known := p.known.Load(); known != nil {
		return *known
	}
	fields := p.Fields()
	if len(fields) > 0 {
		p.known.Store(&fields)
	}
	return fields
}

// headers are those of a message, as a propagator wants them. The array of the message's slice is never written to: messages may
// share it. All headers of the propagator are replaced together: with tracestate of one trace and traceparent of another, readers
// would believe in neither. So a message that is sent again has them once.
type headers struct {
	msg     *sarama.ProducerMessage
	fields  []string
	written bool
}

// Get returns the last header of that key, as Kafka's own lastHeader does.
func (h *headers) Get(key string) string {
	for _, header := range slices.Backward(h.msg.Headers) {
		if string(header.Key) == key {
			return string(header.Value)
		}
	}
	return ""
}

func (h *headers) Keys() []string {
	keys := make([]string, len(h.msg.Headers))
	for i, header := range h.msg.Headers {
		keys[i] = string(header.Key)
	}
	return keys
}

func (h *headers) Set(key, value string) {
	if !h.written {
		h.written = true
		h.msg.Headers = h.others(func(k string) bool { return slices.Contains(h.fields, k) || k == key })
	} else if h.Get(key) != "" {
		h.msg.Headers = h.others(func(k string) bool { return k == key })
	}
	h.msg.Headers = append(h.msg.Headers, sarama.RecordHeader{Key: []byte(key), Value: []byte(value)})
}

// others are a copy of the headers whose keys are not to be dropped, with room for those of the propagator.
func (h *headers) others(drop func(key string) bool) []sarama.RecordHeader {
	others := make([]sarama.RecordHeader, 0, len(h.msg.Headers)+max(1, len(h.fields)))
	for _, header := range h.msg.Headers {
		if !drop(string(header.Key)) {
			others = append(others, header)
		}
	}
	return others
}
