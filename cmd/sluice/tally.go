package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// A batchCall counts what becomes of the messages of one produce command. All methods may be called concurrently: the input
// side adds what was read, the producer's goroutines add outcomes, and the progress line looks.
type batchCall struct {
	faults  *faults
	proof   *proof       // nil unless what was written is read back
	letters *deadLetters // nil without -dead-letter
	// hopeless is told, once, of an error that fails every other message too. It may be nil.
	hopeless func(error)
	told     sync.Once

	mu         sync.Mutex
	read       int64
	delivered  int64
	failed     int64
	bytes      int64 // of keys and values that were delivered
	partitions map[int32]struct{}
}

func newBatchCall(f *faults, p *proof) *batchCall {
	return &batchCall{faults: f, proof: p, partitions: map[int32]struct{}{}}
}

// add counts messages that were read.
func (t *batchCall) add(n int) {
	t.mu.Lock()
	t.read += int64(n)
	t.mu.Unlock()
}

// refused counts a message that the command itself did not send.
func (t *batchCall) refused(b badLine) {
	t.mu.Lock()
	t.failed++
	t.mu.Unlock()
	t.faults.add(b.origin.String, b.err)
	if b.line != nil {
		t.letters.add([]*sarama.ProducerMessage{{Value: sarama.ByteEncoder(b.line), Metadata: &b.origin}}, explained(b.err))
	}
}

// outcome is the sender's outcome function.
func (t *batchCall) outcome(msgs []*sarama.ProducerMessage, err error) {
	if err != nil {
		t.mu.Lock()
		t.failed += int64(len(msgs))
		t.mu.Unlock()
		t.faults.addRun(len(msgs), func(i int) string { return msgs[i].Metadata.(*origin).String() }, err)
		t.letters.add(msgs, explained(err))
		if t.hopeless != nil && everyLineFails(err) {
			t.told.Do(func() { t.hopeless(err) })
		}
		return
	}
	if t.proof != nil {
		t.proof.acknowledged(msgs)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delivered += int64(len(msgs))
	last := int32(-1)
	for _, m := range msgs {
		if m.Key != nil {
			t.bytes += int64(m.Key.Length())
		}
		if m.Value != nil {
			t.bytes += int64(m.Value.Length())
		}
		if m.Partition != last {
			last = m.Partition
			t.partitions[last] = struct{}{}
		}
	}
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
