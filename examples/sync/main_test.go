package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

func Example() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "my-topic"))
	if err != nil {
		panic(err)
	}
	defer cluster.Close()
	producer, err := sluice.NewSyncProducer(cluster.ListenAddrs(), nil)
	if err != nil {
		panic(err)
	}
	defer producer.Close()
	if err := run(producer, "my-topic", strings.NewReader("one\ntwo\nthree\n"), os.Stdout); err != nil {
		panic(err)
	}
	// Output:
	// my-topic/0/0: one
	// my-topic/0/1: two
	// my-topic/0/2: three
}

func TestRunNamesWhatWasNotSent(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "my-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	config.Metadata.Retry.Max = 0
	producer, err := sluice.NewSyncProducer(cluster.ListenAddrs(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	err = run(producer, "no-such-topic", strings.NewReader("one\n"), io.Discard)
	if !errors.Is(err, sarama.ErrUnknownTopicOrPartition) || !strings.Contains(err.Error(), `sending "one"`) {
		t.Errorf("%v", err)
	}
}
