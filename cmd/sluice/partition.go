package main

import "github.com/IBM/sarama"

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
