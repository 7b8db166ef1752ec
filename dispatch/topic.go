package dispatch

import (
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/stats"
)

// topic is the goroutine of one topic. It waits for the first look-up, chooses partitions, and gives each partition
// producer its records. Only its goroutine uses its fields, the mailboxes excepted.
type topic struct {
	deps  *Deps
	name  string
	stats *stats.Topic

	runs   *flow.Mailbox[[]flow.Record]
	events *flow.Mailbox[topicEvent]

	partitioner sarama.Partitioner
	dynamic     sarama.DynamicConsistencyPartitioner // the partitioner, if it is one; else nil
	consistent  bool                                 // what a partitioner that is not dynamic requires

	md         *metadata.Topic  // nil until resolved
	notKnown   notKnown         // records for partitions beyond those (newpartitions.go)
	partitions []*partitionSlot // by partition id; nil where nothing was sent yet
	dirty      []*partitionSlot // those with pending records

	pending   int   // records in these slots
	heldSince int64 // when the first of them came
	hold      int64 // how long they may be held, in nanoseconds
	taken     [][]flow.Record
	runCache  flow.RunCache

	// Used until the topic is resolved (firstlookup.go):
	waiting  []flow.Record
	watched  bool
	looking  bool
	repeated int   // look-ups in a row that failed with an error that may pass
	lookAt   int64 // when to make the next one after these
	cause    error // why the last look-up failed for what waits
	breaker  lookupBreaker
	waits    *flow.Activity // in Deps.Waits, while messages wait

	running *sync.WaitGroup // counts the goroutines of its partition producers

	// Of a topic that nothing is sent to (forget.go):
	idle      *flow.Mailbox[idleRequest] // the dispatcher's; nil if the topic is never forgotten
	takenRuns uint64                     // how many it has taken
	usedAt    int64                      // when it took the last one
	asked     bool                       // to be forgotten, and has taken none since
	forgotten bool
	ending    int            // partition producers that have not ended since
	kept      []keptSequence // of partitions that have no partition producer
}

type topicEvent struct {
	kind topicEventKind
	// Of topicNews:
	md      *metadata.Topic // nil if nothing is known
	answers uint64          // it answers all refreshes up to this number
	at      int64           // when it came
	err     error           // why nothing newer is known
	// Of producerEnded:
	producer *partitionProducer
}

type topicEventKind uint8

const (
	topicNews     topicEventKind = iota // a look-up ended, or a produce answer named a leader
	stopTopic                           // Close
	forgetTopic                         // it gets no more runs
	producerEnded                       // after forgetTopic
)

func newTopic(deps *Deps, name string, running *sync.WaitGroup) *topic {
	return &topic{
		deps: deps, name: name, stats: deps.Stats.Topic(name), running: running,
		hold:   int64(min(longestHold, deps.Conf.Producer.Flush.Frequency/holdShare)),
		runs:   flow.NewMailbox[[]flow.Record](),
		events: flow.NewMailbox[topicEvent](),
	}
}

// run ends after stopTopic or forgetTopic. On stopTopic it tells its partition producers to stop and returns; they end
// later, each with its session. On forgetTopic it waits until all of them have ended.
func (t *topic) run() {
	defer t.deps.OnChange(t.events.Notify)()
	defer func() { t.waits.End() }()
	defer t.deps.OnUrgent(t.events.Notify)() // held records may hold the memory that is awaited
	timer := flow.StoppedTimer()
	defer timer.Stop()
	var events []topicEvent
	t.usedAt = t.deps.Now()
	idling := false // the timer is set to when the topic will be idle; runs don't change it
	for {
		select {
		case <-t.runs.Wake():
		case <-t.events.Wake():
		case <-timer.C:
			idling = false
		}
		events = t.events.Take(events)
		for _, ev := range events {
			switch ev.kind {
			case topicNews:
				t.onNews(ev)
			case stopTopic:
				t.stop()
				return
			case forgetTopic:
				t.forget()
			case producerEnded:
				t.onProducerEnded(ev.producer)
			}
		}
		if t.forgotten && t.ending == 0 {
			t.leave()
			return
		}
		events = flow.Spare(events)
		t.drain()
		if cause := t.deps.Stopped(); cause != nil {
			t.failWaiting(len(t.waiting), cause)
			t.failNotKnown(len(t.notKnown.records), cause)
		}
		t.expire()
		t.lookAgain()
		t.noteWait()
		if wait := t.untilNext(); wait > 0 {
			timer.Reset(wait)
			idling = false
		} else if !idling {
			if wait := t.untilIdle(); wait > 0 {
				timer.Reset(wait)
				idling = true
			}
		}
	}
}

