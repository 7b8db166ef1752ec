package mocks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/faketxn"
)

// readTimeout bounds Messages, which waits for nothing but the cluster itself.
const readTimeout = 30 * time.Second

// Cluster is a Kafka cluster within the test's process: it listens on loopback, speaks the protocol, and keeps what is
// produced in memory. It is there to test a program together with the real producer. What goes wrong in a method ends
// the test, so they belong on the test's goroutine; of a cluster that StartCluster returned, it panics.
type Cluster struct {
	t       reporter
	fake    *kfake.Cluster
	shim    *faketxn.Shim
	markers atomic.Int32 // see DelayTxnMarkers
}

// reporter is the part of a test that a Cluster uses.
type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
}

// noTest is the reporter of a cluster without a test.
type noTest struct{}

func (noTest) Helper()                           {}
func (noTest) Fatalf(format string, args ...any) { panic("mocks: " + fmt.Sprintf(format, args...)) }

// ClusterOption changes what NewCluster and StartCluster start.
type ClusterOption struct {
	opts       []kfake.Opt
	txnVersion int16
	err        error
}

// WithBrokers sets the number of brokers, 3 by default. Their ids count from 0.
func WithBrokers(n int) ClusterOption {
	if n < 1 {
		return ClusterOption{err: fmt.Errorf("mocks: a cluster of %d brokers", n)}
	}
	return ClusterOption{opts: []kfake.Opt{kfake.NumBrokers(n)}}
}

// WithTopic creates a topic of so many partitions.
func WithTopic(topic string, partitions int32) ClusterOption {
	if topic == "" || partitions < 1 {
		return ClusterOption{err: fmt.Errorf("mocks: a topic %q of %d partitions", topic, partitions)}
	}
	return ClusterOption{opts: []kfake.Opt{kfake.SeedTopics(partitions, topic)}}
}

// WithAutoCreateTopics creates each unknown topic, of so many partitions, when a producer first asks for it. Without
// it such a topic stays unknown.
func WithAutoCreateTopics(partitions int) ClusterOption {
	if partitions < 1 {
		return ClusterOption{err: fmt.Errorf("mocks: topics of %d partitions", partitions)}
	}
	return ClusterOption{opts: []kfake.Opt{kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(partitions)}}
}

