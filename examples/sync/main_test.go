package main

import (
	"strings"
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

type constructor = func([]string, *sarama.Config) (sarama.SyncProducer, error)

// TestSameOutput runs the program with sarama's producer and with ours: it prints the same and writes the same.
func TestSameOutput(t *testing.T) {
	defer func(was constructor) { newSyncProducer = was }(newSyncProducer)
	for name, construct := range map[string]constructor{"sarama": sarama.NewSyncProducer, "sluice": sluice.NewSyncProducer} {
		t.Run(name, func(t *testing.T) {
			newSyncProducer = construct
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "my-topic"))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			var sent, failed strings.Builder
			if err := run(cluster.ListenAddrs(), "my-topic", strings.NewReader("one\ntwo\nthree\n"), &sent); err != nil {
				t.Error(err)
			}
			if want := "one: my-topic/0/0\ntwo: my-topic/0/1\nthree: my-topic/0/2\n"; sent.String() != want {
				t.Errorf("it printed %q, want %q", sent.String(), want)
			}
			// What stands before the cause in an error's text is each producer's own.
			if err := run(cluster.ListenAddrs(), "no-such-topic", strings.NewReader("four\n"), &failed); err != nil {
				t.Error(err)
			}
			cause := sarama.ErrUnknownTopicOrPartition.Error() + "\n"
			if got := failed.String(); !strings.HasPrefix(got, "four: not sent: ") || !strings.HasSuffix(got, cause) {
				t.Errorf("it printed %q", got)
			}
			if log := readLog(t, cluster, 3); log != "one two three" {
				t.Errorf("the log has %q", log)
			}
		})
	}
}

// readLog reads n records.
func readLog(t *testing.T, cluster *kfake.Cluster, n int) string {
	t.Helper()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("my-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	var values []string
	for len(values) < n {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return strings.Join(values, " ")
}
