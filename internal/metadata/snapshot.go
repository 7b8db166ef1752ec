package metadata

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Broker is one broker as the cluster told of it.
type Broker struct {
	ID   int32
	Addr string // host:port
	Rack string // empty if not told
}

// Partition is what is known of one partition.
type Partition struct {
	ID     int32
	Leader int32 // broker id; -1 if there is no leader now
	Epoch  int32 // leader epoch (KIP-320); -1 if not told
	Err    error // the partition's own error (a sarama.KError), or nil
}

// Topic is what is known of one topic. It is immutable and shared: its slices must not be written to. A look-up that
// changed nothing publishes the same pointer again.
type Topic struct {
	Name       string
	ID         [16]byte    // zero if not told (before Kafka 2.8)
	Partitions []Partition // sorted by id
	Writable   []int32     // ids of the partitions that have a leader, sorted
	All        []int32     // ids of all partitions, sorted
}

// Partition returns what is known of one partition, and whether the topic has it.
func (t *Topic) Partition(id int32) (Partition, bool) {
	// Kafka numbers partitions from 0 without gaps, so the id nearly always is the index.
	if id >= 0 && int(id) < len(t.Partitions) && t.Partitions[id].ID == id {
		return t.Partitions[id], true
	}
	i, ok := slices.BinarySearchFunc(t.Partitions, id, func(p Partition, id int32) int { return cmp.Compare(p.ID, id) })
	if !ok {
		return Partition{}, false
	}
	return t.Partitions[i], true
}

// newTopic takes ownership of partitions, which may be in any order. Of two entries with one id the first counts.
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

// answeredTopic reads a topic of an answer whose topic-level error is none.
func answeredTopic(name string, told *kmsg.MetadataResponseTopic) *Topic {
	partitions := make([]Partition, 0, len(told.Partitions))
	for i := range told.Partitions {
		p := &told.Partitions[i]
		if p.Partition < 0 {
			continue
		}
		known := Partition{ID: p.Partition, Leader: max(p.Leader, -1), Epoch: max(p.LeaderEpoch, -1)}
		if p.ErrorCode != 0 {
			code := sarama.KError(p.ErrorCode)
			known.Err = code
			// A missing replica says nothing against the leader; every other error means that nobody can be written to.
			if code != sarama.ErrReplicaNotAvailable {
				known.Leader = -1
			}
		}
		partitions = append(partitions, known)
	}
	return newTopic(name, told.TopicID, partitions)
}

// wholeTopics are the topics of an answer of which nothing is wrong or missing. The others are left to their look-up.
func wholeTopics(resp *kmsg.MetadataResponse) map[string]*Topic {
	brokers := answeredBrokers(resp)
	topics := make(map[string]*Topic, len(resp.Topics))
	for i := range resp.Topics {
		told := &resp.Topics[i]
		if err, _ := verdict(told); err != nil || told.Topic == nil {
			continue
		}
		if t := answeredTopic(*told.Topic, told); t.led(brokers) {
			topics[t.Name] = t
		}
	}
	return topics
}

// led tells whether each partition has a leader among the brokers.
func (t *Topic) led(brokers map[int32]Broker) bool {
	for _, p := range t.Partitions {
		if _, ok := brokers[p.Leader]; !ok {
			return false
		}
	}
	return true
}

// merge is what is known after old (nil if nothing) once an answer told a newer state. stale says that the answer knew
// less than old: its broker lags behind the cluster.
//
// A broker may answer from a cache that is older than what another broker, or a produce answer (KIP-951), has told. The
// topic id (KIP-516) and the leader epochs (KIP-320) tell old from new:
//
//   - With the same id, a lower epoch than known is older: the partition stays as it was. Partitions are never removed
//     from a topic, so one that the answer lacks stays too.
//   - With another id the topic was created anew, and nothing known holds: epochs begin again from 0.
//   - Without ids an older answer can't be told from a topic created anew. Believing the answer costs a refused request
//     if it was older; not believing it could cost all writes to the new topic. So the newest answer wins.
//   - Without epochs the newest answer wins, for the same reason.
func merge(old, told *Topic) (merged *Topic, stale bool) {
	if old == nil {
		return told, false
	}
	if told.ID == ([16]byte{}) || told.ID != old.ID {
		if slices.Equal(old.Partitions, told.Partitions) && old.ID == told.ID {
			return old, false
		}
		return told, false
	}
	partitions := make([]Partition, 0, max(len(old.Partitions), len(told.Partitions)))
	for _, p := range told.Partitions {
		known, ok := old.Partition(p.ID)
		switch {
		case !ok:
		case p.Epoch >= 0 && p.Epoch < known.Epoch:
			p, stale = known, true
		case p.Epoch < 0 && p.Leader < 0:
			// No leader and no epoch: what epoch was reached is still true, and keeps older leaders out.
			p.Epoch = known.Epoch
		}
		partitions = append(partitions, p)
	}
	for _, p := range old.Partitions {
		if _, ok := told.Partition(p.ID); !ok {
			partitions, stale = append(partitions, p), true
		}
	}
	merged = newTopic(told.Name, told.ID, partitions)
	if slices.Equal(merged.Partitions, old.Partitions) {
		return old, stale
	}
	return merged, stale
}

// leadership is a leader that a produce answer told (KIP-951).
type leadership struct {
	topic                    string
	topicID                  [16]byte // zero if the answer had none
	partition, leader, epoch int32
	node                     *Broker // the leader's address, if told
}

// lead is t with a leader told by a produce answer, and whether it was taken: only for a partition that is known, and
// only with a higher epoch than known.
func lead(t *Topic, l leadership) (*Topic, bool) {
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

// snapshot is all that is known at one moment. It is immutable once published.
type snapshot struct {
	brokers map[int32]Broker
	topics  map[string]*Topic
}

// answeredBrokers reads the brokers of an answer.
func answeredBrokers(resp *kmsg.MetadataResponse) map[int32]Broker {
	brokers := make(map[int32]Broker, len(resp.Brokers))
	for i := range resp.Brokers {
		b := &resp.Brokers[i]
		broker := Broker{ID: b.NodeID, Addr: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))}
		if b.Rack != nil {
			broker.Rack = *b.Rack
		}
		brokers[b.NodeID] = broker
	}
	return brokers
}

// next is the snapshot after s: brokers as an answer told them, topics changed as given. Brokers that
// the answer lacks stay while a known leader is one of them: the answer may be older than what a produce answer told.
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
