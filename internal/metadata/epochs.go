package metadata

import (
	"log/slog"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// A leader epoch that goes back. Mostly the answer is old (see merge). But a cluster that was restored, or lost its
// metadata, begins again from a lower epoch under the same topic id. So a lower epoch is believed once five answers in a
// row have said the same of the partition, from two brokers where there are two. Only answers that the partition's
// producer asked for count, which it does when it fails; an acknowledgement of the known leader begins the count anew.

// olderAnswers is how many answers in a row it takes.
const olderAnswers = 5

// olderEpoch is what answers with a lower epoch than the known one say of a partition.
type olderEpoch struct {
	leader, epoch int32
	answers       int
	from          int32 // a broker that said so; -1 if that was a seed broker whose id is not known
	two           bool  // another one did too
}

// believe counts an answer of a broker about a topic. It returns what is known of the topic (old), without the epochs of the
// partitions for which the answer's lower ones are to be believed now. several says that there is more than one broker.
func (w *watchedTopic) believe(old, newer *Topic, from int32, several bool, log *flow.Log) *Topic {
	failing := w.asking
	w.asking = nil
	if old == nil || newer.ID == ([16]byte{}) || newer.ID != old.ID {
		w.older = nil
		return old
	}
	if len(failing) == 0 && len(w.older) == 0 {
		return old
	}
	var partitions []Partition // a copy of old's, once one of them is not believed any more
	for _, p := range newer.Partitions {
		acked, asked := failing[p.ID]
		if acked {
			delete(w.older, p.ID)
		}
		known, ok := old.Partition(p.ID)
		switch {
		case p.Leader < 0:
			continue
		case !ok || p.Epoch < 0 || p.Epoch >= known.Epoch:
			delete(w.older, p.ID)
			continue
		case !asked:
			continue
		}
		if !w.countOlder(p, from, several) {
			continue
		}
		log.Printf("sluice: topic %q partition %d: the leader epoch went back from %d to %d, as %d answers say; "+
			"the leader is broker %d\n", w.topic, p.ID, known.Epoch, p.Epoch, olderAnswers, p.Leader)
		log.Event(flow.LeaderEpochBack, w.topic, slog.String("topic", w.topic), slog.Int("partition", int(p.ID)),
			flow.BrokerAttr(p.Leader), flow.EpochAttr("leader_epoch", p.Epoch), flow.EpochAttr("from_epoch", known.Epoch),
			slog.Int("answers", olderAnswers))
		delete(w.older, p.ID)
		if partitions == nil {
			partitions = append(partitions, old.Partitions...)
		}
		for i := range partitions {
			if partitions[i].ID == p.ID {
				partitions[i].Epoch = -1
			}
		}
	}
	if partitions == nil {
		return old
	}
	return newTopic(old.Name, old.ID, partitions)
}

// countOlder counts an answer with a lower epoch. It returns true if that is enough.
func (w *watchedTopic) countOlder(p Partition, from int32, several bool) bool {
	o := w.older[p.ID]
	if o == nil || o.leader != p.Leader || o.epoch != p.Epoch {
		o = &olderEpoch{leader: p.Leader, epoch: p.Epoch, from: -1}
		if w.older == nil {
			w.older = map[int32]*olderEpoch{}
		}
		w.older[p.ID] = o
	}
	o.answers++
	if o.from < 0 {
		o.from = from
	}
	o.two = o.two || from >= 0 && from != o.from
	return o.answers >= olderAnswers && (o.two || !several)
}
