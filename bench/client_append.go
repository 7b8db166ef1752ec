package main

import (
	"context"
	"sync"

	"github.com/sluice-kafka/sluice"
)

// sluiceAppend sends bytes through Appenders: each goroutine that sends has one for each topic.
type sluiceAppend struct {
	run
	producer *sluice.Producer

	mu   sync.Mutex
	free [][]*sluice.Appender // a set for each goroutine that is not sending
}

func openSluiceAppend(r run) (client, error) {
	conf, err := sluiceConfig(r)
	if err != nil {
		return nil, err
	}
	producer, err := sluice.New(r.Addrs, conf)
	if err != nil {
		return nil, err
	}
	return &sluiceAppend{run: r, producer: producer}, nil
}

func (s *sluiceAppend) send(n int) error { return s.shareOut(n, 1, s.append) }

// append sends a share, and waits for its outcomes.
func (s *sluiceAppend) append(from, to int) error {
	set, err := s.take()
	if err != nil {
		return err
	}
	for i := from; i < to; i++ {
		if err := set[i%len(set)].Append(s.payload.key(i), s.payload.value(i)); err != nil {
			return err
		}
	}
	for _, a := range set {
		if err := a.Flush(context.Background()); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, set)
	return nil
}

// take returns a set that nobody uses.
func (s *sluiceAppend) take() (set []*sluice.Appender, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		set, s.free = s.free[n-1], s.free[:n-1]
		return set, nil
	}
	for _, topic := range s.payload.topics {
		a, err := sluice.NewAppender(s.producer, topic)
		if err != nil {
			return nil, err
		}
		set = append(set, a)
	}
	return set, nil
}

func (s *sluiceAppend) close() error { return s.producer.Close() }
