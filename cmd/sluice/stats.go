package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// A sendTime is when the messages that carry it as Metadata were handed to the producer.
type sendTime struct{ at time.Time }

// stats measures what a perf command's outcomes tell. All methods may be called concurrently.
type stats struct {
	faults *faults

	mu     sync.Mutex
	total  window
	second window // since the last line

	commits histogram // of transactions that were committed
	aborted int64     // or otherwise not committed
}

// A window is what was acknowledged in a stretch of time.
type window struct {
	begin     time.Time
	bytes     int64
	failed    int64
	latencies histogram // its count is that of the acknowledged records
}

func newStats(f *faults) *stats { return &stats{faults: f} }

// start begins the measured time.
func (s *stats) start() {
	now := time.Now()
	s.mu.Lock()
	s.total.begin, s.second.begin = now, now
	s.mu.Unlock()
}

// outcome is the sender's outcome function.
func (s *stats) outcome(msgs []*sarama.ProducerMessage, err error) {
	now := time.Now()
	s.mu.Lock()
	for _, w := range []*window{&s.total, &s.second} {
		w.add(msgs, err, now)
	}
	s.mu.Unlock()
	if err != nil {
		for range msgs {
			s.faults.add(func() string { return "a record was not delivered" }, err)
		}
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
	text := fmt.Sprintf("%s, %s avg latency, %s max latency", w.throughput(now), ms(w.latencies.average()), ms(w.latencies.max))
	*w = window{begin: now}
	return text
}

// final describes the whole run.
func (s *stats) final() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.total
	h := &w.latencies
	text := fmt.Sprintf("%s, %s avg, %s p50, %s p95, %s p99, %s p99.9, %s max latency", w.throughput(time.Now()),
		ms(h.average()), ms(h.quantile(0.50)), ms(h.quantile(0.95)), ms(h.quantile(0.99)), ms(h.quantile(0.999)), ms(h.max))
	if c := &s.commits; c.count > 0 || s.aborted > 0 {
		text += fmt.Sprintf("; %d transactions committed, %s avg, %s p50, %s p99, %s max commit",
			c.count, ms(c.average()), ms(c.quantile(0.50)), ms(c.quantile(0.99)), ms(c.max))
	}
	if s.aborted > 0 {
		text += fmt.Sprintf(", %d not committed", s.aborted)
	}
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

func (s *stats) notCommitted() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.aborted
}

func (s *stats) acknowledged() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.total.latencies.count)
}

func (w *window) throughput(now time.Time) string {
	seconds := max(now.Sub(w.begin).Seconds(), 1e-6)
	n := w.latencies.count
	text := fmt.Sprintf("%d records sent, %.1f records/s (%.2f MB/s)", n, float64(n)/seconds, float64(w.bytes)/seconds/1e6)
	if w.failed > 0 {
		text += fmt.Sprintf(", %d failed", w.failed)
	}
	return text
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }
