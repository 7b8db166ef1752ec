package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
)

// A fate is what a producer said about a message.
type fate uint8

const (
	fateNone         fate = iota // nothing
	fateAcknowledged             // it is written
	fateRefused                  // it is certainly not written
	fateUnknown                  // it may be written
)

// A told is all that is remembered of a message: what was said about it, and what the log holds.
type told struct {
	offset   int64 // where it is, if it was acknowledged and the broker told
	fate     fate
	outcomes uint8 // how many, up to 255
	seen     bool  // it is in the log
	placed   bool  // it is at offset
}

// A ledger holds what a producer said about the messages of a load, by their numbers from 0. The partition of a message
// follows from its number. All methods may be called concurrently.
type ledger struct {
	load    *loadShape
	certain bool // the client tells what is certainly not written from what may be

	mu      sync.Mutex
	closed  bool
	told    []told // of those that were sent
	waiting int    // for an outcome
	counts  [4]int64
	last    time.Time        // when there was an outcome, or the begin
	acked   time.Time        // when there was an acknowledgement, or the begin
	silence time.Duration    // the longest time between two of them
	causes  map[string]int64 // why messages failed
}

// A loadShape is what is sent: it says what message a number stands for.
type loadShape struct {
	mark       string // of this run and client; the key of every record
	topic      string
	partitions int
	size       int
	seed       uint64
}

func newLedger(load *loadShape, certain bool) *ledger {
	return &ledger{load: load, certain: certain, causes: map[string]int64{}}
}

func (l *ledger) start(now time.Time) {
	l.mu.Lock()
	l.last, l.acked = now, now
	l.mu.Unlock()
}

// close ends it: a client that was given up may still say something, and its goroutine may still send. From here on one
// goroutine may read all of it without the lock.
func (l *ledger) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
}

// stalled is how long messages have been waiting without an outcome of any.
func (l *ledger) stalled() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == 0 {
		return 0
	}
	return time.Since(l.last)
}

func (l *loadShape) partition(number int64) int32 { return int32(number % int64(l.partitions)) }

// value is the number, and letters that follow from it, so that a changed byte shows.
func (l *loadShape) value(number int64) []byte {
	value := strconv.AppendInt(make([]byte, 0, l.size), number, 10)
	if len(value) >= l.size {
		return value
	}
	value = append(value, ' ')
	random := rand.New(rand.NewPCG(l.seed, uint64(number)))
	for len(value) < l.size {
		value = append(value, 'a'+byte(random.Uint32N(26)))
	}
	return value
}

// A numbered is the Metadata of a message.
type numbered int64

// next makes the messages that follow those already sent. They count as sent from here on. It returns nil after close.
func (l *ledger) next(n int) []*sarama.ProducerMessage {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	if l.waiting == 0 {
		l.last = time.Now()
	}
	first := int64(len(l.told))
	l.told = append(l.told, make([]told, n)...)
	l.waiting += n
	l.mu.Unlock()
	slab, msgs := make([]sarama.ProducerMessage, n), make([]*sarama.ProducerMessage, n)
	key := sarama.ByteEncoder(l.load.mark)
	for i := range slab {
		number := first + int64(i)
		slab[i] = sarama.ProducerMessage{
			Topic: l.load.topic, Partition: l.load.partition(number), Key: key,
			Value: sarama.ByteEncoder(l.load.value(number)), Metadata: numbered(number),
		}
		msgs[i] = &slab[i]
	}
	return msgs
}

// outcome is the sender's outcome function.
func (l *ledger) outcome(msgs []*sarama.ProducerMessage, err error) {
	said := fateAcknowledged
	if err != nil {
		said = fateUnknown
		if l.certain && !errors.Is(err, sluice.ErrOutcomeUnknown) {
			said = fateRefused
		}
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.last = now
	if err == nil {
		l.silence = max(l.silence, now.Sub(l.acked))
		l.acked = now
	} else if cause := rootCause(err).Error(); l.causes[cause] > 0 || len(l.causes) < maxCauses {
		l.causes[cause] += int64(len(msgs))
	}
	for _, m := range msgs {
		t := &l.told[m.Metadata.(numbered)]
		if t.outcomes == 0 {
			t.fate, t.offset = said, m.Offset
			l.waiting--
			l.counts[said]++
		}
		if t.outcomes < 255 {
			t.outcomes++
		}
	}
}

func (l *ledger) acknowledged() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[fateAcknowledged]
}

// A finding is one kind of thing that a log shows.
type finding struct {
	kind     string
	count    int64
	allowed  string // why this is no broken promise; empty if it is one
	examples []string
}

const shownExamples = 3

func (f *finding) add(format string, args ...any) {
	f.count++
	if len(f.examples) < shownExamples {
		f.examples = append(f.examples, fmt.Sprintf(format, args...))
	}
}

// broken tells whether it breaks a promise.
func (f *finding) broken() bool { return f.count > 0 && f.allowed == "" }

// promises are what a configuration promises beyond what every one does.
type promises struct {
	acknowledgedIsWritten bool // acks
	offsets               bool // the brokers tell offsets
	once                  bool // idempotence
	ordered               bool
	all                   bool // it ran to its end: every message has an outcome
}

// An audit compares a ledger with the log. One goroutine uses it. The records of a partition come by their offsets.
type audit struct {
	ledger     *ledger
	promises   promises
	partitions []partitionAudit

	lost, written, duplicated, reordered, misplaced, changed, foreign, twice, silent finding
	gaps                                                                             finding
}

