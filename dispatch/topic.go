package dispatch

import (
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
)

// topic is the goroutine of one topic: it waits for the first look-up, partitions, and gives every partition producer its records.
// All its fields but the mailboxes are its goroutine's.
type topic struct {
	deps *Deps
	name string

	runs   *flow.Mailbox[[]flow.Record]
	events *flow.Mailbox[topicEvent]

	partitioner sarama.Partitioner
	dynamic     sarama.DynamicConsistencyPartitioner // nil if it is none
	consistent  bool                                 // of a partitioner that is not dynamic

	md         *metadata.Topic  // nil until resolved
	partitions []*partitionSlot // by partition id; nil where nothing was sent yet
	dirty      []*partitionSlot // with pending records

	pending   int   // records that partition producers are not woken for yet
	heldSince int64 // when the first of them was put there
	hold      int64 // how long they may wait, in nanoseconds
	taken     [][]flow.Record
	runCache  flow.RunCache

	// Until the topic is resolved:
	waiting    []flow.Record
	watched    bool
	looking    bool
	unanswered int   // look-ups in a row that no broker answered
	lookAt     int64 // when to look again after one of these
	cause      error // of the last one that failed
	breaker    lookupBreaker

	running *sync.WaitGroup
}

type topicEvent struct {
	md      *metadata.Topic
	answers uint64
	at      int64 // when the look-up ended
	err     error
	stop    bool
}

// partitionSlot is a partition producer with the records that the topic holds for it until it is woken.
type partitionSlot struct {
	producer *partitionProducer
	pending  []flow.Record
	last     int // how many records it was last woken for
}

func newTopic(deps *Deps, name string, running *sync.WaitGroup) *topic {
	return &topic{
		deps: deps, name: name, running: running,
		hold:   int64(min(longestHold, deps.Conf.Producer.Flush.Frequency/holdShare)),
		runs:   flow.NewMailbox[[]flow.Record](),
		events: flow.NewMailbox[topicEvent](),
	}
}

// run ends after stop. Its partition producers are told to stop, and end when their sessions have.
func (t *topic) run() {
	defer t.deps.OnChange(t.events.Notify)()
	defer t.deps.OnUrgent(t.events.Notify)() // what is held back may be what holds the memory
	timer := flow.StoppedTimer()
	defer timer.Stop()
	var events []topicEvent
	for {
		select {
		case <-t.runs.Wake():
		case <-t.events.Wake():
		case <-timer.C:
		}
		events = t.events.Take(events)
		for _, ev := range events {
			if ev.stop {
				t.stop()
				return
			}
			t.round(ev)
		}
		events = flow.Spare(events)
		t.drain()
		if cause := t.deps.Aborted(); cause != nil {
			t.failWaiting(len(t.waiting), cause)
		}
		t.expire()
		t.lookAgain()
		if wait := t.nextLook(); wait > 0 {
			timer.Reset(wait)
		}
	}
}

// A record is held back, so that its partition producer is woken for more than one, for a small part of the linger, and no longer than
// longestHold.
const (
	holdShare   = 5
	longestHold = time.Millisecond
)

// A topic that has drained its mailbox wakes its partition producers at once, unless these are many with few records each: then it
// waits for more, a small part of the linger.
const (
	manyPartitions = 16
	fewRecords     = 4
)

// drain partitions what is in the mailbox and wakes the partition producers.
func (t *topic) drain() {
	now := t.deps.Now()
	for {
		t.taken = t.runs.Take(t.taken)
		if len(t.taken) == 0 {
			if len(t.dirty) > manyPartitions && t.pending < fewRecords*len(t.dirty) && now-t.heldSince < t.hold && !t.deps.Urgent() {
				return // nextLook comes back to it
			}
			break
		}
		if t.pending == 0 {
			t.heldSince = now
		}
		for _, run := range t.taken {
			t.accept(run)
		}
		t.taken = flow.Spare(t.taken)
		if now = t.deps.Now(); now-t.heldSince > int64(longestHold) {
			break
		}
	}
	t.deliver()
}

