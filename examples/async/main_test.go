package main

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// TestRun runs the same program with sarama's producer and with ours.
func TestRun(t *testing.T) {
	constructors := map[string]func(addrs []string, conf *sarama.Config) (sarama.AsyncProducer, error){
		"sarama": sarama.NewAsyncProducer,
		"sluice": func(addrs []string, conf *sarama.Config) (sarama.AsyncProducer, error) {
			return sluice.NewAsyncProducer(addrs, conf)
		},
	}
	for name, construct := range constructors {
		t.Run(name, func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(4, "my-topic"))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			config := sarama.NewConfig()
			config.Producer.Return.Successes = true
			producer, err := construct(cluster.ListenAddrs(), config)
			if err != nil {
				t.Fatal(err)
			}

			// The "Ctrl-C" comes with the third request.
			signals := make(chan os.Signal, 1)
			requests := 0
			cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				if requests++; requests == 3 {
					signals <- os.Interrupt
				}
				return nil, nil, false
			})
			enqueued, successes, producerErrors := run(producer, "my-topic", signals)
			if enqueued == 0 || successes != enqueued || producerErrors != 0 {
				t.Fatalf("enqueued %d, successes %d, errors %d", enqueued, successes, producerErrors)
			}
			inOrder(t, cluster, enqueued)
		})
	}
}

// inOrder reads all messages back and checks that those of one key are there, in order.
func inOrder(t *testing.T, cluster *kfake.Cluster, enqueued int) {
	t.Helper()
	consumer, err := kgo.NewClient(
		kgo.SeedBrokers(cluster.ListenAddrs()...),
		kgo.ConsumeTopics("my-topic"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	next := map[string]int{}
	for i := range 10 {
		next[fmt.Sprintf("key-%d", i)] = i
	}
	for read := 0; read < enqueued; {
		fetches := consumer.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			key := string(r.Key)
			if want := fmt.Sprintf("message %d", next[key]); string(r.Value) != want {
				t.Fatalf("%s: %q where %q was expected", key, r.Value, want)
			}
			next[key] += 10
		})
	}
}
