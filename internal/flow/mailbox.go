package flow

import "sync"

// Mailbox hands items to the one goroutine that owns it. Put never blocks, so no two stages can wait for each other. A
// mailbox needs no bound of its own: the memory budget bounds what all mailboxes hold together.
//
// The owner waits on Wake, beside its timers, and then takes all items as one run. There is never an item without a
// wake-up. There may be a wake-up without an item: after Notify, or if an earlier Take already had it.
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

// Put appends copies of items, and wakes the owner if the mailbox was empty. It returns false, and puts nothing, if the
// mailbox is closed. Any goroutine may call it.
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

// Notify wakes the owner without an item, to look at shared state.
func (m *Mailbox[T]) Notify() { signal(m.wake) }

// signal puts a token into a channel with room for one, unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Wake is signalled when there may be something to take.
func (m *Mailbox[T]) Wake() <-chan struct{} { return m.wake }

// Take returns all items. It keeps spare, emptied, to collect the next ones, so that two slices are used in turn. Only the
// owner calls it.
//
// Clear a run with Spare as soon as it is handled: the next Take may be a long time away.
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

// Spare prepares a taken run for the next Take. It clears the items, so that they keep nothing alive. It drops a large
// slice that was mostly empty.
func Spare[T any](run []T) []T { return SpareOf(run, 1024) }

// SpareOf is Spare that drops no slice with room for keep items or fewer.
func SpareOf[T any](run []T, keep int) []T {
	if cap(run) > keep && len(run) < cap(run)/4 {
		return nil
	}
	clear(run)
	return run[:0]
}
