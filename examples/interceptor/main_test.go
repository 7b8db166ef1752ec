package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// constructors run each test with sarama's producer and with ours.
var constructors = map[string]func(addrs []string, conf *sarama.Config) (sarama.AsyncProducer, error){
	"sarama": sarama.NewAsyncProducer,
	"sluice": func(addrs []string, conf *sarama.Config) (sarama.AsyncProducer, error) {
		return sluice.NewAsyncProducer(addrs, conf)
	},
}

func start(t *testing.T) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func newConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	config.Metadata.Retry.Max = 0
	config.Producer.Retry.Max = 0
	return config
}

// traces reads n records and returns their trace contexts.
func traces(t *testing.T, cluster *kfake.Cluster, n int) []TraceContext {
	t.Helper()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	var out []TraceContext
	for len(out) < n {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var values []string
			for _, h := range r.Headers {
				if h.Key == headerKey {
					values = append(values, string(h.Value))
				}
			}
			if len(values) != 1 {
				t.Fatalf("record %d has the headers %v", r.Offset, r.Headers)
			}
			c, ok := parse(values[0])
			if !ok {
				t.Fatalf("record %d has the trace context %q", r.Offset, values[0])
			}
			out = append(out, c)
		})
	}
	return out
}

func TestInterceptor(t *testing.T) {
	for name, construct := range constructors {
		t.Run(name, func(t *testing.T) {
			cluster := start(t)
			config := newConfig()
			config.Producer.Interceptors = []sarama.ProducerInterceptor{TraceInterceptor{}}
			producer, err := construct(cluster.ListenAddrs(), config)
			if err != nil {
				t.Fatal(err)
			}
			parent := newTrace()
			shared := []sarama.RecordHeader{{Key: []byte("other"), Value: []byte("x")}, {Key: []byte("Traceparent"), Value: []byte(parent.String())}}
			for i := range 10 {
				msg := &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("v")}
				if i%2 == 0 {
					msg.Headers = shared
				}
				producer.Input() <- msg
				<-producer.Successes()
			}
			if err := producer.Close(); err != nil {
				t.Fatal(err)
			}
			spans := map[[8]byte]bool{}
			for i, c := range traces(t, cluster, 10) {
				spans[c.SpanID] = true
				if child := c.TraceID == parent.TraceID; child != (i%2 == 0) || c.SpanID == parent.SpanID {
					t.Errorf("message %d has %v under %v", i, c, parent)
				}
			}
			if len(spans) != 10 {
				t.Errorf("%d spans for 10 messages", len(spans))
			}
		})
	}
}

func TestWrapper(t *testing.T) {
	for name, construct := range constructors {
		t.Run(name, func(t *testing.T) {
			cluster := start(t)
			config := newConfig()
			inner, err := construct(cluster.ListenAddrs(), config)
			if err != nil {
				t.Fatal(err)
			}
			var (
				mu    sync.Mutex
				spans = map[TraceContext]Span{}
			)
			producer := WrapAsyncProducer(config, inner, func(s Span) {
				mu.Lock()
				defer mu.Unlock()
				spans[s.Context] = s
			})
			for i := range 10 {
				producer.Input() <- &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("v"), Metadata: i}
				if msg := <-producer.Successes(); msg.Metadata != i {
					t.Errorf("message %d came back with the metadata %v", i, msg.Metadata)
				}
			}
			producer.Input() <- &sarama.ProducerMessage{Topic: "no-such-topic", Value: sarama.StringEncoder("v"), Metadata: "lost"}
			var failed sarama.ProducerErrors
			if err := producer.Close(); !errors.As(err, &failed) || len(failed) != 1 || failed[0].Msg.Metadata != "lost" {
				t.Errorf("Close returned %v", err)
			}
			for i, c := range traces(t, cluster, 10) {
				if s := spans[c]; s.Err != nil || s.Offset != int64(i) || s.Start.IsZero() {
					t.Errorf("message %d has the span %v", i, s)
				}
				delete(spans, c)
			}
			for _, s := range spans {
				if !errors.Is(s.Err, sarama.ErrUnknownTopicOrPartition) || !strings.Contains(s.String(), "no-such-topic") {
					t.Errorf("the message that failed has the span %v", s)
				}
			}
			if len(spans) != 1 {
				t.Errorf("%d spans for the message that failed", len(spans))
			}
		})
	}
}

func TestRunThroughBoth(t *testing.T) {
	cluster := start(t)
	config := newConfig()
	config.Producer.Interceptors = []sarama.ProducerInterceptor{TraceInterceptor{}}
	inner, err := sluice.NewAsyncProducer(cluster.ListenAddrs(), config)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan Span, 10)
	if err := run(WrapAsyncProducer(config, inner, func(s Span) { ended <- s }), "t", 10); err != nil {
		t.Fatal(err)
	}
	if len(ended) != 10 {
		t.Errorf("%d spans", len(ended))
	}
	for _, c := range traces(t, cluster, 10) {
		// The interceptor's span is a child of the wrapper's.
		if s := <-ended; s.Context.TraceID != c.TraceID || s.Context.SpanID == c.SpanID {
			t.Errorf("%v under %v", c, s)
		}
	}
}

func TestParse(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for value, ok := range map[string]bool{
		good: true,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00":       true,
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra": true,
		good + "-extra": false,
		"":              false,
		"00":            false,
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":  false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01":  false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01":  false,
		"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":  false,
		"00-0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01":    false,
		"00-0af7651916cd43dd8448eb211c80319cc-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319x-b7ad6b7169203331-01":  false,
	} {
		c, got := parse(value)
		if got != ok {
			t.Errorf("%q: %v", value, got)
		}
		if ok && fmt.Sprint(c)[2:] != value[2:55] {
			t.Errorf("%q came back as %v", value, c)
		}
	}
}
