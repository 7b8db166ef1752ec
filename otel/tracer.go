package sluiceotel

import (
	"context"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/IBM/sarama"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/sluice-kafka/sluice"
)

// Tracer gives each message a span of kind PRODUCER, from the moment at which the producer takes it to its outcome, retries included.
// It writes the span's context into the message's headers, and counts and times messages. It is for sluice.WithTracer, and may serve
// several producers.
//
// The span's parent is the span in the context of Produce, SendMessageContext or SendMessagesContext. Without one there, as always
// for Input, InputBatch, SendMessage and SendMessages, it is the span that the message's own headers name; else the span begins a
// trace. If there are both, the span links to the one in the headers.
type Tracer struct {
	tracer   trace.Tracer
	headers  propagator
	duration metric.Float64Histogram
	sent     metric.Int64Counter
	topics   topics
	keys     bool
}

var _ sluice.Tracer = (*Tracer)(nil)

// durationBounds are the boundaries of messaging.client.operation.duration that the conventions want, in seconds.
var durationBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// NewTracer returns a Tracer. If the meter refuses an instrument, otel.Handle gets the error.
func NewTracer(opts ...Option) *Tracer {
	o := newOptions(opts)
	meter := o.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	duration, err := messagingconv.NewClientOperationDuration(meter, metric.WithExplicitBucketBoundaries(durationBounds...))
	handle(err)
	sent, err := messagingconv.NewClientSentMessages(meter)
	handle(err)
	return &Tracer{
		tracer:   o.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		headers:  propagator{TextMapPropagator: o.propagator},
		duration: duration.Inst(),
		sent:     sent.Inst(),
		topics:   topics{more: o.attributes},
		keys:     o.keys,
	}
}

// Begin implements sluice.Tracer.
func (t *Tracer) Begin(ctx context.Context, msg *sarama.ProducerMessage) (end func(partition int32, offset int64, err error)) {
	start := time.Now()
	about := t.topics.about(msg.Topic)
	own := headers{msg: msg, fields: t.headers.fields()}
	options := about.start
	parent := ctx
	if len(msg.Headers) > 0 {
		if !trace.SpanContextFromContext(ctx).IsValid() {
			parent = t.headers.Extract(ctx, &own)
		} else if other := trace.SpanContextFromContext(t.headers.Extract(context.Background(), &own)); other.IsValid() {
			options = append(options[:len(options):len(options)], trace.WithLinks(trace.Link{SpanContext: other}))
		}
	}
	if more := t.attributesOf(msg); len(more) > 0 {
		options = append(options[:len(options):len(options)], trace.WithAttributes(more...))
	}
	spanned, span := t.tracer.Start(parent, about.span, options...)
	t.headers.Inject(spanned, &own)

	recording, timed, counted := span.IsRecording(), t.duration.Enabled(spanned), t.sent.Enabled(spanned)
	if !recording && !timed && !counted {
		return nil
	}
	return func(partition int32, offset int64, err error) {
		var class string
		if err != nil {
			class = errorType(err)
		}
		if recording {
			endSpan(span, partition, offset, class, err)
		}
		measured := about.measured(class)
		if timed {
			t.duration.Record(spanned, time.Since(start).Seconds(), measured.record...)
		}
		if counted {
			t.sent.Add(spanned, 1, measured.add...)
		}
	}
}

// attributesOf are a span's attributes that differ from message to message. Most have none.
func (t *Tracer) attributesOf(msg *sarama.ProducerMessage) (more []attribute.KeyValue) {
	if t.keys {
		switch key := msg.Key.(type) {
		case sarama.StringEncoder:
			more = append(more, semconv.MessagingKafkaMessageKey(string(key)))
		case sarama.ByteEncoder:
			if key != nil && utf8.Valid(key) {
				more = append(more, semconv.MessagingKafkaMessageKey(string(key)))
			}
		}
	}
	if value, isBytes := msg.Value.(sarama.ByteEncoder); msg.Value == nil || isBytes && value == nil {
		more = append(more, semconv.MessagingKafkaMessageTombstone(true))
	}
	return more
}

func endSpan(span trace.Span, partition int32, offset int64, class string, err error) {
	var attributes [3]attribute.KeyValue
	n := 0
	if partition >= 0 {
		attributes[n] = semconv.MessagingDestinationPartitionID(strconv.Itoa(int(partition)))
		n++
	}
	if offset >= 0 {
		attributes[n] = semconv.MessagingKafkaOffsetKey.Int64(offset)
		n++
	}
	if err != nil {
		attributes[n] = semconv.ErrorTypeKey.String(class)
		n++
		span.SetStatus(codes.Error, validText(err.Error()))
	}
	span.SetAttributes(attributes[:n]...)
	span.End()
}
