package sluiceotel

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// patience bounds what must not take long. Nothing is measured with it: a test that needs it has failed.
const patience = 30 * time.Second

func impatient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newCluster has the topic "t" with two partitions.
func newCluster(t testing.TB) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func config() *sarama.Config {
	conf := sarama.NewConfig()
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.Retry.Backoff = 2 * time.Millisecond
	conf.Metadata.Retry.Backoff = 2 * time.Millisecond
	return conf
}

// backend is what an OpenTelemetry SDK has recorded.
type backend struct {
	spans   *tracetest.SpanRecorder
	tracers *sdk.TracerProvider
	reader  *metric.ManualReader
	meters  *metric.MeterProvider
}

func newBackend() *backend {
	b := &backend{spans: tracetest.NewSpanRecorder(), reader: metric.NewManualReader()}
	b.tracers = sdk.NewTracerProvider(sdk.WithSpanProcessor(b.spans))
	b.meters = metric.NewMeterProvider(metric.WithReader(b.reader))
	return b
}

// w3c carries contexts as most programs do.
var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

func (b *backend) options(more ...Option) []Option {
	return append([]Option{WithTracerProvider(b.tracers), WithMeterProvider(b.meters), WithPropagator(w3c)}, more...)
}

// metric returns what was measured under a name; nil if nothing was.
func (b *backend) metric(t testing.TB, name string) *metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := b.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for i := range scope.Metrics {
			if scope.Metrics[i].Name == name {
				return &scope.Metrics[i]
			}
		}
	}
	return nil
}

// producer is one with a Tracer that ends with the test.
func (b *backend) producer(t testing.TB, c *kfake.Cluster, conf *sarama.Config, opts ...sluice.Option) *sluice.Producer {
	t.Helper()
	return newProducer(t, c, conf, append(opts, sluice.WithTracer(NewTracer(b.options()...)))...)
}

func newProducer(t testing.TB, c *kfake.Cluster, conf *sarama.Config, opts ...sluice.Option) *sluice.Producer {
	t.Helper()
	p, err := sluice.New(c.ListenAddrs(), conf, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.CloseContext(ctx)
	})
	return p
}

func message(partition int32, number int) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "t", Partition: partition, Value: sarama.StringEncoder(fmt.Sprint(number))}
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-ch:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// lines are attributes as text, by their keys.
func lines(attributes []attribute.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range attributes {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

// single is the error of the only message of a call.
func single(err error) error {
	if failed, ok := errors.AsType[sarama.ProducerErrors](err); ok {
		return failed[0].Err
	}
	return err
}
