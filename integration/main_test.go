//go:build unix

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// kafka is the one node that all tests share; each has topics of its own.
var kafka = kafkatest.NewSuite(1)

func TestMain(m *testing.M) {
	if conf := os.Getenv(transformEnv); conf != "" {
		os.Exit(transformMain(conf))
	}
	goleak.VerifyTestMain(kafka.Around(m),
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// testContext ends with the test, or after a time in which anything here should be done.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// newConfig is the recommended configuration as most tests want it: with successes, and with the partition that a
// message names.
func newConfig() *sarama.Config {
	conf := sluice.NewConfig()
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	return conf
}

func newAsync(t *testing.T, c *kafkatest.Cluster, conf *sarama.Config, opts ...sluice.Option) *sluice.Producer {
	t.Helper()
	p, err := sluice.New(c.Brokers(), conf, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newSync(t *testing.T, c *kafkatest.Cluster, conf *sarama.Config) *sluice.Producer {
	t.Helper()
	p, err := sluice.New(c.Brokers(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

// deliver sends messages through Input, closes the producer and returns what came through Successes, in that order.
// Any error fails the test.
func deliver(t *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) []*sarama.ProducerMessage {
	t.Helper()
	go func() {
		for _, m := range msgs {
			p.Input() <- m
		}
		p.AsyncClose()
	}()
	failed := make(chan error, 1)
	go func() {
		var errs []error
		for e := range p.Errors() {
			errs = append(errs, e)
		}
		failed <- errors.Join(errs...)
	}()
	delivered := make([]*sarama.ProducerMessage, 0, len(msgs))
	for m := range p.Successes() {
		delivered = append(delivered, m)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if len(delivered) != len(msgs) {
		t.Fatalf("%d of %d messages were delivered", len(delivered), len(msgs))
	}
	return delivered
}

// readBack reads n records of a topic from its start, by partition, and fails the test if there are more.
func readBack(t *testing.T, c *kafkatest.Cluster, topic string, n int) map[int32][]*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := testContext(t)
	records := make(map[int32][]*kgo.Record)
	for got := 0; got < n; {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %d of %d records from %s: %v", got, n, topic, ctx.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records[r.Partition] = append(records[r.Partition], r)
			got++
		})
	}
	if end := endOffsets(t, cl, topic); end != int64(n) {
		t.Errorf("%s holds %d records, want %d", topic, end, n)
	}
	return records
}

// readAll reads all that a topic of one partition holds when it is called.
func readAll(t *testing.T, c *kafkatest.Cluster, topic string) []*kgo.Record {
	t.Helper()
	return readTopic(t, c, topic)[0]
}

// readTopic reads all that a topic holds when it is called, by partition.
func readTopic(t *testing.T, c *kafkatest.Cluster, topic string) map[int32][]*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	n := endOffsets(t, cl, topic)
	cl.Close()
	return readBack(t, c, topic, int(n))
}

// endOffsets adds up the end offsets of a topic's partitions: the number of its records, while none are deleted.
func endOffsets(t *testing.T, cl *kgo.Client, topic string) (sum int64) {
	t.Helper()
	for _, end := range partitionEnds(t, cl, topic) {
		sum += end
	}
	return sum
}

// partitionEnds are the end offsets of a topic's partitions.
func partitionEnds(t *testing.T, cl *kgo.Client, topic string) map[int32]int64 {
	t.Helper()
	ctx := testContext(t)
	meta := kmsg.NewPtrMetadataRequest()
	metaTopic := kmsg.NewMetadataRequestTopic()
	metaTopic.Topic = kmsg.StringPtr(topic)
	meta.Topics = append(meta.Topics, metaTopic)
	known, err := meta.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	list := kmsg.NewPtrListOffsetsRequest()
	listTopic := kmsg.NewListOffsetsRequestTopic()
	listTopic.Topic = topic
	for _, p := range known.Topics[0].Partitions {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p.Partition, -1 // the end
		listTopic.Partitions = append(listTopic.Partitions, part)
	}
	list.Topics = append(list.Topics, listTopic)
	// A leader that is new in its office does not tell the end yet, and says so.
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		answer, err := list.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		ends, err := endsOf(answer.Topics[0])
		if err == nil {
			return ends
		}
		if !kerr.IsRetriable(err) || ctx.Err() != nil {
			t.Fatalf("end of %s: %v", topic, err)
		}
		<-ticker.C
	}
}

func endsOf(topic kmsg.ListOffsetsResponseTopic) (map[int32]int64, error) {
	ends := make(map[int32]int64)
	for _, p := range topic.Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return nil, fmt.Errorf("partition %d: %w", p.Partition, err)
		}
		ends[p.Partition] = p.Offset
	}
	return ends, nil
}
