package metadata

import (
	"cmp"
	"maps"
	"slices"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/wire"
)

// Broker is one broker of the cluster.
type Broker struct {
	ID   int32
	Addr string // host:port
	Rack string // empty if unknown
}

// Partition is what is known of one partition.
type Partition struct {
	ID     int32
	Leader int32         // broker id; -1 if there is no leader now
	Epoch  int32         // leader epoch (KIP-320); -1 if unknown
	Code   sarama.KError // the partition's own error
}

// Topic is what is known of one topic. It is shared and immutable: never write to its slices. A look-up that changes
// nothing publishes the same pointer again.
type Topic struct {
	Name       string
	ID         [16]byte    // zero if unknown (before Kafka 2.8)
	Partitions []Partition // sorted by id
	Writable   []int32     // ids of the partitions that have a leader, sorted
	All        []int32     // ids of all partitions, sorted
}

// Partition returns what is known of one partition, and whether the topic has it.
func (t *Topic) Partition(id int32) (Partition, bool) {
	// Kafka numbers partitions from 0 without gaps, so the id is nearly always the index.
	if id >= 0 && int(id) < len(t.Partitions) && t.Partitions[id].ID == id {
		return t.Partitions[id], true
	}
	i, ok := slices.BinarySearchFunc(t.Partitions, id, func(p Partition, id int32) int { return cmp.Compare(p.ID, id) })
	if !ok {
		return Partition{}, false
	}
	return t.Partitions[i], true
}

// newTopic takes ownership of partitions, in any order. Of two with the same id the first counts.
func newTopic(name string, id [16]byte, partitions []Partition) *Topic {
	slices.SortStableFunc(partitions, func(a, b Partition) int { return cmp.Compare(a.ID, b.ID) })
	partitions = slices.CompactFunc(partitions, func(a, b Partition) bool { return a.ID == b.ID })
	t := &Topic{Name: name, ID: id, Partitions: partitions}
	t.All = make([]int32, 0, len(partitions))
	t.Writable = make([]int32, 0, len(partitions))
	for _, p := range partitions {
		t.All = append(t.All, p.ID)
		if p.Leader >= 0 {
			t.Writable = append(t.Writable, p.ID)
		}
	}
	return t
}

// answeredTopic reads a topic of an answer for which topicError is nil.
func answeredTopic(answer *wire.MetadataTopic) *Topic {
	partitions := make([]Partition, 0, len(answer.Partitions))
	for i := range answer.Partitions {
		p := &answer.Partitions[i]
		if p.ID < 0 {
			continue
		}
		known := Partition{ID: p.ID, Leader: max(p.Leader, -1), Epoch: max(p.Epoch, -1), Code: sarama.KError(p.Code)}
		// A missing replica says nothing against the leader. After every other error there is no leader to write to.
		if known.Code != sarama.ErrNoError && known.Code != sarama.ErrReplicaNotAvailable {
			known.Leader = -1
		}
		partitions = append(partitions, known)
	}
	return newTopic(answer.Name, answer.ID, partitions)
}

// completeTopics are the topics of an answer that have neither errors nor missing leaders. The others are left to a
// look-up.
func completeTopics(resp *wire.Metadata) map[string]*Topic {
	brokers := answeredBrokers(resp)
	topics := make(map[string]*Topic, len(resp.Topics))
	for i := range resp.Topics {
		answer := &resp.Topics[i]
		if err, _ := topicError(answer); err != nil {
			continue
		}
		if t := answeredTopic(answer); t.hasLeaders(brokers) {
			topics[t.Name] = t
		}
	}
	return topics
}

// hasLeaders tells whether each partition has a leader among the brokers.
func (t *Topic) hasLeaders(brokers map[int32]Broker) bool {
	for _, p := range t.Partitions {
		if _, ok := brokers[p.Leader]; !ok {
			return false
		}
	}
	return true
}

