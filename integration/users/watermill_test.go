package users

import (
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
)

// swap is the seam: watermill makes sarama's producer itself, and then lets a tracer wrap it. This one puts another
// producer in its place.
type swap struct {
	kafka.SaramaTracer

	t         *testing.T
	addrs     []string
	construct constructors
}

func (s swap) WrapSyncProducer(conf *sarama.Config, made sarama.SyncProducer) sarama.SyncProducer {
	if err := made.Close(); err != nil {
		s.t.Error(err)
	}
	producer, err := s.construct.sync(s.addrs, conf)
	if err != nil {
		s.t.Error(err)
	}
	return producer
}

func TestWatermillPublisher(t *testing.T) {
	compare(t, func(t *testing.T, cluster *cluster, construct constructors) (s seen) {
		conf := kafka.DefaultSaramaSyncPublisherConfig()
		conf.Metadata.Retry.Max = 0
		publisher, err := kafka.NewPublisher(kafka.PublisherConfig{
			Brokers: cluster.ListenAddrs(),
			Marshaler: kafka.NewWithPartitioningMarshaler(func(_ string, msg *message.Message) (string, error) {
				return msg.Metadata.Get("user"), nil
			}),
			OverwriteSaramaConfig: conf,
			Tracer:                swap{t: t, addrs: cluster.ListenAddrs(), construct: construct},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		publish := func(topic string, n int) error {
			var msgs []*message.Message
			for i := range n {
				msg := message.NewMessage(fmt.Sprint("id-", i), message.Payload(fmt.Sprint("payload ", i)))
				msg.Metadata.Set("user", fmt.Sprint("user-", i))
				msgs = append(msgs, msg)
			}
			return publisher.Publish(topic, msgs...)
		}
		s.add("published: %s", kind(publish("events", 5)))
		s.add("no such topic: %s", kind(publish("no-such-topic", 1)))
		cluster.refuse.Store(true)
		s.add("refused: %v", kind(publish("events", 1)))
		s.add("closed: %s", kind(publisher.Close()))
		s.add("closed again: %s", kind(publisher.Close()))
		s.add("published after that: %s", kind(publish("events", 1)))
		s.log(t, cluster, 5)
		return s
	})
}
