package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// senders runs the goroutines of a sync client, each with one message under way, and keeps the time that each call
// took.
type senders struct {
	number int
	taken  []time.Duration
	call   func(i int) error // sends the i-th record; called concurrently
	end    func() error
}

// send shares n records among the goroutines. After the first failure none takes another record.
func (s *senders) send(n int) error {
	if cap(s.taken) < n {
		s.taken = make([]time.Duration, n)
	}
	s.taken = s.taken[:n]
	var (
		next    atomic.Int64
		failed  atomic.Bool
		failure error
		once    sync.Once
		wg      sync.WaitGroup
	)
	for range s.number {
		wg.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				start := time.Now()
				err := s.call(i)
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

func (s *senders) latencies() []time.Duration { return s.taken }

func (s *senders) close() error { return s.end() }