// nextLook is when run has to look again without being woken; 0: not at all.
func (t *topic) nextLook() time.Duration {
	if len(t.dirty) > 0 {
		return time.Duration(max(t.heldSince+t.hold-t.deps.Now(), 1))
	}
	if len(t.waiting) == 0 {
		return 0
	}
	wait := t.deps.LookEvery()
	if !t.looking {
		wait = min(wait, time.Duration(max(t.lookAt-t.deps.Now(), 1)))
	}
	return wait
}

// accept gives a run of records, which is the topic's, to their partition producers.
func (t *topic) accept(run []flow.Record) {
	if t.md == nil {
		t.await(run)
		t.putRun(run)
		return
	}
	for recs := run; len(recs) > 0; {
		n, err := t.partition(recs)
		if n == len(run) && t.putWhole(run) {
			return
		}
		share := 4 * n / max(1, len(t.partitions))
		for i := range recs[:n] {
			t.put(&recs[i], share)
		}
		recs = recs[n:]
		if err != nil {
			t.fail(recs[:1], err)
			recs = recs[1:]
		}
	}
	t.putRun(run)
}

// getRun and putRun go through the cache where partition producers are many. There may be as many topics, and each would keep some
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

// putWhole hands a run on as it is, if all of it goes to one partition producer: with the sticky partitioner, or one partition. Else it
// returns false.
func (t *topic) putWhole(run []flow.Record) bool {
	partition := run[0].Partition
	for i := range run {
		if run[i].Partition != partition {
			return false
		}
	}
	if partition == gone {
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

// put adds a record to what its partition producer is to be woken for. Room is made for as many as the last time, but for no more than
// share: it is not charged, and there may be only the one.
func (t *topic) put(rec *flow.Record, share int) {
	if rec.Partition == gone {
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

func (t *topic) slot(partition int32) *partitionSlot {
	if int(partition) < len(t.partitions) && t.partitions[partition] != nil {
		return t.partitions[partition]
	}
	for int(partition) >= len(t.partitions) {
		t.partitions = append(t.partitions, nil)
	}
	slot := &partitionSlot{producer: newPartitionProducer(t.deps, t.name, partition, leaderOf(t.deps, t.md, partition))}
	t.partitions[partition] = slot
	t.running.Go(slot.producer.run)
	return slot
}

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

// round: the look-up goroutine finished one, which answers the refreshes up to a refresh number. Every partition producer is told: one that
// goes on as before has no ear for it, and rounds are rare.
func (t *topic) round(ev topicEvent) {
	if ev.md != nil {
		t.md = ev.md
	}
	if t.md == nil {
		t.unresolved(ev.err, ev.at)
		return
	}
	t.looking, t.unanswered = false, 0
	for partition, slot := range t.partitions {
		if slot != nil {
			l := leaderOf(t.deps, t.md, int32(partition))
			err := ev.err
			if _, ok := t.md.Partition(int32(partition)); !ok {
				err = fmt.Errorf("partition %d does not exist any more: %w", partition, flow.External(sarama.ErrUnknownTopicOrPartition))
			}
			slot.producer.events.Put(partitionEvent{kind: lookUpEnded, leader: l, answer: ev.answers, at: ev.at, err: err})
		}
	}
	if len(t.waiting) > 0 {
		waiting := flow.CopyRun(t.waiting)
		t.waiting = nil
		t.accept(waiting)
	}
}

// fail decides the fate of records that have no partition producer; it copies them.
func (t *topic) fail(recs []flow.Record, err error) {
	t.deps.Outcomes.Decide(&flow.Outcome{
		Topic: t.name, Partition: -1, BaseOffset: flow.NoOffset, Err: err, Records: flow.CopyRun(recs),
	})
}

func (t *topic) stop() {
	t.failWaiting(len(t.waiting), sarama.ErrShuttingDown)
	for _, slot := range t.partitions {
		if slot != nil {
			slot.producer.events.Put(partitionEvent{kind: stopPartition})
		}
	}
}
