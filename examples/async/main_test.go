package main

import (
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

// TestSameLog runs each program with sarama's producer and with ours. How many messages are sent before the signal is a
// matter of time, so of each partition the shorter log must be the beginning of the longer one.
func TestSameLog(t *testing.T) {
	for name, program := range map[string]func([]string, string, <-chan os.Signal) (int, int, error){
		"select": withSelect, "goroutines": withGoroutines,
	} {
		t.Run(name, func(t *testing.T) {
			theirs := run(t, program, sarama.NewAsyncProducer)
			ours := run(t, program, sluice.NewAsyncProducer)
			for partition := range int32(partitions) {
				short, long := theirs[partition], ours[partition]
				if len(short) > len(long) {
					short, long = long, short
				}
				if len(short) == 0 {
					t.Errorf("partition %d: nothing to compare", partition)
				}
				for i := range short {
					if short[i] != long[i] {
						t.Fatalf("partition %d, offset %d: sarama wrote %q, sluice %q",
							partition, i, theirs[partition][i], ours[partition][i])
					}
				}
			}
		})
	}
}

type constructor = func([]string, *sarama.Config) (sarama.AsyncProducer, error)

const partitions = 4

// run runs a program until each partition was sent to, in three requests at least, and returns the log.
func run(
	t *testing.T, program func([]string, string, <-chan os.Signal) (int, int, error), construct constructor,
) map[int32][]string {
	t.Helper()
	defer func(was constructor) { newAsyncProducer = was }(newAsyncProducer)
	newAsyncProducer = construct

	cluster, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(partitions, "my-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	signals := make(chan os.Signal, 1)
	requests, sentTo := 0, map[int32]bool{}
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range topic.Partitions {
				sentTo[p.Partition] = true
			}
		}
		if requests++; requests >= 3 && len(sentTo) == partitions {
			select {
			case signals <- os.Interrupt:
			default: // it has its signal
			}
		}
		return nil, nil, false
	})
	sent, failed, err := program(cluster.ListenAddrs(), "my-topic", signals)
	if err != nil || sent == 0 || failed != 0 {
		t.Fatalf("%d sent, %d failed: %v", sent, failed, err)
	}
	return readLog(t, cluster, sent)
}

// readLog reads n records.
func readLog(t *testing.T, cluster *kfake.Cluster, n int) map[int32][]string {
	t.Helper()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("my-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	log := map[int32][]string{}
	for read := 0; read < n; {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			log[r.Partition] = append(log[r.Partition], fmt.Sprintf("%s: %s", r.Key, r.Value))
		})
	}
	return log
}
