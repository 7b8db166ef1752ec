package flow

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

// newShared is closed with the test.
func newShared(t *testing.T) *Shared {
	s := NewShared(Config{Conf: sarama.NewConfig(), BufferMemory: 10, DeliveryTimeout: time.Minute})
	t.Cleanup(func() {
		s.Outcomes.CloseReports()
		s.Outcomes.Close()
	})
	return s
}

func TestSharedWakes(t *testing.T) {
	s := newShared(t)
	var woken int
	remove := s.OnChange(func() { woken++ })
	s.OnChange(func() { woken += 100 })
	urgent := 0
	s.OnUrgent(func() { urgent++ })

	if s.Urgent() || s.Closing() || s.Aborted() != nil {
		t.Error("nothing has happened yet")
	}
	s.BeginUrgent()
	s.BeginUrgent()
	s.EndUrgent()
	if !s.Urgent() || urgent != 2 || woken != 0 {
		t.Errorf("urgent %v, %d of those that linger woken, %d others: want only the former", s.Urgent(), urgent, woken)
	}
	s.EndUrgent()
	if s.Urgent() {
		t.Error("still urgent")
	}
	s.BeginClose()
	if !s.Closing() || woken != 101 {
		t.Errorf("closing %v, woken %d", s.Closing(), woken)
	}
	first := errors.New("first")
	s.Abort(first)
	s.Abort(errors.New("second"))
	if s.Aborted() != first || woken != 202 {
		t.Errorf("aborted with %v, woken %d: want the first cause, and one wake-up", s.Aborted(), woken)
	}
	remove()
	remove()
	s.WakeAll()
	if woken != 302 {
		t.Errorf("woken %d after one was removed", woken)
	}
}

func TestSharedIsUrgentWhileSomebodyWaitsForMemory(t *testing.T) {
	s := newShared(t)
	s.Budget.Try(10)
	place := s.Budget.Wait(1)
	if !s.Urgent() {
		t.Error("what lingers may hold the memory that is waited for")
	}
	place.Cancel()
	if s.Urgent() {
		t.Error("nobody waits")
	}
}

func TestSharedClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		time.Sleep(3 * time.Second)
		if now := s.Now(); now != int64(3*time.Second) || s.Deadline(now) != int64(63*time.Second) {
			t.Errorf("now %d, deadline %d", now, s.Deadline(now))
		}
	})
}

// Deadlines are checked every timeout/50, but not more often than every millisecond, and at least once a second.
func TestSharedLooksAtDeadlines(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		time.Millisecond: time.Millisecond,
		10 * time.Second: 200 * time.Millisecond,
		2 * time.Minute:  time.Second,
	} {
		if got := (&Shared{DeliveryTimeout: timeout}).DeadlineCheckEvery(); got != want {
			t.Errorf("every %v for a timeout of %v, want %v", got, timeout, want)
		}
	}
}
