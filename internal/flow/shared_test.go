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

func TestSharedKicks(t *testing.T) {
	s := newShared(t)
	var kicked int
	remove := s.OnKick(func() { kicked++ })
	s.OnKick(func() { kicked += 100 })
	hurried := 0
	s.OnHurry(func() { hurried++ })

	if s.Urgent() || s.Closing() || s.Aborted() != nil {
		t.Error("nothing has happened yet")
	}
	s.BeginUrgent()
	s.BeginUrgent()
	s.EndUrgent()
	if !s.Urgent() || hurried != 2 || kicked != 0 {
		t.Errorf("urgent %v, hurried %d, kicked %d: only those that linger are woken", s.Urgent(), hurried, kicked)
	}
	s.EndUrgent()
	if s.Urgent() {
		t.Error("still urgent")
	}
	s.BeginClose()
	if !s.Closing() || kicked != 101 {
		t.Errorf("closing %v, kicked %d", s.Closing(), kicked)
	}
	first := errors.New("first")
	s.Abort(first)
	s.Abort(errors.New("second"))
	if s.Aborted() != first || kicked != 202 {
		t.Errorf("aborted with %v, kicked %d: want the first cause, told once", s.Aborted(), kicked)
	}
	remove()
	remove()
	s.KickAll()
	if kicked != 302 {
		t.Errorf("kicked %d after one was removed", kicked)
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

// A deadline is looked at fifty times in its life, but no stage spins, and none sleeps for more than a second.
func TestSharedLooksAtDeadlines(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		time.Millisecond: time.Millisecond,
		10 * time.Second: 200 * time.Millisecond,
		2 * time.Minute:  time.Second,
	} {
		if got := (&Shared{DeliveryTimeout: timeout}).LookEvery(); got != want {
			t.Errorf("every %v for a timeout of %v, want %v", got, timeout, want)
		}
	}
}