// merge combines what is known of a topic (old, nil if nothing) with an answer that came later (newer). stale says that
// the answer is older than what is known: its broker lags behind the cluster.
//
// A broker may answer from a cache that is older than the answer of another broker, or than a leader that a produce
// answer has named (KIP-951). The topic id (KIP-516) and the leader epochs (KIP-320) show which is older:
//
//   - Same id: a lower epoch is older, and the partition stays as it was, until believe says otherwise. A partition that
//     the answer lacks stays too, since Kafka never removes partitions.
//   - Other id: the topic was created anew. Nothing that is known holds, and epochs begin again from 0.
//   - No ids: an old answer looks like a topic created anew. Taking an old answer costs a refused request. Ignoring a
//     new topic could cost all writes to it. So the answer wins.
//   - No epochs: the answer wins, for the same reason.
func merge(old, newer *Topic) (merged *Topic, stale bool) {
	if old == nil {
		return newer, false
	}
	if newer.ID == ([16]byte{}) || newer.ID != old.ID {
		if slices.Equal(old.Partitions, newer.Partitions) && old.ID == newer.ID {
			return old, false
		}
		return newer, false
	}
	partitions := make([]Partition, 0, max(len(old.Partitions), len(newer.Partitions)))
	for _, p := range newer.Partitions {
		known, ok := old.Partition(p.ID)
		switch {
		case !ok:
		case p.Epoch >= 0 && p.Epoch < known.Epoch:
			p, stale = known, true
		case p.Epoch < 0 && p.Leader < 0:
			// No leader and no epoch: keep the known epoch, which keeps older leaders out.
			p.Epoch = known.Epoch
		}
		partitions = append(partitions, p)
	}
	for _, p := range old.Partitions {
		if _, ok := newer.Partition(p.ID); !ok {
			partitions, stale = append(partitions, p), true
		}
	}
	merged = newTopic(newer.Name, newer.ID, partitions)
	if slices.Equal(merged.Partitions, old.Partitions) {
		return old, stale
	}
	return merged, stale
}

// newLeader is a leader that a produce answer has named (KIP-951).
type newLeader struct {
	topic                    string
	topicID                  [16]byte // zero if the answer had none
	partition, leader, epoch int32
	node                     *Broker // the leader's address; nil if the answer had none
}

// withLeader is t (which may be nil) with a new leader, and whether that was taken: only for a known partition, and only
// with a higher epoch than the known one.
func (t *Topic) withLeader(l newLeader) (*Topic, bool) {
	if t == nil || l.leader < 0 {
		return t, false
	}
	none := [16]byte{}
	if l.topicID != none && t.ID != none && l.topicID != t.ID {
		return t, false
	}
	known, ok := t.Partition(l.partition)
	if !ok || l.epoch <= known.Epoch {
		return t, false
	}
	partitions := slices.Clone(t.Partitions)
	for i := range partitions {
		if partitions[i].ID == l.partition {
			partitions[i] = Partition{ID: l.partition, Leader: l.leader, Epoch: l.epoch}
		}
	}
	return newTopic(t.Name, t.ID, partitions), true
}

// snapshot is everything that is known at one moment. It is immutable once published.
type snapshot struct {
	brokers map[int32]Broker
	topics  map[string]*Topic
}

// answeredBrokers reads the brokers of an answer.
func answeredBrokers(resp *wire.Metadata) map[int32]Broker {
	brokers := make(map[int32]Broker, len(resp.Brokers))
	for _, b := range resp.Brokers {
		brokers[b.ID] = Broker(b)
	}
	return brokers
}

// next is the snapshot after s, with the brokers of an answer and the changed topics. A broker that the answer lacks stays
// while it leads a partition: the answer may be older than the produce answer that named it.
func (s *snapshot) next(brokers map[int32]Broker, changed map[string]*Topic) *snapshot {
	n := &snapshot{brokers: brokers, topics: s.topics}
	if len(changed) > 0 {
		n.topics = maps.Clone(s.topics)
		maps.Copy(n.topics, changed)
	}
	for _, t := range n.topics {
		for _, p := range t.Partitions {
			if _, ok := brokers[p.Leader]; ok || p.Leader < 0 {
				continue
			}
			if b, ok := s.brokers[p.Leader]; ok {
				brokers[p.Leader] = b
			}
		}
	}
	return n
}
