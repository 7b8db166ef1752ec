package mocks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// producer returns a synchronous producer that is closed before the cluster. It is sarama's: what is tested with it is
// the cluster.
func producer(t *testing.T, c *mocks.Cluster, config *sarama.Config) sarama.SyncProducer {
	t.Helper()
	p, err := sarama.NewSyncProducer(c.Brokers(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func send(t *testing.T, p sarama.SyncProducer, msg *sarama.ProducerMessage) {
	t.Helper()
	if _, _, err := p.SendMessage(msg); err != nil {
		t.Fatal(err)
	}
}

// values are a topic's messages as partition:value, by partition and offset.
func values(c *mocks.Cluster, topic string) (all []string) {
	for _, m := range c.Messages(topic) {
		all = append(all, fmt.Sprintf("%d:%s", m.Partition, m.Value))
	}
	return all
}

// What a program's own test looks like: a cluster, a producer, and what came of it.
func TestClusterKeepsWhatIsProduced(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithTopic("orders", 2))
	config := cluster.Config()
	config.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sluice.NewSyncProducer(cluster.Brokers(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	if got := cluster.Messages("orders"); len(got) != 0 {
		t.Fatalf("a new topic has messages: %v", got)
	}
	for i, value := range []string{"a", "b", "c"} {
		send(t, p, &sarama.ProducerMessage{
			Topic:     "orders",
			Partition: int32(1 - i%2),
			Key:       sarama.StringEncoder("k"),
			Value:     sarama.StringEncoder(value),
			Headers:   []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("v")}},
		})
	}
	if got, want := values(cluster, "orders"), []string{"0:b", "1:a", "1:c"}; !slices.Equal(got, want) {
		t.Errorf("the topic has %v, want %v", got, want)
	}
	last := cluster.Messages("orders")[2]
	if string(last.Key) != "k" || last.Offset != 1 || last.Timestamp.IsZero() ||
		len(last.Headers) != 1 || string(last.Headers[0].Key) != "h" || string(last.Headers[0].Value) != "v" {
		t.Errorf("the last message is %+v", last)
	}
}

func TestClusterFaults(t *testing.T) {
	for name, err := range map[string]error{
		"sarama's error": sarama.ErrNotLeaderForPartition,
		"kerr's error":   kerr.NotLeaderForPartition,
		"wrapped":        fmt.Errorf("because: %w", sarama.ErrNotEnoughReplicas),
	} {
		t.Run(name, func(t *testing.T) {
			cluster := mocks.NewCluster(t, mocks.WithBrokers(1))
			cluster.CreateTopic("t", 1)
			cluster.CreateTopic("other", 1)
			config := cluster.Config()
			config.Producer.Retry.Max = 0
			p := producer(t, cluster, config)
			cluster.FailNext("t", err, 2)
			send(t, p, text("other", ""))
			for range 2 {
				if _, _, got := p.SendMessage(text("t", "refused")); got == nil {
					t.Error("a faulted request succeeded")
				}
			}
			send(t, p, text("t", "taken"))
			if got, want := values(cluster, "t"), []string{"0:taken"}; !slices.Equal(got, want) {
				t.Errorf("the topic has %v, want %v", got, want)
			}
		})
	}
}

func TestClusterMovesLeaders(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(2), mocks.WithTopic("t", 1))
	if n := len(cluster.Brokers()); n != 2 {
		t.Fatalf("%d brokers, want 2", n)
	}
	p := producer(t, cluster, cluster.Config())
	send(t, p, text("t", "before"))
	to := 1 - cluster.Leader("t", 0)
	cluster.MoveLeader("t", 0, to)
	if got := cluster.Leader("t", 0); got != to {
		t.Fatalf("broker %d leads, want %d", got, to)
	}
	send(t, p, text("t", "after"))
	if got, want := values(cluster, "t"), []string{"0:before", "0:after"}; !slices.Equal(got, want) {
		t.Errorf("the topic has %v, want %v", got, want)
	}
}

func TestClusterCreatesTopicsOnDemand(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithAutoCreateTopics(2))
	send(t, producer(t, cluster, cluster.Config()), text("new", "x"))
	if got := cluster.Messages("new"); len(got) != 1 {
		t.Errorf("%d messages, want 1", len(got))
	}
	if cluster.Leader("new", 1) < 0 {
		t.Error("no second partition")
	}
}

