package flow

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// Budget bounds the bytes between Input and outcome. All methods may be called concurrently.
//
// The bound is strict for what has no fate yet. Outcomes that nobody takes may hold more, slowly: while somebody waits for
// memory and nothing was released for stallPause, an allowance for them grows by a part of the limit, to allowanceMost
// limits at most. What they hold within it does not count. It shrinks with them. Without it a goroutine that reads Errors
// and sends again what failed would wait for memory that only its own reading can free; so would a callback that sends.
//
// Those who wait are served in their order, and while somebody waits nobody is served past them, so that a large
// message is not starved by small ones.
type Budget struct {
	limit   int64
	bound   atomic.Int64 // limit and allowance
	used    atomic.Int64 // all that is charged
	unread  atomic.Int64 // of used: what outcomes hold that are not taken
	waiting atomic.Int32
	moved   atomic.Bool // something was released since the last look at the queue

	mu        sync.Mutex
	queue     []*waiter
	allowance int64 // at most unread
	watch     *time.Timer
	told      bool // the log was told of this allowance

	// Unread is how many outcomes are not taken, for the log; nil is fine. It is set before the budget is used.
	Unread func() int
}

const (
	// stallPause is how long nothing may be released before the allowance grows.
	stallPause = 100 * time.Millisecond
	// allowanceStep is the part of the limit by which it grows.
	allowanceStep = 8
	// allowanceMost is how many limits it may grow to.
	allowanceMost = 4
)

type waiter struct {
	need, spare int64
	granted     chan struct{}
}

// NewBudget makes a budget of limit bytes.
func NewBudget(limit int64) *Budget {
	b := &Budget{limit: limit}
	b.bound.Store(limit)
	return b
}

// Limit is the budget's size in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Used is what is charged at the moment. Force and outcomes that nobody takes can bring it above Limit.
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
		if used+need+spare > b.bound.Load() {
			return false
		}
		if b.used.CompareAndSwap(used, used+need) {
			return true
		}
	}
}

// Force charges n bytes whether they are free or not: for those who must not wait, as what a flush takes in, and what an
// interceptor adds.
func (b *Budget) Force(n int64) { b.used.Add(n) }

// Decided says that a fate was decided: it gives released bytes back, and held bytes are held by its outcome from now on,
// until Taken.
func (b *Budget) Decided(released, held int64) {
	b.unread.Add(held)
	b.Release(released)
}

// Taken gives back what an outcome has held.
func (b *Budget) Taken(held int64) {
	unread := b.unread.Add(-held)
	if b.bound.Load() > b.limit {
		b.mu.Lock()
		b.allow(min(b.allowance, unread))
		b.mu.Unlock()
	}
	b.Release(held)
}

// Release gives n bytes back and serves who waits.
func (b *Budget) Release(n int64) {
	if n == 0 {
		return
	}
	b.used.Add(-n)
	if b.waiting.Load() > 0 {
		b.moved.Store(true)
		b.mu.Lock()
		b.serve()
		b.mu.Unlock()
	}
}

// serve needs mu.
func (b *Budget) serve() {
	for len(b.queue) > 0 && b.take(b.queue[0].need, b.queue[0].spare) {
		close(b.queue[0].granted)
		b.queue[0] = nil
		b.queue = b.queue[1:]
		b.waiting.Add(-1)
	}
}

// allow needs mu.
func (b *Budget) allow(allowance int64) {
	b.allowance = max(allowance, 0)
	b.bound.Store(b.limit + b.allowance)
	b.told = b.told && b.allowance > 0
}

// look is called by the timer while somebody waits.
func (b *Budget) look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return
	}
	if !b.moved.Swap(false) {
		b.grow()
	}
	b.watch.Reset(stallPause)
}

// grow needs mu. Who waits first may need more than a step: then others follow.
func (b *Budget) grow() {
	more := min(b.allowance+max(b.limit/allowanceStep, 1), allowanceMost*b.limit, b.unread.Load())
	if more <= b.allowance {
		return
	}
	b.allow(more)
	if !b.told {
		b.told = true
		n := 0
		if b.Unread != nil {
			n = b.Unread()
		}
		sarama.Logger.Printf("sluice: the buffer memory of %d bytes is used up, and %d outcomes are unread: they may hold up to %d times as much",
			b.limit, n, 1+allowanceMost)
	}
	b.serve()
}

// Wait queues for n bytes. Receive from Granted; then the bytes are charged. Completion Cancel if the wait is given up.
func (b *Budget) Wait(n int64) *Reservation { return b.WaitLeaving(n, 0) }

// WaitLeaving is Wait until spare bytes more than need are free. Only need is charged.
func (b *Budget) WaitLeaving(need, spare int64) *Reservation {
	w := &waiter{need: need, spare: spare, granted: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, w)
	b.waiting.Add(1)
	b.serve() // a release between the caller's failed Try and now saw nobody waiting
	if len(b.queue) == 1 {
		b.moved.Store(false)
		if b.watch == nil {
			b.watch = time.AfterFunc(stallPause, b.look)
		} else {
			b.watch.Reset(stallPause)
		}
	}
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
	defer b.mu.Unlock()
	for i, w := range b.queue {
		if w == r.waiter {
			b.queue = append(b.queue[:i:i], b.queue[i+1:]...)
			b.waiting.Add(-1)
			b.serve() // who stood behind may fit
			return true
		}
	}
	return false
}
