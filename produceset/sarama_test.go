package produceset

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// A broker accepts frames of every codec and level, and sarama's own consumer reads them.
func TestSaramaReadsEveryCodec(t *testing.T) {
	all := codecs()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(int32(len(all)), "orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	byName := kgo.MaxVersions(kversion.V3_5_0()) // later versions have topic ids in Produce
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), byName)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_1_0_0
	conf.Consumer.MaxWaitTime = 20 * time.Millisecond // subscribing and closing wait for a fetch
	consumer, err := sarama.NewConsumer(cluster.ListenAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := consumer.Close(); err != nil {
			t.Error(err)
		}
	}()

	msgs := lines(300)
	msgs = append(msgs, message(nil, nil), message(sarama.StringEncoder(""), sarama.ByteEncoder{}))
	var readers []sarama.PartitionConsumer
	for i, cfg := range all {
		b := New(cfg, 0)
		mustAppend(t, b, msgs...)
		if err := b.Seal(); err != nil {
			t.Fatal(err)
		}
		produce(t, client, int32(i), b)
		b.Release()
	}
	for i := range all {
		pc, err := consumer.ConsumePartition("orders", int32(i), sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, pc)
	}
	defer func() {
		for _, pc := range readers {
			pc.AsyncClose()
		}
		for _, pc := range readers {
			if err := pc.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	for i, cfg := range all {
		t.Run(cfg.name(), func(t *testing.T) {
			for j, msg := range msgs {
				got := <-readers[i].Messages()
				w := wantOf(t, msg)
				if got.Offset != int64(j) || !same(got.Key, w.key) || !same(got.Value, w.value) ||
					got.Timestamp.UnixMilli() != w.timestamp || len(got.Headers) != len(w.headers) {
					t.Fatalf("message %d: %+v, want %+v", j, got, w)
				}
			}
		})
	}
}

// produce writes the batch to partition of topic orders, which must be empty.
func produce(t *testing.T, client *kgo.Client, partition int32, b *Batch) {
	t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "orders"
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition = partition
	frame := b.whole()
	p.Records = frame[room : len(frame)-tail]
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	resp, err := client.Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	answer := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if answer.ErrorCode != 0 || answer.BaseOffset != 0 {
		t.Fatalf("answer: %+v", answer)
	}
}
