package flow

import "sync"

// FreeList keeps what was given back last, by size class, for the next who asks. A sync.Pool does the same until the garbage
// collector has run twice, which under load is every few hundredths of a second; what it drops is allocated and cleared
// again, and is in no cache. A FreeList forgets nothing, so it has a bound, and what is beyond belongs to a sync.Pool.
//
// It is for what is given back a batch at a time: there is one lock. Any goroutine may call it.
type FreeList[T any] struct {
	size func(class int) int // in bytes, of an item of a class

	mu    sync.Mutex
	room  int   // how many bytes may still be kept
	items [][]T // by class
}

// NewFreeList makes a free list for limit bytes, of which an item of a class has size.
func NewFreeList[T any](classes, limit int, size func(class int) int) *FreeList[T] {
	return &FreeList[T]{size: size, room: limit, items: make([][]T, classes)}
}

// Take returns the item of a class that was given last, if there is any.
func (s *FreeList[T]) Take(class int) (item T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.items[class]) - 1
	if last < 0 {
		return item, false
	}
	var none T
	item, s.items[class][last] = s.items[class][last], none
	s.items[class] = s.items[class][:last]
	s.room += s.size(class)
	return item, true
}

// Give keeps an item, unless there is no room for it.
func (s *FreeList[T]) Give(class int, item T) bool {
	size := s.size(class)
	s.mu.Lock()
	defer s.mu.Unlock()
	if size > s.room {
		return false
	}
	s.room -= size
	s.items[class] = append(s.items[class], item)
	return true
}
