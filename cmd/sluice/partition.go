package main

import (
	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// newJavaPartitioner is the command's default: messages with a key go where Java's producer and franz-go send them, by
// murmur2; others stay with a partition for a while, as with sluice.NewStickyPartitioner.
func newJavaPartitioner(topic string) sarama.Partitioner {
	return &javaPartitioner{keys: sarama.NewMurmur2Partitioner(topic), others: sluice.NewStickyPartitioner(topic)}
}

type javaPartitioner struct{ keys, others sarama.Partitioner }

func (p *javaPartitioner) Partition(m *sarama.ProducerMessage, partitions int32) (int32, error) {
	if m.Key != nil {
		return p.keys.Partition(m, partitions)
	}
	return p.others.Partition(m, partitions)
}

func (p *javaPartitioner) RequiresConsistency() bool { return true }

// MessageRequiresConsistency: a message without a key may go to any partition that has a leader.
func (p *javaPartitioner) MessageRequiresConsistency(m *sarama.ProducerMessage) bool {
	return m.Key != nil
}

// chosenOr sends messages whose input names a partition there, and all others where another partitioner says.
func chosenOr(other sarama.PartitionerConstructor) sarama.PartitionerConstructor {
	return func(topic string) sarama.Partitioner {
		return &chosenPartitioner{manual: sarama.NewManualPartitioner(topic), other: other(topic)}
	}
}

type chosenPartitioner struct{ manual, other sarama.Partitioner }

func chosen(m *sarama.ProducerMessage) bool {
	o, ok := m.Metadata.(*origin)
	return ok && o.chosen
}

func (p *chosenPartitioner) Partition(m *sarama.ProducerMessage, partitions int32) (int32, error) {
	if chosen(m) {
		return p.manual.Partition(m, partitions)
	}
	return p.other.Partition(m, partitions)
}

func (p *chosenPartitioner) RequiresConsistency() bool { return true }

func (p *chosenPartitioner) MessageRequiresConsistency(m *sarama.ProducerMessage) bool {
	if dynamic, ok := p.other.(sarama.DynamicConsistencyPartitioner); ok && !chosen(m) {
		return dynamic.MessageRequiresConsistency(m)
	}
	return chosen(m) || p.other.RequiresConsistency()
}
