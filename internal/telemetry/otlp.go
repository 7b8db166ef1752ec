package telemetry

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// OTLP's MetricsData (opentelemetry/proto/metrics/v1), of which only these fields are written. Field numbers stand where they are used.

// label is an attribute with a text.
type label struct{ key, value string }

// header is what is the same in all pushes.
type header struct {
	resource []label // of the producer; the broker adds client.id and the rest itself
	scope    string  // who measures
	version  string
}

// span is the time that a push is about. Sums that are not delta begin with the producer.
type span struct{ created, from, to time.Time }

// temporalities of a sum.
const (
	deltaTemporality      = 1
	cumulativeTemporality = 2
)

// encode makes MetricsData of at most limit bytes. While it has more, the second half of the metrics is left out. It is nil if not
// even the first one fits.
func encode(h *header, metrics []metric, at span, delta bool, limit int) []byte {
	for ; len(metrics) > 0; metrics = metrics[:len(metrics)/2] {
		if data := appendData(nil, h, metrics, at, delta); len(data) <= limit {
			return data
		}
	}
	return nil
}

func appendData(b []byte, h *header, metrics []metric, at span, delta bool) []byte {
	return message(b, 1, func(b []byte) []byte { // ResourceMetrics
		b = message(b, 1, func(b []byte) []byte { // Resource
			for _, l := range h.resource {
				b = attribute(b, 1, l.key, func(b []byte) []byte { return text(b, 1, l.value) })
			}
			return b
		})
		return message(b, 2, func(b []byte) []byte { // ScopeMetrics
			b = message(b, 1, func(b []byte) []byte { return text(text(b, 1, h.scope), 2, h.version) })
			for i := range metrics {
				b = message(b, 2, func(b []byte) []byte { return appendMetric(b, &metrics[i], at, delta) })
			}
			return b
		})
	})
}

func appendMetric(b []byte, m *metric, at span, delta bool) []byte {
	b = text(text(b, 1, m.name), 3, m.unit)
	if !m.sum {
		return message(b, 5, func(b []byte) []byte { // Gauge
			return message(b, 1, func(b []byte) []byte { return point(b, m, at.from, at.to) })
		})
	}
	from, temporality := at.created, uint64(cumulativeTemporality)
	if delta {
		from, temporality = at.from, deltaTemporality
	}
	return message(b, 7, func(b []byte) []byte { // Sum
		b = message(b, 1, func(b []byte) []byte { return point(b, m, from, at.to) })
		b = number(b, 2, temporality)
		return number(b, 3, 1) // monotonic
	})
}

// point is a NumberDataPoint.
func point(b []byte, m *metric, from, to time.Time) []byte {
	b = fixed(b, 2, uint64(from.UnixNano()))
	b = fixed(b, 3, uint64(to.UnixNano()))
	if m.sum {
		b = fixed(b, 6, uint64(int64(m.value)))
	} else {
		b = fixed(b, 4, math.Float64bits(m.value))
	}
	if m.node >= 0 {
		b = attribute(b, 7, "node_id", func(b []byte) []byte { return number(b, 3, uint64(m.node)) })
	}
	return b
}

// attribute is a KeyValue whose AnyValue value appends.
func attribute(b []byte, field protowire.Number, key string, value func([]byte) []byte) []byte {
	return message(b, field, func(b []byte) []byte { return message(text(b, 1, key), 2, value) })
}

func message(b []byte, field protowire.Number, content func([]byte) []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), content(nil))
}

func text(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func number(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func fixed(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), v)
}
