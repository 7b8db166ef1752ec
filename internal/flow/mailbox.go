package flow

import "sync"

// Mailbox hands items to the one goroutine that owns it. Putting never blocks: the memory budget bounds what is in all
// mailboxes together, so they need no bound of their own, and no two stages can wait for each other.
//
// The owner waits on Wake beside its timers, then takes everything as one run. A wake-up may come with nothing to take
// (after Notify, or when an earlier Take already had the items); items are never without a wake-up.
type Mailbox[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	wake   chan struct{}
}

// NewMailbox makes an empty mailbox.
func NewMailbox[T any]() *Mailbox[T] {
	return &Mailbox[T]{wake: make(chan struct{}, 1)}
}

// Put appends items (copied) and wakes the owner if the mailbox was empty. Any goroutine may call it. It returns false
// if the mailbox is closed: then nothing was put.
func (m *Mailbox[T]) Put(items ...T) bool {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	wake := len(m.items) == 0 && len(items) > 0
	m.items = append(m.items, items...)
	m.mu.Unlock()
	if wake {
		m.Notify()
	}
	return true
}

// Close makes every later Put return false. The owner takes what is left.
func (m *Mailbox[T]) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
}

// Notify wakes the owner without an item, so that it looks at shared state again.
func (m *Mailbox[T]) Notify() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Wake is signalled when there may be something to take.
func (m *Mailbox[T]) Wake() <-chan struct{} { return m.wake }

// Take hands over all items and keeps spare, emptied, to collect the next ones: two slices change places for ever.
// Only the owner calls it. It clears a run with Spare as soon as that is handled, and not at the next Take: it may sleep
// for long.
func (m *Mailbox[T]) Take(spare []T) []T {
	m.mu.Lock()
	items := m.items
	m.items = spare[:0]
	m.mu.Unlock()
	return items
}

// Empty tells whether there is nothing to take.
func (m *Mailbox[T]) Empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items) == 0
}

// Spare prepares a taken run for the next Take: it clears the items, so that they keep nothing alive, and lets go of a
// slice that has grown far beyond what it last held.
func Spare[T any](run []T) []T { return SpareOf(run, 1024) }

// SpareOf is Spare where a slice for keep items is not too large to be kept in any case.
func SpareOf[T any](run []T, keep int) []T {
	if cap(run) > keep && len(run) < cap(run)/4 {
		return nil
	}
	clear(run)
	return run[:0]
}
