package dispatch

import "github.com/sluice-kafka/sluice/internal/flow"

// How a topic collects records for its partition producers, on its goroutine.

// partitionSlot is a partition producer, and the records that the topic holds for it.
type partitionSlot struct {
	producer *partitionProducer
	pending  []flow.Record
	last     int // how many records it got last time
}

// getRun and putRun use the topic's cache only if it has many partitions: there may be many topics, and a cache keeps its
// runs for ever.
func (t *topic) getRun(n int) []flow.Record {
	if len(t.partitions) > manyPartitions {
		return t.runCache.Get(n)
	}
	return flow.GetRun(n)
}

func (t *topic) putRun(run []flow.Record) {
	if len(t.partitions) > manyPartitions {
		t.runCache.Put(run)
		return
	}
	flow.PutRun(run)
}

// putWhole puts a run into a slot without copying it, if all its records go to one partition. This is so for topics with
// one partition and for sticky partitioners. Else it returns false.
func (t *topic) putWhole(run []flow.Record) bool {
	partition := run[0].Partition
	for i := range run {
		if run[i].Partition != partition {
			return false
		}
	}
	if partition == withdrawn {
		return false
	}
	slot := t.slot(partition)
	if slot.pending != nil {
		return false
	}
	t.dirty = append(t.dirty, slot)
	t.pending += len(run)
	slot.pending = run
	return true
}

// put adds a record to its partition's slot. A new run has room for as many records as the last one had, but for share at
// most: the room is not charged, and this may be the only record.
func (t *topic) put(rec *flow.Record, share int) {
	if rec.Partition == withdrawn {
		return
	}
	slot := t.slot(rec.Partition)
	switch {
	case slot.pending == nil:
		t.dirty = append(t.dirty, slot)
		slot.pending = t.getRun(min(slot.last, share))
	case len(slot.pending) == cap(slot.pending):
		slot.pending = flow.Grow(slot.pending)
	}
	t.pending++
	slot.pending = append(slot.pending, *rec)
}

// slot finds a partition's slot, and starts the partition producer at its first record. Package metadata bounds the numbers of
// partitions: a broker may name any.
func (t *topic) slot(partition int32) *partitionSlot {
	if int(partition) < len(t.partitions) && t.partitions[partition] != nil {
		return t.partitions[partition]
	}
	for int(partition) >= len(t.partitions) {
		t.partitions = append(t.partitions, nil)
	}
	slot := &partitionSlot{producer: newPartitionProducer(t.deps, t.name, t.stats, partition, leaderOf(t.deps, t.md, partition))}
	t.restore(slot.producer)
	t.partitions[partition] = slot
	t.running.Go(slot.producer.run)
	return slot
}

// deliver gives the partition producers what is in their slots.
func (t *topic) deliver() {
	for i, slot := range t.dirty {
		slot.last = len(slot.pending)
		slot.producer.send(slot.pending)
		slot.pending = nil // the partition producer's
		t.dirty[i] = nil
	}
	t.dirty = t.dirty[:0]
	t.pending = 0
}
