package main

import (
	"errors"
	"sync"
	"testing"
)

// TestSenders: each record is sent once, in calls of the size that was asked for but for the last, and each call's
// time is kept.
func TestSenders(t *testing.T) {
	for _, test := range []struct{ number, size, records, calls int }{
		{1, 1, 1, 1}, {3, 1, 10, 10}, {3, 7, 21, 3}, {3, 7, 22, 4}, {3, 7, 6, 1}, {100, 10_000, 10_001, 2},
	} {
		var (
			mu    sync.Mutex
			sent  = make([]int, test.records)
			calls int
		)
		s := &senders{number: test.number, size: test.size, sender: func(int) func(i, n int) error {
			return func(i, n int) error {
				mu.Lock()
				defer mu.Unlock()
				calls++
				if n != test.size && i+n != test.records {
					t.Errorf("%+v: a call of %d records that is not the last", test, n)
				}
				for j := range n {
					sent[i+j]++
				}
				return nil
			}
		}}
		if err := s.send(test.records); err != nil {
			t.Errorf("%+v: %v", test, err)
		}
		for i, times := range sent {
			if times != 1 {
				t.Fatalf("%+v: record %d was sent %d times", test, i, times)
			}
		}
		if taken := s.latencies(); calls != test.calls || len(taken) != test.calls {
			t.Errorf("%+v: %d calls, %d latencies", test, calls, len(taken))
		}
	}
}

func TestSendersEndWithFirstFailure(t *testing.T) {
	failure := errors.New("no")
	calls := 0
	s := &senders{number: 1, size: 2, sender: func(int) func(i, n int) error {
		return func(i, n int) error {
			calls++
			if i == 4 {
				return failure
			}
			return nil
		}
	}}
	if err := s.send(100); err != failure || calls != 3 {
		t.Errorf("send returns %v after %d calls, want %v after 3", err, calls, failure)
	}
}
