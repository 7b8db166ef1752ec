package flow

import (
	"sync"
	"sync/atomic"
)

// Budget bounds the bytes between Input and outcome. All methods may be called concurrently.
//
// Those who wait are served in their order, and while somebody waits nobody is served past them, so that a large
// message is not starved by small ones.
type Budget struct {
	limit   int64
	used    atomic.Int64
	waiting atomic.Int32

	mu    sync.Mutex
	queue []*waiter
}

type waiter struct {
	need, spare int64
	granted     chan struct{}
}

// NewBudget makes a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Limit is the budget's size in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Used is what is charged at the moment. Force can bring it above Limit.
func (b *Budget) Used() int64 { return b.used.Load() }

// Waiting tells whether somebody waits for memory.
func (b *Budget) Waiting() bool { return b.waiting.Load() > 0 }

// Try charges n bytes if they are free and nobody waits.
func (b *Budget) Try(n int64) bool { return b.TryLeaving(n, 0) }

// TryLeaving charges need bytes if nobody waits and spare bytes more are free, which are not charged.
func (b *Budget) TryLeaving(need, spare int64) bool {
	if b.waiting.Load() > 0 {
		return false
	}
	return b.take(need, spare)
}

func (b *Budget) take(need, spare int64) bool {
	for {
		used := b.used.Load()
		if used+need+spare > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+need) {
			return true
		}
	}
}

// Force charges n bytes whether they are free or not: for those who must not wait, as what a fence takes in, what an
// interceptor adds, and what a callback sends.
func (b *Budget) Force(n int64) { b.used.Add(n) }

// Release gives n bytes back and serves who waits.
func (b *Budget) Release(n int64) {
	if n == 0 {
		return
	}
	b.used.Add(-n)
	if b.waiting.Load() > 0 {
		b.serve()
	}
}

func (b *Budget) serve() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) > 0 && b.take(b.queue[0].need, b.queue[0].spare) {
		close(b.queue[0].granted)
		b.queue[0] = nil
		b.queue = b.queue[1:]
		b.waiting.Add(-1)
	}
}

// Wait queues for n bytes. Receive from Granted; then the bytes are charged. Call Cancel if the wait is given up.
func (b *Budget) Wait(n int64) *Reservation { return b.WaitLeaving(n, 0) }

// WaitLeaving is Wait until spare bytes more than need are free. Only need is charged.
func (b *Budget) WaitLeaving(need, spare int64) *Reservation {
	w := &waiter{need: need, spare: spare, granted: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, w)
	b.waiting.Add(1)
	b.mu.Unlock()
	// A release between the caller's failed Try and now saw nobody waiting.
	b.serve()
	return &Reservation{budget: b, waiter: w}
}

// Reservation is a place in the queue for memory.
type Reservation struct {
	budget *Budget
	waiter *waiter
}

// Granted is closed when the bytes are charged.
func (r *Reservation) Granted() <-chan struct{} { return r.waiter.granted }

// Cancel leaves the queue. It returns false if the bytes were granted already: then they are the caller's to release.
func (r *Reservation) Cancel() bool {
	b := r.budget
	b.mu.Lock()
	found := false
	for i, w := range b.queue {
		if w == r.waiter {
			b.queue = append(b.queue[:i:i], b.queue[i+1:]...)
			b.waiting.Add(-1)
			found = true
			break
		}
	}
	b.mu.Unlock()
	if found {
		b.serve() // who stood behind may fit
	}
	return found
}
