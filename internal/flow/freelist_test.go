package flow

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestFreeListKeepsTheLastWithinItsBound(t *testing.T) {
	s := NewFreeList[string](3, 100, func(class int) int { return 40 * (class + 1) })
	if _, ok := s.Take(0); ok {
		t.Error("an empty freeList has something")
	}
	if !s.Give(0, "a") || !s.Give(0, "b") || s.Give(0, "c") || s.Give(2, "large") {
		t.Error("two items of 40 bytes fit into 100, and nothing more")
	}
	if _, ok := s.Take(1); ok {
		t.Error("classes are mixed up")
	}
	for _, want := range []string{"b", "a"} {
		if got, ok := s.Take(0); got != want || !ok {
			t.Errorf("took %q, want %q: the last comes first", got, want)
		}
	}
	if s.Give(2, "large") || !s.Give(1, "medium") {
		t.Error("what was taken has left its room, and 120 bytes never fit")
	}
}

// No item is handed out twice, and none gets lost.
func TestFreeListConcurrentSafe(t *testing.T) {
	s := NewFreeList[*atomic.Int32](2, 8, func(int) int { return 1 })
	var made, dropped atomic.Int32
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				class := (g + i) % 2
				item, ok := s.Take(class)
				if !ok {
					made.Add(1)
					item = new(atomic.Int32)
				}
				if item.Add(1) != 1 {
					t.Error("taken by two")
				}
				item.Add(-1)
				if !s.Give(class, item) {
					dropped.Add(1)
				}
			}
		})
	}
	wg.Wait()
	left := int32(0)
	for class := range 2 {
		for {
			if _, ok := s.Take(class); !ok {
				break
			}
			left++
		}
	}
	if left > 8 || made.Load() != dropped.Load()+left {
		t.Errorf("%d made, %d dropped, %d left", made.Load(), dropped.Load(), left)
	}
}
