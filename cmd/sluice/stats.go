package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// A sendTime is when the messages that carry it as Metadata were handed to the producer.
type sendTime struct{ at time.Time }

// stats measures what a client's outcomes tell. It measures one round after the other; what is told before the first one
// counts as warm-up. All methods may be called concurrently.
type stats struct {
	faults *faults

	mu       sync.Mutex
	round    window
	second   window // since the last line
	commits  histogram
	aborted  int64 // transactions, or otherwise not committed
	handed   int64 // records, since the client was made
	answered int64 // those of them that have their outcomes
	target   int64 // of answered, which await waits for
	reached  chan struct{}
	samples  []sample
}

// A window is what was acknowledged in a stretch of time.
type window struct {
	begin     time.Time
	bytes     int64
	failed    int64
	latencies histogram // its count is that of the acknowledged records
}

// A sample is how much of its round a client had acknowledged at a moment.
type sample struct {
	at      time.Time
	records uint64
	bytes   int64
	begins  bool // a round
}

func newStats(f *faults) *stats { return &stats{faults: f} }

// start begins a round.
func (s *stats) start() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round, s.second = window{begin: now}, window{begin: now}
	s.commits, s.aborted = histogram{}, 0
	s.samples = append(s.samples, sample{at: now, begins: true})
}

// finish ends a round, and returns it.
func (s *stats) finish() *measurement {
	s.sample()
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return &measurement{
		records: int64(s.round.latencies.count), bytes: s.round.bytes, failed: s.round.failed, took: now.Sub(s.round.begin),
		latencies: s.round.latencies, commits: s.commits, notCommitted: s.aborted,
	}
}

// sample notes how far the round is.
func (s *stats) sample() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples = append(s.samples, sample{at: now, records: s.round.latencies.count, bytes: s.round.bytes})
}

// await returns when n records have had their outcomes, since the client was made, or ctx has ended.
func (s *stats) await(ctx context.Context, n int64) {
	s.mu.Lock()
	if s.answered >= n {
		s.mu.Unlock()
		return
	}
	s.target, s.reached = n, make(chan struct{})
	reached := s.reached
	s.mu.Unlock()
	select {
	case <-reached:
	case <-ctx.Done():
	}
}

// handOver counts records that are handed over, since the client was made.
func (s *stats) handOver(n int) {
	s.mu.Lock()
	s.handed += int64(n)
	s.mu.Unlock()
}

// outstanding is how many of those have no outcome.
func (s *stats) outstanding() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handed - s.answered
}

// outcome is the sender's outcome function.
func (s *stats) outcome(msgs []*sarama.ProducerMessage, err error) {
	now := time.Now()
	s.mu.Lock()
	for _, w := range []*window{&s.round, &s.second} {
		w.add(msgs, err, now)
	}
	s.answered += int64(len(msgs))
	if s.reached != nil && s.answered >= s.target {
		close(s.reached)
		s.reached = nil
	}
	s.mu.Unlock()
	if err != nil {
		s.faults.addRun(len(msgs), func(int) string { return "a record was not delivered" }, err)
	}
}

// add counts runs of messages that were handed over together at once.
func (w *window) add(msgs []*sarama.ProducerMessage, err error, now time.Time) {
	if err != nil {
		w.failed += int64(len(msgs))
		return
	}
	for len(msgs) > 0 {
		sent := msgs[0].Metadata.(*sendTime)
		n := 0
		for n < len(msgs) && msgs[n].Metadata == any(sent) {
			w.bytes += int64(msgs[n].Value.Length())
			n++
		}
		w.latencies.add(now.Sub(sent.at), n)
		msgs = msgs[n:]
	}
}

// line describes the time since the last line.
func (s *stats) line() string {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.second
	text := fmt.Sprintf("%s, %s avg latency, %s max latency",
		throughput(int64(w.latencies.count), w.bytes, w.failed, now.Sub(w.begin)), ms(w.latencies.average()), ms(w.latencies.max))
	*w = window{begin: now}
	return text
}

// committed counts a transaction and the time that its commit took.
func (s *stats) committed(took time.Duration) {
	s.mu.Lock()
	s.commits.add(took, 1)
	s.mu.Unlock()
}

// lost counts a transaction that was not committed.
func (s *stats) lost(err error) {
	s.mu.Lock()
	s.aborted++
	s.mu.Unlock()
	s.faults.add(func() string { return "a transaction was not committed" }, err)
}

// A measurement is what one round told, or several.
type measurement struct {
	records, bytes, failed int64 // records that were acknowledged, their values' bytes, records that were not
	took                   time.Duration
	latencies              histogram
	commits                histogram // of transactions that were committed
	notCommitted           int64
}

// add takes in another round.
func (m *measurement) add(o *measurement) {
	m.records += o.records
	m.bytes += o.bytes
	m.failed += o.failed
	m.took += o.took
	m.latencies.merge(&o.latencies)
	m.commits.merge(&o.commits)
	m.notCommitted += o.notCommitted
}

// rate is in records a second.
func (m *measurement) rate() float64 { return float64(m.records) / seconds(m.took) }

// megabytes is in MB a second.
func (m *measurement) megabytes() float64 { return float64(m.bytes) / seconds(m.took) / 1e6 }

// line describes the whole of it.
func (m *measurement) line() string {
	h := &m.latencies
	text := fmt.Sprintf("%s, %s avg, %s p50, %s p95, %s p99, %s p99.9, %s max latency", throughput(m.records, m.bytes, m.failed, m.took),
		ms(h.average()), ms(h.quantile(0.50)), ms(h.quantile(0.95)), ms(h.quantile(0.99)), ms(h.quantile(0.999)), ms(h.max))
	if c := &m.commits; c.count > 0 || m.notCommitted > 0 {
		text += fmt.Sprintf("; %d transactions committed, %s avg, %s p50, %s p99, %s max commit",
			c.count, ms(c.average()), ms(c.quantile(0.50)), ms(c.quantile(0.99)), ms(c.max))
	}
	if m.notCommitted > 0 {
		text += fmt.Sprintf(", %d not committed", m.notCommitted)
	}
	return text
}

func throughput(records, bytes, failed int64, took time.Duration) string {
	text := fmt.Sprintf("%d records sent, %.1f records/s (%.2f MB/s)", records, float64(records)/seconds(took), float64(bytes)/seconds(took)/1e6)
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	return text
}

// seconds is never 0, to divide by.
func seconds(d time.Duration) float64 { return max(d.Seconds(), 1e-6) }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }
