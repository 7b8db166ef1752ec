package sluiceotel

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name of the tracer and of the meter.
const scope = "github.com/sluice-kafka/sluice/otel"

// Option is an option of NewTracer and Observe.
type Option func(*options)

type options struct {
	tracers    trace.TracerProvider
	meters     metric.MeterProvider
	propagator propagation.TextMapPropagator
	attributes []attribute.KeyValue
	keys       bool
}

func newOptions(opts []Option) *options {
	o := &options{tracers: otel.GetTracerProvider(), meters: otel.GetMeterProvider(), propagator: otel.GetTextMapPropagator()}
	for _, opt := range opts {
		opt(o)
	}
	return o
}

// WithTracerProvider sends spans to p. The default is otel.GetTracerProvider(). A provider of go.opentelemetry.io/otel/trace/noop
// makes none; the context that a message comes with is injected all the same.
func WithTracerProvider(p trace.TracerProvider) Option { return func(o *options) { o.tracers = p } }

// WithMeterProvider sends metrics to p. The default is otel.GetMeterProvider(). A provider of
// go.opentelemetry.io/otel/metric/noop makes none.
func WithMeterProvider(p metric.MeterProvider) Option { return func(o *options) { o.meters = p } }

// WithPropagator sets the propagator, which writes a span's context into headers and reads it there. The default is otel.GetTextMapPropagator(), which does
// nothing until the program calls otel.SetTextMapPropagator.
func WithPropagator(p propagation.TextMapPropagator) Option {
	return func(o *options) { o.propagator = p }
}

// WithAttributes adds attributes to all spans and metrics. They distinguish the producers of a process: for example
// semconv.MessagingClientID(conf.ClientID).
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(o *options) { o.attributes = append(o.attributes, attributes...) }
}

// WithMessageKeys adds a message's key to its span (messaging.kafka.message.key), if it is a sarama.StringEncoder, or a
// sarama.ByteEncoder that is UTF-8. By default it is left out: keys may hold personal data.
func WithMessageKeys() Option { return func(o *options) { o.keys = true } }
