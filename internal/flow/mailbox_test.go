package flow

import (
	"sync"
	"testing"
)

func woken[T any](m *Mailbox[T]) bool {
	select {
	case <-m.Wake():
		return true
	default:
		return false
	}
}

func TestMailboxWakesOnceForARun(t *testing.T) {
	m := NewMailbox[int]()
	m.Put()
	if woken(m) {
		t.Error("woken for nothing")
	}
	m.Put(1, 2)
	m.Put(3)
	if !woken(m) || woken(m) {
		t.Error("want one wake-up for what was put into an empty mailbox")
	}
	if got := m.Take(nil); len(got) != 3 || got[0] != 1 || got[2] != 3 {
		t.Errorf("took %v", got)
	}
	if len(m.Take(nil)) > 0 {
		t.Error("not empty after Take")
	}
	m.Put(4)
	if !woken(m) {
		t.Error("not woken for the first item after a Take")
	}
	m.Notify()
	m.Notify()
	if !woken(m) {
		t.Error("not woken by Notify")
	}
	if got := m.Take(nil); len(got) != 1 || got[0] != 4 {
		t.Errorf("took %v", got)
	}
}

// Put copies, and the two slices that are used in turn never share an item.
func TestMailboxTakeOwnsItsRun(t *testing.T) {
	m := NewMailbox[int]()
	mine := []int{1, 2}
	m.Put(mine...)
	mine[0] = 99
	first := m.Take(make([]int, 0, 8))
	m.Put(3, 4)
	if first[0] != 1 || first[1] != 2 {
		t.Errorf("the first run is %v now", first)
	}
	second := m.Take(first)
	m.Put(5, 6)
	if second[0] != 3 || second[1] != 4 {
		t.Errorf("the second run is %v now", second)
	}
}

func TestMailboxClose(t *testing.T) {
	m := NewMailbox[int]()
	m.Put(1)
	m.Close()
	m.Close()
	if m.Put(2) {
		t.Error("Put into a closed mailbox returned true")
	}
	if got := m.Take(nil); len(got) != 1 || got[0] != 1 {
		t.Errorf("took %v, want what was put before Close", got)
	}
}

func TestSpareLetsGo(t *testing.T) {
	run := []*int{new(int), new(int)}
	if spare := Spare(run); len(spare) != 0 || cap(spare) != 2 || run[0] != nil || run[1] != nil {
		t.Errorf("spare of length %d and capacity %d, items %v: want the emptied slice, and nothing kept alive",
			len(spare), cap(spare), run)
	}
	if spare := Spare(make([]int, 10, 5000)); spare != nil {
		t.Errorf("a slice of capacity %d is kept for 10 items", cap(spare))
	}
	if spare := Spare(make([]int, 4000, 5000)); cap(spare) != 5000 {
		t.Error("a slice that is used is not kept")
	}
}

// The owner waits for a wake-up before each Take. If one was lost, the test would hang.
func TestMailboxConcurrentSafe(t *testing.T) {
	const senders, each = 4, 2000
	m := NewMailbox[[2]int]()
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				if i%3 == 0 {
					m.Notify()
				}
				if !m.Put([2]int{s, i}) {
					t.Error("the mailbox is closed")
				}
			}
		})
	}
	var next [senders]int
	var run [][2]int
	for got := 0; got < senders*each; {
		<-m.Wake()
		run = m.Take(Spare(run))
		got += len(run)
		for _, item := range run {
			if s, i := item[0], item[1]; next[s] != i {
				t.Fatalf("sender %d: item %d, want %d", s, i, next[s])
			}
			next[item[0]]++
		}
	}
	wg.Wait()
	if len(m.Take(nil)) > 0 {
		t.Error("there is more than was put")
	}
}

func TestMailboxCloseConcurrentSafe(t *testing.T) {
	for range 50 {
		m := NewMailbox[int]()
		var wg sync.WaitGroup
		put := make([]int, 3)
		for s := range put {
			wg.Go(func() {
				for m.Put(s) {
					put[s]++
				}
			})
		}
		<-m.Wake()
		m.Close()
		wg.Wait()
		got := make([]int, 3)
		for _, s := range m.Take(nil) {
			got[s]++
		}
		for s := range put {
			if got[s] != put[s] {
				t.Fatalf("sender %d: %d items taken, Put said true %d times", s, got[s], put[s])
			}
		}
	}
}
