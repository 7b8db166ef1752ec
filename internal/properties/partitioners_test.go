package properties

import (
	"testing"

	"github.com/IBM/sarama"
)

func partitionerOf(t *testing.T, values map[string]string) sarama.DynamicConsistencyPartitioner {
	t.Helper()
	return mustFinish(t, values).Conf.Producer.Partitioner("t").(sarama.DynamicConsistencyPartitioner)
}

// Round robin stands for the sticky partitioner: 0, 1, 2 in turn.
func TestPartitioners(t *testing.T) {
	const others = -1 // goes where messages without a key go
	none := func(int32) int32 { return others }
	at := func(p int32) func(int32) int32 { return func(int32) int32 { return p } }
	// Hashes modulo 100 of "" and "kafka", from the algorithms' definitions: CRC-32, murmur2 (Java), FNV-1a.
	for _, test := range []struct {
		values                map[string]string
		without, empty, kafka func(int32) int32
	}{
		{map[string]string{"partitioner": "consistent"}, at(0), at(0), hashOf(sarama.NewConsistentCRCHashPartitioner)},
		{map[string]string{"partitioner": "consistent_random"}, none, none, hashOf(sarama.NewConsistentCRCHashPartitioner)},
		{map[string]string{"partitioner": "murmur2"}, at(81), at(81), hashOf(sarama.NewMurmur2Partitioner)},
		{map[string]string{"partitioner": "murmur2_random"}, none, at(81), hashOf(sarama.NewMurmur2Partitioner)},
		{map[string]string{"partitioner": "fnv1a"}, at(35), at(35), hashOf(sarama.NewHashPartitioner)},
		{map[string]string{"partitioner": "fnv1a_random"}, none, at(35), hashOf(sarama.NewHashPartitioner)},
		{map[string]string{"partitioner.class": javaPartitioners + "internals.DefaultPartitioner"}, none, at(81), hashOf(sarama.NewMurmur2Partitioner)},
		{map[string]string{"partitioner.class": javaPartitioners + "UniformStickyPartitioner"}, none, none, none},
		{map[string]string{"partitioner.ignore.keys": "true"}, none, none, none},
	} {
		p := partitionerOf(t, test.values)
		next := int32(0)
		for _, msg := range []struct {
			key  sarama.Encoder
			want func(int32) int32
		}{{nil, test.without}, {sarama.StringEncoder(""), test.empty}, {sarama.StringEncoder("kafka"), test.kafka}, {nil, test.without}} {
			m := &sarama.ProducerMessage{Key: msg.key, Value: sarama.StringEncoder("v")}
			want := msg.want(100)
			consistent := want != others
			if want == others {
				want, next = next, next+1
			}
			got, err := p.Partition(m, 100)
			if err != nil || got != want || p.MessageRequiresConsistency(m) != consistent {
				t.Errorf("%v, key %v: %d, %v, want %d; consistent %v", test.values, msg.key, got, err, want, p.MessageRequiresConsistency(m))
			}
		}
		if _, err := p.Partition(nil, 100); err == nil {
			t.Error("no message, and no error")
		}
	}
}

func hashOf(constructor sarama.PartitionerConstructor) func(int32) int32 {
	return func(partitions int32) int32 {
		p, err := constructor("t").Partition(&sarama.ProducerMessage{Key: sarama.StringEncoder("kafka")}, partitions)
		if err != nil {
			return -2
		}
		return p
	}
}
