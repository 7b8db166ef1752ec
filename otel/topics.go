package sluiceotel

import (
	"strings"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// topics keeps what is the same for all messages of a topic, so that it is made once. All methods may be called concurrently.
type topics struct {
	more  []attribute.KeyValue // of WithAttributes
	known sync.Map             // topic → *topic
	n     atomic.Int64
}

// topicsKept bounds what is kept: topics may be made up without end.
const topicsKept = 1000

// topic is what spans and metrics of one topic have in common.
type topic struct {
	span       string
	start      []trace.SpanStartOption
	attributes []attribute.KeyValue
	succeeded  measured
	failed     sync.Map // error.type → measured; there are as many as error codes
}

// measured are options with the attributes of the two metrics.
type measured struct {
	record []metric.RecordOption
	add    []metric.AddOption
}

func (t *topics) about(name string) *topic {
	if known, ok := t.known.Load(name); ok {
		return known.(*topic)
	}
	made := t.make(name)
	if t.n.Load() >= topicsKept {
		return made
	}
	known, old := t.known.LoadOrStore(name, made)
	if !old {
		t.n.Add(1)
	}
	return known.(*topic)
}

func (t *topics) make(name string) *topic {
	attributes := append([]attribute.KeyValue{
		semconv.MessagingSystemKafka, semconv.MessagingOperationName("send"), semconv.MessagingOperationTypeSend,
	}, t.more...)
	span := "send"
	if name = validText(name); name != "" {
		attributes = append(attributes, semconv.MessagingDestinationName(name))
		span += " " + name
	}
	made := &topic{
		span: span, attributes: attributes,
		start: []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes...)},
	}
	made.succeeded = made.measure("")
	return made
}

// measured are the options for an outcome; class is "" for success.
func (t *topic) measured(class string) measured {
	if class == "" {
		return t.succeeded
	}
	if known, ok := t.failed.Load(class); ok {
		return known.(measured)
	}
	known, _ := t.failed.LoadOrStore(class, t.measure(class))
	return known.(measured)
}

func (t *topic) measure(class string) measured {
	attributes := t.attributes
	if class != "" {
		attributes = append(attributes[:len(attributes):len(attributes)], semconv.ErrorTypeKey.String(class))
	}
	set := metric.WithAttributeSet(attribute.NewSet(attributes...))
	return measured{[]metric.RecordOption{set}, []metric.AddOption{set}}
}

// validText makes a text valid for OTLP, which takes UTF-8 only: with any other the export of a whole batch fails.
func validText(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func handle(err error) {
	if err != nil {
		otel.Handle(err)
	}
}
