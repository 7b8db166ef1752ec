//go:build unix

package integration

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// TestOrder sends 100,000 messages to each of four partitions, through Input and through InputBatch. What sarama's
// consumer reads is exactly that, in order, at the offsets that the producer told.
func TestOrder(t *testing.T) {
	c := kafka.Get(t)
	const partitions, each = 4, 100_000
	messages := func(topic string) []*sarama.ProducerMessage {
		msgs := make([]*sarama.ProducerMessage, 0, partitions*each)
		for i := range each {
			for p := range partitions {
				msgs = append(msgs, &sarama.ProducerMessage{Topic: topic, Partition: int32(p), Value: sarama.StringEncoder(strconv.Itoa(i))})
			}
		}
		return msgs
	}
	check := func(t *testing.T, topic string, delivered []*sarama.ProducerMessage) {
		t.Helper()
		next := make([]int, partitions)
		for _, m := range delivered {
			want := next[m.Partition]
			if m.Offset != int64(want) || string(m.Value.(sarama.StringEncoder)) != strconv.Itoa(want) {
				t.Fatalf("partition %d: message %v came back with offset %d, want message and offset %d", m.Partition, m.Value, m.Offset, want)
			}
			next[m.Partition]++
		}
		for p := range int32(partitions) {
			consumeInOrder(t, c, topic, p, each)
		}
	}
	t.Run("Input", func(t *testing.T) {
		topic := c.NewTopic(t, partitions, nil)
		check(t, topic, deliver(t, newAsync(t, c, newConfig()), messages(topic)))
	})
	t.Run("InputBatch", func(t *testing.T) {
		topic := c.NewTopic(t, partitions, nil)
		p := newAsync(t, c, newConfig())
		msgs := messages(topic)
		go func() {
			for start := 0; start < len(msgs); start += 500 {
				p.InputBatch() <- append([]*sarama.ProducerMessage(nil), msgs[start:start+500]...)
			}
		}()
		var delivered []*sarama.ProducerMessage
		for len(delivered) < len(msgs) {
			select {
			case m := <-p.Successes():
				delivered = append(delivered, m)
			case err := <-p.Errors():
				t.Fatal(err)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		check(t, topic, delivered)
	})
}

// consumeInOrder reads a partition with sarama's consumer: its values must count from 0 to n-1, and nothing follow.
func consumeInOrder(t *testing.T, c *kafkatest.Cluster, topic string, partition int32, n int) {
	t.Helper()
	consumer, err := sarama.NewConsumer(c.Brokers(), sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	pc, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	ctx := testContext(t)
	for i := range n {
		select {
		case m := <-pc.Messages():
			if string(m.Value) != strconv.Itoa(i) || m.Offset != int64(i) {
				t.Fatalf("%s/%d: offset %d holds %q, want offset and value %d", topic, partition, m.Offset, m.Value, i)
			}
		case <-ctx.Done():
			t.Fatalf("%s/%d: read %d of %d messages: %v", topic, partition, i, n, ctx.Err())
		}
	}
	if end := pc.HighWaterMarkOffset(); end != int64(n) {
		t.Errorf("%s/%d ends at %d, want %d", topic, partition, end, n)
	}
}

func TestSyncInOrderOfEachGoroutine(t *testing.T) {
	c := kafka.Get(t)
	topic := c.NewTopic(t, 2, nil)
	conf := newConfig()
	conf.Producer.Flush.Bytes, conf.Producer.Flush.Frequency = 0, 0 // no linger: each call waits for its answer anyway
	p := newSync(t, c, conf)
	const senders, each = 8, 250
	type place struct {
		partition int32
		offset    int64
	}
	var (
		mu     sync.Mutex
		places = make(map[place]string) // where each message is said to be
		wg     sync.WaitGroup
	)
	for sender := range senders {
		wg.Go(func() {
			for i := range each {
				value := fmt.Sprintf("%d %d", sender, i)
				partition, offset, err := p.SendMessage(&sarama.ProducerMessage{
					Topic: topic, Partition: int32(sender % 2), Value: sarama.StringEncoder(value),
				})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				places[place{partition, offset}] = value
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	var next [senders]int
	for partition, records := range readBack(t, c, topic, senders*each) {
		for _, r := range records {
			var sender, i int
			if _, err := fmt.Sscanf(string(r.Value), "%d %d", &sender, &i); err != nil {
				t.Fatal(err)
			}
			if i != next[sender] {
				t.Fatalf("message %d of sender %d is in the place of its message %d", i, sender, next[sender])
			}
			next[sender]++
			if told := places[place{partition, r.Offset}]; told != string(r.Value) {
				t.Fatalf("partition %d offset %d holds %q, and was told for %q", partition, r.Offset, r.Value, told)
			}
		}
	}
}

func TestSendMessagesKeepsOrder(t *testing.T) {
	c := kafka.Get(t)
	topic := c.NewTopic(t, 1, nil)
	p := newSync(t, c, newConfig())
	var msgs []*sarama.ProducerMessage
	for i := range 10_000 {
		msgs = append(msgs, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(strconv.Itoa(i))})
	}
	if err := p.SendMessages(msgs); err != nil {
		t.Fatal(err)
	}
	for i, m := range msgs {
		if m.Offset != int64(i) {
			t.Fatalf("message %d came back with offset %d", i, m.Offset)
		}
	}
	consumeInOrder(t, c, topic, 0, len(msgs))
}