// A topic gives records to their partition producers at once, unless more than manyPartitions have fewer than fewRecords
// each. Then it holds them for min(linger/holdShare, longestHold), so that a partition producer is not woken for each.
const (
	manyPartitions = 16
	fewRecords     = 4
	holdShare      = 5
	longestHold    = time.Millisecond
)

// drain chooses partitions for what is in the mailbox, and gives it to the partition producers.
func (t *topic) drain() {
	now := t.deps.Now()
	for {
		t.taken = t.runs.Take(t.taken)
		if len(t.taken) == 0 {
			if t.mayHold(now) {
				return // until the timer of untilNext fires
			}
			break
		}
		if t.pending == 0 {
			t.heldSince = now
		}
		t.takenRuns += uint64(len(t.taken))
		t.usedAt, t.asked = now, false
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

// mayHold tells whether to wait for more records. See manyPartitions.
func (t *topic) mayHold(now int64) bool {
	return len(t.dirty) > manyPartitions && t.pending < fewRecords*len(t.dirty) &&
		now-t.heldSince < t.hold && !t.deps.Urgent()
}

// untilNext is how long run may sleep if nothing wakes it: until held records, a look-up or a deadline is due. 0 is for
// ever.
func (t *topic) untilNext() time.Duration {
	if len(t.dirty) > 0 {
		return time.Duration(max(t.heldSince+t.hold-t.deps.Now(), 1))
	}
	if len(t.waiting) == 0 {
		if len(t.notKnown.records) > 0 {
			return t.deps.DeadlineCheckEvery()
		}
		return 0
	}
	wait := t.deps.DeadlineCheckEvery()
	if !t.looking {
		wait = min(wait, time.Duration(max(t.lookAt-t.deps.Now(), 1)))
	}
	return wait
}

// accept chooses the partitions of a run's records and puts them into their slots. The run is the topic's.
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
			t.failOrHold(&recs[0], err)
			recs = recs[1:]
		}
	}
	t.lookForPartitions()
	t.putRun(run)
}

// onNews handles what is known of the topic now. Every partition producer gets an event, also if its leader is the same: the
// event ends the look-up that it may wait for. News are rare.
func (t *topic) onNews(ev topicEvent) {
	if ev.md != nil {
		t.md = ev.md
	}
	if t.md == nil {
		t.onFailedLookUp(ev.err, ev.at)
		return
	}
	t.looking, t.repeated = false, 0
	for partition, slot := range t.partitions {
		if slot != nil {
			slot.producer.events.Put(t.newsFor(int32(partition), ev))
		}
	}
	t.retryNotKnown(ev.answers)
	if len(t.waiting) > 0 {
		waiting := flow.CopyRun(t.waiting)
		t.waiting = nil
		t.accept(waiting)
	}
}

// newsFor is what news of the topic mean for one partition.
func (t *topic) newsFor(partition int32, ev topicEvent) partitionEvent {
	err := ev.err
	if _, ok := t.md.Partition(partition); !ok {
		err = fmt.Errorf("partition %d does not exist any more: %w", partition, flow.External(sarama.ErrUnknownTopicOrPartition))
	}
	return partitionEvent{
		kind: leaderNews, leader: leaderOf(t.deps, t.md, partition), answers: ev.answers, at: ev.at, err: err,
	}
}

// fail decides records that have no partition. It copies them.
func (t *topic) fail(recs []flow.Record, err error) {
	t.deps.Outcomes.Decide(flow.Failure(t.stats, t.name, -1, flow.CopyRun(recs), err))
}

func (t *topic) stop() {
	t.failWaiting(len(t.waiting), sarama.ErrShuttingDown)
	t.failNotKnown(len(t.notKnown.records), sarama.ErrShuttingDown)
	for _, slot := range t.partitions {
		if slot != nil {
			slot.producer.events.Put(partitionEvent{kind: stopPartition})
		}
	}
}