// Only what is committed is read; transaction markers take offsets, and are no messages.
func TestClusterReadsCommitted(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithTopic("t", 1))
	config := cluster.Config()
	config.Producer.Transaction.ID = "tx"
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	p := producer(t, cluster, config)
	for _, c := range []struct {
		value string
		end   func() error
	}{{"committed", p.CommitTxn}, {"aborted", p.AbortTxn}, {"committed too", p.CommitTxn}, {"aborted too", p.AbortTxn}} {
		if err := p.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		send(t, p, text("t", c.value))
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := values(cluster, "t"), []string{"0:committed", "0:committed too"}; !slices.Equal(got, want) {
		t.Errorf("the topic has %v, want %v", got, want)
	}
}

// misused is a test that a wrong call ends; it keeps what was said.
type misused struct {
	testing.TB
	said string
}

func (m *misused) Helper() {}

func (m *misused) Fatalf(format string, args ...any) {
	m.said = fmt.Sprintf(format, args...)
	panic(m)
}

func TestClusterNamesWhatIsWrong(t *testing.T) {
	m := &misused{TB: t}
	cluster := mocks.NewCluster(m, mocks.WithBrokers(1), mocks.WithTopic("there", 1))
	fenced := sarama.ErrProducerFenced
	for wrong, call := range map[string]func(){
		"0 brokers":     func() { mocks.NewCluster(m, mocks.WithBrokers(0)) },
		"0 partitions":  func() { mocks.NewCluster(m, mocks.WithTopic("empty", 0)) },
		"-2 partitions": func() { mocks.NewCluster(m, mocks.WithAutoCreateTopics(-2)) },
		"nowhere":       func() { cluster.Messages("nowhere") },
		"unled":         func() { cluster.Leader("unled", 0) },
		"unmoved":       func() { cluster.MoveLeader("unmoved", 0, 0) },
		"broker 7":      func() { cluster.MoveLeader("there", 0, 7) },
		"there":         func() { cluster.CreateTopic("there", 1) },
		"-1":            func() { cluster.CreateTopic("negative", -1) },
		"refused":       func() { cluster.FailNext("there", errRefused, 1) },
		"0 request":     func() { cluster.FailNext("there", sarama.ErrNotLeaderForPartition, 0) },
		"nil":           func() { cluster.FailNext("there", nil, 1) },
		"failing 1":     func() { cluster.FailNext("there", sarama.ErrNoError, 1) },
		"version 3":     func() { mocks.NewCluster(m, mocks.WithTransactionVersion(3)) },
		"-1 requests":   func() { cluster.DelayTxnMarkers(-1) },
		"one broker":    func() { cluster.MoveCoordinator("tx") },
		"TxnRequest(9)": func() { cluster.FailNextTxn(9, fenced, 1) },
		"0 requests E":  func() { cluster.FailNextTxn(mocks.EndTxn, fenced, 0) },
		"-2 requests E": func() { cluster.LoseNextTxn(mocks.EndTxn, -2) },
		"failing EndTx": func() { cluster.FailNextTxn(mocks.EndTxn, errRefused, 1) },
	} {
		t.Run(wrong, func(t *testing.T) {
			defer func() {
				if recover() != any(m) || !strings.Contains(m.said, wrong) {
					t.Errorf("said %q, want %q in it", m.said, wrong)
				}
			}()
			m.said = ""
			call()
		})
	}
}
