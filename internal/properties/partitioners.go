package properties

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

// partitionersOfSarama are the values of Producer.Partitioner.
func partitionersOfSarama(sticky sarama.PartitionerConstructor) map[string]sarama.PartitionerConstructor {
	return map[string]sarama.PartitionerConstructor{
		"hash":           sarama.NewHashPartitioner,
		"reference-hash": sarama.NewReferenceHashPartitioner,
		"crc":            sarama.NewConsistentCRCHashPartitioner,
		"murmur2":        sarama.NewMurmur2Partitioner,
		"random":         sarama.NewRandomPartitioner,
		"round-robin":    sarama.NewRoundRobinPartitioner,
		"sticky":         sticky,
	}
}

// partitionersOfLibrdkafka are the values of its setting partitioner. Messages without a key stay with a partition for a while
// where librdkafka says random: it does so too (sticky.partitioning.linger.ms).
func partitionersOfLibrdkafka(sticky sarama.PartitionerConstructor) map[string]sarama.PartitionerConstructor {
	hashes := map[string]sarama.PartitionerConstructor{
		"consistent": sarama.NewConsistentCRCHashPartitioner,
		"murmur2":    sarama.NewMurmur2Partitioner,
		"fnv1a":      sarama.NewHashPartitioner,
	}
	all := map[string]sarama.PartitionerConstructor{
		"random": byKey(sarama.NewRandomPartitioner, sticky, false),
	}
	for name, hash := range hashes {
		all[name] = byKey(hash, nil, false)
		all[name+"_random"] = byKey(hash, sticky, name == "consistent")
	}
	return all
}

const javaPartitioners = "org.apache.kafka.clients.producer."

// partitionersOfJava are the classes of partitioner.class; of others nothing can be known.
func partitionersOfJava(sticky sarama.PartitionerConstructor) map[string]sarama.PartitionerConstructor {
	return map[string]sarama.PartitionerConstructor{
		javaPartitioners + "RoundRobinPartitioner":        sarama.NewRoundRobinPartitioner,
		javaPartitioners + "internals.DefaultPartitioner": byKey(sarama.NewMurmur2Partitioner, sticky, false),
		javaPartitioners + "UniformStickyPartitioner":     ignoringKeys(sticky),
	}
}

// choosePartitioner: one setting chooses it, since two would contradict each other.
func (s *Settings) choosePartitioner(by string, p sarama.PartitionerConstructor) error {
	for _, other := range []string{"partitioner", "partitioner.class"} {
		if other != by && s.has(other) {
			return fmt.Errorf("%s chooses the partitioner already", other)
		}
	}
	if v, _ := boolean(s.values["partitioner.ignore.keys"]); by != "partitioner.ignore.keys" && v == true {
		return errors.New("partitioner.ignore.keys chooses the partitioner already")
	}
	return s.assign("Producer.Partitioner", p)
}

// byKey sends messages with a key where hash says, and others where rest says. Without rest, no key counts as an empty one. With
// emptyIsNone, an empty key counts as none.
func byKey(hash, rest sarama.PartitionerConstructor, emptyIsNone bool) sarama.PartitionerConstructor {
	return func(topic string) sarama.Partitioner {
		p := &keyPartitioner{hash: hash(topic), emptyIsNone: emptyIsNone}
		if rest != nil {
			p.rest = rest(topic)
		}
		return p
	}
}

// ignoringKeys sends all messages where p sends those without a key.
func ignoringKeys(p sarama.PartitionerConstructor) sarama.PartitionerConstructor {
	return func(topic string) sarama.Partitioner { return &keyPartitioner{rest: p(topic), noKeys: true} }
}

// keyPartitioner belongs to one topic's goroutine, as every partitioner does.
type keyPartitioner struct {
	hash, rest          sarama.Partitioner
	emptyIsNone, noKeys bool
	without             sarama.ProducerMessage // what is asked about in place of a message
}

var _ sarama.DynamicConsistencyPartitioner = (*keyPartitioner)(nil)

func (p *keyPartitioner) hasKey(msg *sarama.ProducerMessage) bool {
	return !p.noKeys && msg.Key != nil && !(p.emptyIsNone && msg.Key.Length() == 0)
}

func (p *keyPartitioner) Partition(msg *sarama.ProducerMessage, partitions int32) (int32, error) {
	switch {
	case msg == nil || partitions < 1:
		return -1, errors.New("no message, or no partition")
	case p.hasKey(msg):
		return p.hash.Partition(msg, partitions)
	case p.rest == nil:
		p.without.Key = sarama.ByteEncoder(nil)
		return p.hash.Partition(&p.without, partitions)
	}
	p.without.Value = msg.Value // the sticky one counts its bytes
	partition, err := p.rest.Partition(&p.without, partitions)
	p.without.Value = nil
	return partition, err
}

// RequiresConsistency is true of messages with a key, see MessageRequiresConsistency.
func (p *keyPartitioner) RequiresConsistency() bool { return true }

// MessageRequiresConsistency makes it a sarama.DynamicConsistencyPartitioner.
func (p *keyPartitioner) MessageRequiresConsistency(msg *sarama.ProducerMessage) bool {
	return p.rest == nil || p.hasKey(msg)
}