// NewCluster starts a cluster that ends with the test. Close producers before: cleanups run last first, so one that is
// registered after NewCluster comes before the cluster's own.
//
//	cluster := mocks.NewCluster(t, mocks.WithTopic("orders", 4))
//	producer, err := sluice.NewSyncProducer(cluster.Brokers(), cluster.Config())
func NewCluster(t testing.TB, opts ...ClusterOption) *Cluster {
	t.Helper()
	c, err := startCluster(t, opts)
	if err != nil {
		t.Fatalf("starting a cluster: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// StartCluster starts a cluster outside of a test: for a TestMain, an example, or a program that is to be tried without a
// Kafka. Close ends it; close producers before.
func StartCluster(opts ...ClusterOption) (*Cluster, error) {
	c, err := startCluster(noTest{}, opts)
	if err != nil {
		return nil, fmt.Errorf("mocks: starting a cluster: %w", err)
	}
	return c, nil
}

func startCluster(t reporter, opts []ClusterOption) (*Cluster, error) {
	c := &Cluster{t: t}
	c.shim = faketxn.New(c.txnEnded)
	with := []kfake.Opt{c.shim.Opt()}
	var txnVersion int16
	for _, opt := range opts {
		if opt.err != nil {
			return nil, opt.err
		}
		with = append(with, opt.opts...)
		txnVersion = cmp.Or(opt.txnVersion, txnVersion)
	}
	fake, err := kfake.NewCluster(with...)
	if err != nil {
		return nil, err
	}
	c.fake = fake
	c.shim.Attach(fake)
	if txnVersion > 0 {
		c.setTransactionVersion(txnVersion)
	}
	return c, nil
}

// Close ends the cluster, and with it all connections to it. That of NewCluster ends with its test anyway. A second call
// does nothing.
func (c *Cluster) Close() { c.fake.Close() }

// Brokers returns the addresses of all brokers, host:port.
func (c *Cluster) Brokers() []string {
	return c.fake.ListenAddrs()
}

// Config returns a new configuration that suits a test: both channels are used, the metrics are the configuration's
// own, and back-offs are 10 ms, so that a fault costs the test no time.
func (c *Cluster) Config() *sarama.Config {
	config := sarama.NewConfig()
	config.MetricRegistry = metrics.NewRegistry()
	config.Producer.Return.Successes = true
	config.Producer.Retry.Backoff = 10 * time.Millisecond
	config.Producer.Transaction.Retry.Backoff = 10 * time.Millisecond
	config.Metadata.Retry.Backoff = 10 * time.Millisecond
	return config
}

// CreateTopic creates a topic of so many partitions.
func (c *Cluster) CreateTopic(topic string, partitions int32) {
	c.t.Helper()
	if partitions < 1 {
		c.t.Fatalf("creating topic %q: %d partitions", topic, partitions)
	}
	if err := c.fake.CreateTopic(topic, partitions, nil); err != nil {
		c.t.Fatalf("creating topic %q: %v", topic, err)
	}
}

// FailNext lets the next n Produce requests with messages for the topic fail there, with err, a sarama.KError or a
// *kerr.Error. They write nothing, but with REQUEST_TIMED_OUT and NOT_ENOUGH_REPLICAS_AFTER_APPEND, where what is told
// and what is written differ in Kafka, too. Several calls add up, in order.
func (c *Cluster) FailNext(topic string, err error, n int) {
	c.t.Helper()
	answer := kerrOf(err)
	if answer == nil || n < 1 {
		c.t.Fatalf("failing %d requests to topic %q: %v (%T) must be an error of Kafka's protocol", n, topic, err, err)
	}
	c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: answer, Count: n})
}

// kerrOf is an error of the protocol, given as sarama's or kerr's, or nil.
func kerrOf(err error) *kerr.Error {
	if code, ok := errors.AsType[sarama.KError](err); ok {
		return kerr.TypedErrorForCode(int16(code))
	}
	answer, _ := errors.AsType[*kerr.Error](err)
	return answer
}

// Leader returns the id of the broker that leads the partition.
func (c *Cluster) Leader(topic string, partition int32) int32 {
	c.t.Helper()
	leader := c.fake.LeaderFor(topic, partition)
	if leader < 0 {
		c.t.Fatalf("topic %q has no partition %d", topic, partition)
	}
	return leader
}

// MoveLeader lets another broker lead the partition. Producers hear of it by NOT_LEADER_OR_FOLLOWER.
func (c *Cluster) MoveLeader(topic string, partition, broker int32) {
	c.t.Helper()
	if err := c.fake.MoveTopicPartition(topic, partition, broker); err != nil {
		c.t.Fatalf("moving partition %d of topic %q to broker %d: %v", partition, topic, broker, err)
	}
}

// Messages returns what a reader of committed messages finds in the topic now, by partition and offset. It reads with
// a client that shares no code with the producer.
func (c *Cluster) Messages(topic string) []*sarama.ConsumerMessage {
	c.t.Helper()
	partitions := c.fake.PartitionInfos(topic)
	if partitions == nil {
		c.t.Fatalf("reading topic %q: it does not exist", topic)
	}
	from := make(map[int32]kgo.Offset)
	until := make(map[int32]int64)
	for _, p := range partitions {
		if p.LogStartOffset < p.LastStableOffset {
			from[p.Partition] = kgo.NewOffset().At(p.LogStartOffset)
			until[p.Partition] = p.LastStableOffset
		}
	}
	if len(until) == 0 {
		return nil
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(c.Brokers()...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// A transaction's last offset is its marker: without these the end of a partition is not seen.
		kgo.KeepControlRecords(),
	)
	if err != nil {
		c.t.Fatalf("reading topic %q: %v", topic, err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()

	var messages []*sarama.ConsumerMessage
	for len(until) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			c.t.Fatalf("reading topic %q: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, reading := until[r.Partition]
			if reading && r.Offset < end && !r.Attrs.IsControl() {
				messages = append(messages, message(r))
			}
			if r.Offset+1 >= end {
				delete(until, r.Partition)
			}
		})
	}
	slices.SortFunc(messages, func(a, b *sarama.ConsumerMessage) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return messages
}

// message is a record in sarama's terms.
func message(r *kgo.Record) *sarama.ConsumerMessage {
	m := &sarama.ConsumerMessage{
		Topic:     r.Topic,
		Partition: r.Partition,
		Offset:    r.Offset,
		Timestamp: r.Timestamp,
		Key:       r.Key,
		Value:     r.Value,
	}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, &sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
	}
	return m
}
