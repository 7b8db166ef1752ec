package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// senders runs the goroutines of a sync client, each with one call under way, and keeps the time that each call took.
type senders struct {
	number int
	size   int // records of a call; the last call of a send may have fewer
	taken  []time.Duration
	// sender is asked once a send for the function with which a goroutine makes its calls, of n records from the i-th
	// on. What that function keeps for its next call is its goroutine's alone, and goes with the send.
	sender func(number int) func(i, n int) error
	end    func() error
}

// callsOf makes the sender of a client whose calls take records: one alone, or several in a slice. Each has its outcome
// when a call returns, so that one slice serves all calls of a goroutine.
func callsOf[T any](size int, record func(i int) T, one func(T) error, many func([]T) error) func(int) func(i, n int) error {
	return func(int) func(i, n int) error {
		if size == 1 {
			return func(i, _ int) error { return one(record(i)) }
		}
		records := make([]T, size)
		return func(i, n int) error {
			for j := range n {
				records[j] = record(i + j)
			}
			return many(records[:n])
		}
	}
}

// send shares n records among the goroutines, a call's worth at a time. After the first failure none makes another
// call.
func (s *senders) send(n int) error {
	calls := (n + s.size - 1) / s.size
	if cap(s.taken) < calls {
		s.taken = make([]time.Duration, calls)
	}
	s.taken = s.taken[:calls]
	var (
		next    atomic.Int64
		failed  atomic.Bool
		failure error
		once    sync.Once
		wg      sync.WaitGroup
	)
	for number := range s.number {
		wg.Go(func() {
			call := s.sender(number)
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= calls {
					return
				}
				from := i * s.size
				count := min(s.size, n-from)
				start := time.Now()
				err := call(from, count)
				s.taken[i] = time.Since(start)
				if err != nil {
					once.Do(func() { failure = err })
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return failure
}

func (s *senders) latencies() []time.Duration {
	taken := s.taken
	s.taken = nil
	return taken
}

func (s *senders) close() error { return s.end() }
