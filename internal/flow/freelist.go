package flow

import "sync"

// FreeList keeps items for reuse, by size class, the last one given back first.
//
// A sync.Pool alone would drop its items after two garbage collections, which under load are tens of milliseconds apart.
// New ones must be allocated and cleared, and are in no cache. A FreeList drops nothing, so it is bounded. What does not
// fit can go to a sync.Pool.
//
// It has one lock, so use it for items that come once a batch, not once a record. Any goroutine may call it.
type FreeList[T any] struct {
	size func(class int) int // in bytes, of an item of a class

	mu    sync.Mutex
	room  int   // bytes that may still be kept
	items [][]T // by class
}

// NewFreeList makes a free list that keeps up to limit bytes. size is how many an item of a class takes.
func NewFreeList[T any](classes, limit int, size func(class int) int) *FreeList[T] {
	return &FreeList[T]{size: size, room: limit, items: make([][]T, classes)}
}

// Take returns the item of a class that was given last, if there is any.
func (l *FreeList[T]) Take(class int) (item T, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.items[class]) - 1
	if last < 0 {
		return item, false
	}
	var none T
	item, l.items[class][last] = l.items[class][last], none
	l.items[class] = l.items[class][:last]
	l.room += l.size(class)
	return item, true
}

// Give keeps an item. It returns false if there is no room for it.
func (l *FreeList[T]) Give(class int, item T) bool {
	size := l.size(class)
	l.mu.Lock()
	defer l.mu.Unlock()
	if size > l.room {
		return false
	}
	l.room -= size
	l.items[class] = append(l.items[class], item)
	return true
}
