package sluice

import (
	"math/rand/v2"

	"github.com/IBM/sarama"
)

// stickyBytes is how much goes to one partition before another is chosen. KIP-794 moves on after batch.size bytes, which
// are 16 KiB by default. There is no such setting here (Producer.MaxMessageBytes bounds a batch, and is no size to aim
// at), so its default stands.
const stickyBytes = 16 << 10

// NewStickyPartitioner is a sarama.PartitionerConstructor: messages with a key go where sarama's hash partitioner (FNV-1a)
// sends them; messages without one stay with a randomly chosen partition for 16 KiB and then move to another (KIP-480,
// and KIP-794, which counts bytes so that partitions get equal shares whatever their brokers' speed). So batches of a
// low rate are larger, and of a high rate partitions are as evenly filled as by turns.
//
// Take it where sarama's producers write or wrote to the same topics, and [NewStickyMurmur2Partitioner] where Java's do: a
// key must keep its partition, or its messages lose their order.
func NewStickyPartitioner(topic string) sarama.Partitioner {
	return newStickyPartitioner(sarama.NewHashPartitioner(topic))
}

// NewStickyMurmur2Partitioner is [NewStickyPartitioner] with the hash of Java's producer for messages with a key, as
// sarama.NewMurmur2Partitioner has it. Kafka Streams, Kafka Connect, ksqlDB, franz-go and kafka-python send a key to the
// same partition; librdkafka (confluent-kafka, kcat) does with its partitioner murmur2_random, which is not its default.
// What joins topics by key needs that.
func NewStickyMurmur2Partitioner(topic string) sarama.Partitioner {
	return newStickyPartitioner(sarama.NewMurmur2Partitioner(topic))
}

func newStickyPartitioner(hash sarama.Partitioner) sarama.Partitioner {
	return &stickyPartitioner{hash: hash, current: -1}
}

var _ sarama.DynamicConsistencyPartitioner = (*stickyPartitioner)(nil)

// stickyPartitioner belongs to one topic's goroutine.
type stickyPartitioner struct {
	hash    sarama.Partitioner
	current int32
	of      int32 // how many partitions there were when current was chosen
	bytes   int   // sent to current
}

func (p *stickyPartitioner) Partition(msg *sarama.ProducerMessage, partitions int32) (int32, error) {
	if msg.Key != nil {
		return p.hash.Partition(msg, partitions)
	}
	if p.current < 0 || p.of != partitions || p.bytes >= stickyBytes {
		p.move(partitions)
	}
	if msg.Value != nil {
		p.bytes += msg.Value.Length()
	}
	p.bytes++ // so that empty messages move on too
	return p.current, nil
}

// move chooses another partition than the current one where there is a choice.
func (p *stickyPartitioner) move(partitions int32) {
	next := rand.Int32N(partitions)
	if next == p.current && partitions > 1 {
		next = (next + 1 + rand.Int32N(partitions-1)) % partitions
	}
	p.current, p.of, p.bytes = next, partitions, 0
}

// RequiresConsistency is true of messages with a key, see MessageRequiresConsistency.
func (p *stickyPartitioner) RequiresConsistency() bool { return true }

// MessageRequiresConsistency makes it a sarama.DynamicConsistencyPartitioner: a message without a key may go to any
// partition that has a leader.
func (p *stickyPartitioner) MessageRequiresConsistency(msg *sarama.ProducerMessage) bool {
	return msg.Key != nil
}
