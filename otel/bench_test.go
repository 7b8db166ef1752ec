package sluiceotel

import (
	"context"
	"testing"

	"github.com/IBM/sarama"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/sluice-kafka/sluice"
)

// dropped ends spans without exporting them: an exporter's cost is its own.
type dropped struct{}

func (dropped) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (dropped) OnEnd(sdk.ReadOnlySpan)                     {}
func (dropped) Shutdown(context.Context) error             { return nil }
func (dropped) ForceFlush(context.Context) error           { return nil }

// BenchmarkMessage is what tracing and metrics cost a message that succeeds, beside what the producer does with it. Without
// WithTracer there is one comparison with nil in its place.
func BenchmarkMessage(b *testing.B) {
	provider := func(sampler sdk.Sampler) trace.TracerProvider {
		return sdk.NewTracerProvider(sdk.WithSampler(sampler), sdk.WithSpanProcessor(dropped{}))
	}
	for _, bench := range []struct {
		name    string
		tracers trace.TracerProvider
		metrics bool
	}{
		{"no SDK", noop.NewTracerProvider(), false},
		{"not sampled", provider(sdk.NeverSample()), false},
		{"sampled", provider(sdk.AlwaysSample()), false},
		{"metrics only", noop.NewTracerProvider(), true},
		{"not sampled, metrics", provider(sdk.NeverSample()), true},
		{"sampled, metrics", provider(sdk.AlwaysSample()), true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			opts := []Option{WithTracerProvider(bench.tracers), WithPropagator(w3c), WithMeterProvider(metricnoop.NewMeterProvider())}
			if bench.metrics {
				opts = append(opts, WithMeterProvider(metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))))
			}
			tracer := NewTracer(opts...)
			msg := &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("x")}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				msg.Headers = nil
				if end := tracer.Begin(ctx, msg); end != nil {
					end(1, 7, nil)
				}
			}
		})
	}
}

// BenchmarkProducer is a message from Input to Successes, the broker in this process included: with tracing off, not sampled, and
// sampled.
func BenchmarkProducer(b *testing.B) {
	traced := func(sampler sdk.Sampler) []sluice.Option {
		return []sluice.Option{sluice.WithTracer(NewTracer(WithPropagator(w3c), WithMeterProvider(metricnoop.NewMeterProvider()),
			WithTracerProvider(sdk.NewTracerProvider(sdk.WithSampler(sampler), sdk.WithSpanProcessor(dropped{})))))}
	}
	for _, bench := range []struct {
		name string
		opts []sluice.Option
	}{
		{"off", nil},
		{"not sampled", traced(sdk.NeverSample())},
		{"sampled", traced(sdk.AlwaysSample())},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p := newProducer(b, newCluster(b), config(), bench.opts...)
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				for i := range b.N {
					p.Input() <- &sarama.ProducerMessage{Topic: "t", Partition: int32(i % 2), Value: sarama.StringEncoder("x")}
				}
			}()
			for range b.N {
				select {
				case <-p.Successes():
				case failed := <-p.Errors():
					b.Fatal(failed)
				}
			}
		})
	}
}
