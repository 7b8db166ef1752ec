package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/sluice-kafka/sluice"
)

// A batchCall counts what becomes of the messages of one produce command. All methods may be called concurrently: the input
// side adds what was read, the producer's goroutines add outcomes, and the progress line looks.
type batchCall struct {
	faults  *faults
	topic   string
	origin  func(seq int64) string // where a message came from
	proof   *proof                 // nil unless what was written is read back
	letters *deadLetters           // nil without -dead-letter
	// hopeless is told, once, of an error that fails every other message too. It may be nil.
	hopeless func(error)
	told     sync.Once

	mu         sync.Mutex
	read       int64
	delivered  int64
	failed     int64
	bytes      int64 // of keys and values that have not failed
	partitions map[int32]struct{}
}

// add counts messages that were read, and the bytes of their keys and values.
func (t *batchCall) add(n int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read += int64(n)
	t.bytes += bytes
}

// refused counts a message that the command itself does not send.
func (t *batchCall) refused(b badLine) {
	t.mu.Lock()
	t.failed++
	t.mu.Unlock()
	t.faults.add(func() string { return t.origin(b.seq) }, b.err)
	if b.line != nil {
		t.letters.add(letter{message{value: b.line, partition: anyPartition}, t.topic, t.origin(b.seq), explained(b.err)})
	}
}

// fail counts messages that were to be sent, and were not delivered.
func (t *batchCall) fail(msgs []message, err error) {
	t.mu.Lock()
	t.failed += int64(len(msgs))
	t.bytes -= sizeOf(msgs)
	t.mu.Unlock()
	t.faults.addRun(len(msgs), func(i int) string { return t.origin(msgs[i].seq) }, err)
	if t.letters != nil {
		cause := explained(err)
		for _, m := range msgs {
			t.letters.add(letter{m, t.topic, t.origin(m.seq), cause})
		}
	}
	if t.hopeless != nil && everyLineFails(err) {
		t.told.Do(func() { t.hopeless(err) })
	}
}

// outcome is the Appender's report.
func (t *batchCall) outcome(r sluice.AppendReport) {
	if r.Err != nil {
		msgs := make([]message, 0, r.Count)
		for rec := range r.Records() {
			msgs = append(msgs, messageOf(rec, r.Partition))
		}
		t.fail(msgs, r.Err)
		return
	}
	if t.proof != nil {
		t.proof.acknowledged(r.Partition, r.BaseOffset, r.Records())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delivered += int64(r.Count)
	t.partitions[r.Partition] = struct{}{}
}

// A count is a batchCall at one moment.
type count struct {
	read, delivered, failed, bytes int64
	partitions                     int
}

func (t *batchCall) count() count {
	t.mu.Lock()
	defer t.mu.Unlock()
	return count{t.read, t.delivered, t.failed, t.bytes, len(t.partitions)}
}

// outstanding is how many messages have no outcome.
func (c count) outstanding() int64 { return c.read - c.delivered - c.failed }

// report is the last line, without its end.
func (c count) report(topic string, took time.Duration) string {
	seconds := max(took.Seconds(), 1e-6)
	return fmt.Sprintf("delivered %d of %s to %s (%s), %s, %.2f s, %.0f messages/s",
		c.delivered, plural(c.read, "message"), topic, plural(c.partitions, "partition"), humanBytes(c.bytes), seconds, float64(c.delivered)/seconds)
}

// progress are the fields of the progress line, the most important first; before is the count at the line before, interval
// ago, and share how much of the input was read: below 0 if that is not known.
func (c count) progress(before count, interval time.Duration, share float64, took time.Duration) (fields []string) {
	if share >= 0 {
		fields = append(fields, fmt.Sprintf("%.0f %%", 100*min(share, 1)))
		if left := time.Duration(float64(took) * (1 - share) / share); share > 0.01 && share < 1 && left < 100*time.Hour {
			fields = append(fields, spoken(left)+" left")
		}
	}
	fields = append(fields, fmt.Sprintf("%d of %d delivered", c.delivered, c.read))
	if c.failed > 0 {
		fields = append(fields, fmt.Sprintf("%d failed", c.failed))
	}
	return append(fields, fmt.Sprintf("%.0f messages/s", float64(c.delivered-before.delivered)/interval.Seconds()), humanBytes(c.bytes))
}