// A partitionAudit is one partition's part.
type partitionAudit struct {
	Partition    int32 `json:"partition"`
	Sent         int64 `json:"sent"`
	Acknowledged int64 `json:"acknowledged"`
	Records      int64 `json:"records"` // in the log
	Lost         int64 `json:"lost"`
	Written      int64 `json:"failed_but_written"`
	Duplicated   int64 `json:"duplicated"`
	Reordered    int64 `json:"reordered"`
	Gaps         int64 `json:"gaps"`

	latest int64 // the largest number so far
}

func newAudit(l *ledger, p promises) *audit {
	a := &audit{ledger: l, promises: p, partitions: make([]partitionAudit, l.load.partitions)}
	for i := range a.partitions {
		a.partitions[i] = partitionAudit{Partition: int32(i), latest: -1}
	}
	kinds := []struct {
		f       *finding
		kind    string
		allowed string
	}{
		{&a.lost, "lost", unless(p.acknowledgedIsWritten, "as acks none promises nothing")},
		{&a.written, "failed, but written", ""},
		{&a.duplicated, "duplicated", unless(p.once, "as the producer is not idempotent")},
		{&a.reordered, "reordered", unless(p.ordered, "as several requests are in flight, without idempotence")},
		{&a.misplaced, "misplaced", ""},
		{&a.changed, "changed", ""},
		{&a.foreign, "never sent", ""},
		{&a.twice, "several outcomes", ""},
		{&a.silent, "no outcome", unless(p.all, "as the run was interrupted")},
		{&a.gaps, "gaps", "the producer said that they failed, or may have"},
	}
	for _, k := range kinds {
		k.f.kind, k.f.allowed = k.kind, k.allowed
	}
	return a
}

func unless(promised bool, reason string) string {
	if promised {
		return ""
	}
	return reason
}

// findings are all kinds, in the order of the table.
func (a *audit) findings() []*finding {
	return []*finding{&a.lost, &a.written, &a.duplicated, &a.reordered, &a.gaps, &a.misplaced, &a.changed, &a.foreign, &a.twice, &a.silent}
}

func (a *audit) broken() bool {
	for _, f := range a.findings() {
		if f.broken() {
			return true
		}
	}
	return false
}

// record takes in one record that bears the load's mark.
func (a *audit) record(r *kgo.Record) {
	digits, _, _ := bytes.Cut(r.Value, []byte{' '})
	number, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || number < 0 || number >= int64(len(a.ledger.told)) || int(r.Partition) >= len(a.partitions) {
		a.foreign.add("partition %d, offset %d holds a message that was never sent", r.Partition, r.Offset)
		return
	}
	pa := &a.partitions[r.Partition]
	pa.Records++
	t := &a.ledger.told[number]
	switch home := a.ledger.load.partition(number); {
	case home != r.Partition:
		a.misplaced.add("message %d of partition %d is in partition %d, offset %d", number, home, r.Partition, r.Offset)
		return
	case string(r.Value) != string(a.ledger.load.value(number)):
		a.changed.add("partition %d, offset %d does not hold message %d as it was sent", r.Partition, r.Offset, number)
	}
	t.placed = t.placed || r.Offset == t.offset
	if t.seen {
		pa.Duplicated++
		a.duplicated.add("partition %d, offset %d holds message %d once more", r.Partition, r.Offset, number)
		return
	}
	t.seen = true
	// Without idempotence the broker may write late what was given up, as it may still have had the request.
	late := t.fate == fateUnknown && !a.promises.once
	if number < pa.latest && !late {
		pa.Reordered++
		a.reordered.add("partition %d, offset %d holds message %d after message %d", r.Partition, r.Offset, number, pa.latest)
	}
	pa.latest = max(pa.latest, number)
}

// finish takes in the ends of the outcomes and of the log.
func (a *audit) finish() {
	for n := range a.ledger.told {
		number, t := int64(n), &a.ledger.told[n]
		partition := a.ledger.load.partition(number)
		pa := &a.partitions[partition]
		pa.Sent++
		if t.outcomes > 1 {
			a.twice.add("message %d has %d outcomes", number, t.outcomes)
		}
		if !t.seen && number < pa.latest && t.fate != fateAcknowledged {
			pa.Gaps++
			a.gaps.add("partition %d: message %d is not there, and message %d is", partition, number, pa.latest)
		}
		switch t.fate {
		case fateAcknowledged:
			pa.Acknowledged++
			switch {
			case !t.seen:
				pa.Lost++
				a.lost.add("partition %d: message %d was acknowledged%s, and is not in the log", partition, number, a.at(t))
			case a.promises.offsets && t.offset >= 0 && !t.placed:
				a.misplaced.add("partition %d: message %d was acknowledged%s, and is elsewhere", partition, number, a.at(t))
			}
		case fateRefused:
			if t.seen {
				pa.Written++
				a.written.add("partition %d: message %d failed as certainly not written, and is in the log", partition, number)
			}
		case fateNone:
			a.silent.add("message %d has no outcome", number)
		}
	}
}

func (a *audit) at(t *told) string {
	if !a.promises.offsets || t.offset < 0 {
		return ""
	}
	return fmt.Sprintf(" at offset %d", t.offset)
}
