package flow

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func granted(r *Reservation) bool {
	select {
	case <-r.Granted():
		return true
	default:
		return false
	}
}

func TestBudgetTry(t *testing.T) {
	b := NewBudget(100)
	if !b.Try(60) || b.Try(41) || !b.Try(40) || b.Used() != 100 || b.Limit() != 100 {
		t.Errorf("used %d", b.Used())
	}
	b.Release(0)
	b.Release(1)
	if !b.Try(1) || b.Try(1) {
		t.Error("one byte was released")
	}
	b.Force(50)
	if b.Used() != 150 {
		t.Errorf("used %d after Force", b.Used())
	}
	b.Release(50)
	if b.Try(1) {
		t.Error("Try succeeded at the limit")
	}
}

func TestBudgetServesInOrder(t *testing.T) {
	b := NewBudget(100)
	b.Try(100)
	large, small := b.Wait(80), b.Wait(10)
	if !b.Waiting() {
		t.Error("nobody waits")
	}
	b.Release(30)
	if granted(large) || granted(small) || b.Try(1) {
		t.Error("somebody was served past the large one that waits")
	}
	b.Release(50)
	if !granted(large) || granted(small) {
		t.Error("want the large one served, and the small one not yet")
	}
	b.Release(80)
	if !granted(small) || b.Waiting() || b.Used() != 30 {
		t.Errorf("used %d, waiting %v", b.Used(), b.Waiting())
	}
}

// The spare bytes must be free, but are not charged: they hold up nobody once the need is granted.
func TestBudgetLeavesSpare(t *testing.T) {
	b := NewBudget(100)
	if b.TryLeaving(60, 41) || !b.TryLeaving(60, 40) || b.Used() != 60 {
		t.Errorf("used %d", b.Used())
	}
	if b.TryLeaving(10, 31) {
		t.Error("a need was charged that leaves too little")
	}
	first, second := b.WaitLeaving(30, 20), b.WaitLeaving(60, 10)
	if granted(first) || b.Used() != 60 {
		t.Errorf("granted, and used %d, while 10 of the 20 bytes to spare are free", b.Used())
	}
	b.Release(10)
	if !granted(first) || granted(second) || b.Used() != 80 {
		t.Errorf("used %d after a release", b.Used())
	}
	b.Release(50)
	if !granted(second) || b.Used() != 90 || b.Waiting() {
		t.Errorf("used %d, waiting %v", b.Used(), b.Waiting())
	}
	third := b.WaitLeaving(5, 6)
	if granted(third) || !third.Cancel() || b.Used() != 90 {
		t.Errorf("used %d after a Cancel", b.Used())
	}
}

func TestBudgetWaitWithoutNeed(t *testing.T) {
	b := NewBudget(100)
	if r := b.Wait(100); !granted(r) || r.Cancel() || b.Used() != 100 || b.Waiting() {
		t.Error("free bytes are granted at once, and then are the caller's to release")
	}
}

func TestBudgetCancelServesWhoStoodBehind(t *testing.T) {
	b := NewBudget(100)
	b.Try(50)
	large, small := b.Wait(80), b.Wait(50)
	if !large.Cancel() {
		t.Error("Cancel of one that waits returned false")
	}
	if large.Cancel() {
		t.Error("cancelled twice")
	}
	if !granted(small) || granted(large) || b.Used() != 100 || b.Waiting() {
		t.Errorf("used %d, waiting %v", b.Used(), b.Waiting())
	}
}

// Goroutines charge, hold and release at random, with Try, Wait and Cancel. The charges never exceed the limit, no grant is
// lost, and none is given twice.
func TestBudgetConcurrentSafe(t *testing.T) {
	const limit = 1000
	b := NewBudget(limit)
	var held atomic.Int64
	hold := func(n int64) {
		if h := held.Add(n); h > limit {
			t.Errorf("%d bytes are charged of %d", h, limit)
		}
		runtime.Gosched()
		held.Add(-n)
		b.Release(n)
	}
	var wg sync.WaitGroup
	for seed := range uint64(6) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 1))
			for range 500 {
				n := 1 + rnd.Int64N(limit)
				switch rnd.IntN(3) {
				case 0:
					if b.Try(n) {
						hold(n)
					}
				case 1:
					<-b.Wait(n).Granted()
					hold(n)
				default:
					r := b.Wait(n)
					for range rnd.IntN(3) {
						runtime.Gosched()
					}
					if !r.Cancel() {
						<-r.Granted()
						hold(n)
					} else if granted(r) {
						t.Error("cancelled and granted")
					}
				}
			}
		})
	}
	wg.Wait()
	if b.Used() != 0 || b.Waiting() {
		t.Errorf("used %d, waiting %v: want nothing", b.Used(), b.Waiting())
	}
}

// A message as large as the budget gets its turn although small ones never stop coming.
func TestBudgetLargeIsNotStarved(t *testing.T) {
	b := NewBudget(100)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				if !b.Try(10) {
					<-b.Wait(10).Granted()
				}
				runtime.Gosched()
				b.Release(10)
			}
		})
	}
	for range 30 {
		<-b.Wait(100).Granted()
		b.Release(100)
	}
	stop.Store(true)
	wg.Wait()
	if b.Used() != 0 {
		t.Errorf("used %d", b.Used())
	}
}

// stall waits until the allowance has grown by one step.
func stall() { time.Sleep(stallPause + time.Millisecond) }

// Unread outcomes may hold more, step by step, up to four limits. Messages without an outcome may not.
func TestBudgetAllowsUnreadOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(80)
		if !b.Try(80) {
			t.Fatal("not charged")
		}
		r := b.Wait(10)
		time.Sleep(time.Hour)
		if granted(r) {
			t.Error("messages without an outcome hold more than the limit")
		}
		b.Decided(0, 80) // unread outcomes
		stall()
		if !granted(r) || b.Used() != 90 {
			t.Errorf("granted %t, %d in use, after one step", granted(r), b.Used())
		}
		b.Decided(0, 10)

		large := b.Wait(35) // four steps
		time.Sleep(3 * stallPause)
		if granted(large) {
			t.Error("granted too early")
		}
		stall()
		if !granted(large) {
			t.Error("a waiter that needs more than a step is not served")
		}
		b.Decided(0, 35)

		for n := 0; ; n++ {
			r := b.Wait(1)
			time.Sleep(time.Minute)
			if !granted(r) {
				r.Cancel()
				break
			}
			b.Decided(0, 1)
		}
		if used := b.Used(); used != 5*80 {
			t.Errorf("%d in use at the end", used)
		}

		// They are read, and the allowance shrinks with them.
		b.Taken(400)
		if !b.Try(80) || b.Try(1) {
			t.Errorf("%d in use: want no more than the limit again", b.Used())
		}
	})
}

// While memory is released the allowance does not grow.
func TestAllowanceDoesNotGrowWhileMemoryIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(80)
		b.Force(80)
		b.Decided(0, 80)
		r := b.Wait(50)
		for range 20 {
			time.Sleep(stallPause / 2)
			b.Taken(1)
		}
		if granted(r) || b.Used() != 60 {
			t.Errorf("granted %t, %d in use", granted(r), b.Used())
		}
		r.Cancel()
	})
}
