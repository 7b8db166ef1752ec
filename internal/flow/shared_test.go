package flow

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

func TestSharedKicks(t *testing.T) {
	s := NewShared(sarama.NewConfig())
	s.Budget = NewBudget(10)
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
	s := NewShared(sarama.NewConfig())
	s.Budget = NewBudget(10)
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
		s := NewShared(sarama.NewConfig())
		s.DeliveryTimeout = time.Minute
		time.Sleep(3 * time.Second)
		if now := s.Now(); now != int64(3*time.Second) || s.Deadline(now) != int64(63*time.Second) {
			t.Errorf("now %d, deadline %d", now, s.Deadline(now))
		}
	})
}
