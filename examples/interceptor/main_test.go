package main

import (
	"errors"
	"io"
	"log"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

type constructor = func([]string, *sarama.Config) (sarama.AsyncProducer, error)

var constructors = map[string]constructor{"sarama": sarama.NewAsyncProducer, "sluice": sluice.NewAsyncProducer}

func start(t *testing.T) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "my-topic"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

// TestSameLog runs the program with sarama's producer and with ours: it writes the same messages, each with a trace of
// its own, which is the wrapper's where there is one.
func TestSameLog(t *testing.T) {
	defer func(was constructor) { newAsyncProducer = was }(newAsyncProducer)
	for name, construct := range constructors {
		for _, wrapped := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", wrapped"}[wrapped], func(t *testing.T) {
				newAsyncProducer = construct
				cluster := start(t)
				var (
					mu    sync.Mutex
					spans = map[int64]span{} // by offset
					ended func(span)
				)
				if wrapped {
					ended = func(s span) {
						mu.Lock()
						defer mu.Unlock()
						spans[s.Offset] = s
					}
				}
				ticks, signals := make(chan time.Time), make(chan os.Signal)
				go func() {
					for range 3 {
						ticks <- time.Time{}
					}
					signals <- os.Interrupt
				}()
				if err := run(cluster.ListenAddrs(), "my-topic", ticks, signals, ended); err != nil {
					t.Fatal(err)
				}
				values, traces := readLog(t, cluster, 6)
				want := []string{"message 0", "message 1", "message 2", "message 3", "message 4", "message 5"}
				if !slices.Equal(values, want) {
					t.Errorf("the log has %q", values)
				}
				for i, trace := range traces {
					if s := spans[int64(i)]; wrapped && (s.Trace != trace || s.Topic != "my-topic" || s.Err != nil || s.Took <= 0) {
						t.Errorf("message %d of trace %s has the span %+v", i, trace, s)
					}
				}
				if slices.Sort(traces); len(slices.Compact(traces)) != 6 {
					t.Errorf("6 messages have the traces %q", traces)
				}
			})
		}
	}
}

// TestWrapperHandsErrorsOn sends one message that arrives and one that can't: the program has both back from the wrapper
// with their own Metadata, and nothing can be sent after Close.
func TestWrapperHandsErrorsOn(t *testing.T) {
	for name, construct := range constructors {
		t.Run(name, func(t *testing.T) {
			config := sarama.NewConfig()
			config.Producer.Return.Successes = true
			config.Metadata.Retry.Max = 0
			producer, err := construct(start(t).ListenAddrs(), config)
			if err != nil {
				t.Fatal(err)
			}
			spans := make(chan span, 2)
			producer = wrapAsyncProducer(config, producer, func(s span) { spans <- s })

			producer.Input() <- &sarama.ProducerMessage{Topic: "my-topic", Metadata: "arrives"}
			if msg := <-producer.Successes(); msg.Metadata != "arrives" {
				t.Errorf("%v came back", msg.Metadata)
			}
			if s := <-spans; s.Err != nil {
				t.Errorf("the message that arrived has the span %+v", s)
			}
			producer.Input() <- &sarama.ProducerMessage{Topic: "no-such-topic", Metadata: "fails"}
			var failed sarama.ProducerErrors
			if err := producer.Close(); !errors.As(err, &failed) || len(failed) != 1 || failed[0].Msg.Metadata != "fails" {
				t.Errorf("Close returned %v", err)
			}
			if s := <-spans; s.Topic != "no-such-topic" || !errors.Is(s.Err, sarama.ErrUnknownTopicOrPartition) {
				t.Errorf("the message that failed has the span %+v", s)
			}
			defer func() {
				if recover() == nil {
					t.Error("a send after Close did not panic")
				}
			}()
			producer.Input() <- &sarama.ProducerMessage{Topic: "my-topic"}
		})
	}
}

// readLog reads n records.
func readLog(t *testing.T, cluster *kfake.Cluster, n int) (values, traces []string) {
	t.Helper()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("my-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for len(values) < n {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			values = append(values, string(r.Value))
			for _, h := range r.Headers {
				if h.Key == traceHeader {
					traces = append(traces, string(h.Value))
				}
			}
		})
	}
	if len(traces) != n {
		t.Fatalf("%d records have %d traces", n, len(traces))
	}
	return values, traces
}
