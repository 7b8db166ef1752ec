package flow

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-kafka/sluice/internal/stats"
)

// Budget bounds the bytes between Input and outcome. All methods may be called concurrently.
//
// The bound is strict for messages without an outcome. Outcomes that nobody reads may hold more, slowly:
//
//   - While somebody waits for memory and nothing is released for stallPause, an allowance for these outcomes grows by
//     1/allowanceStep of the limit, to allowanceMost limits.
//   - While there is an allowance and somebody waits, each check makes such a part free, whatever was released.
//   - What they hold within the allowance does not count. The allowance shrinks as they are read.
//
// Without this a goroutine that reads Errors and sends again what failed would wait for memory that only its own reading
// can free. So would a callback that sends.
//
// Waiters are served in order of arrival. While somebody waits, nobody is served before him: small messages do not starve
// a large one.
type Budget struct {
	limit    int64
	bound    atomic.Int64 // limit and allowance
	used     atomic.Int64 // all that is charged
	unread   atomic.Int64 // the part of used that unread outcomes hold
	waiting  atomic.Int32 // length of queue
	released atomic.Bool  // something was released since the timer's last check

	mu        sync.Mutex
	queue     []*waiter
	allowance int64       // never more than unread
	stall     *time.Timer // checks while somebody waits, or something is released
	checking  bool        // it runs
	logged    bool        // the log has a line about the current allowance

	// Unread is how many outcomes are unread, for the log; nil is fine. It is set before the budget is used.
	Unread func() int
	// UnreadAt is where they wait, Holds what else the log may say of a full memory, such as what brokers are waited for. Both
	// may be nil, as Log may be.
	UnreadAt func() string
	Holds    func() []slog.Attr
	Log      *Log

	full fullness

	waits  atomic.Int64
	waited stats.Histogram
}

const (
	// stallPause is how long nothing may be released before the allowance grows.
	stallPause = 100 * time.Millisecond
	// allowanceStep is the divisor of the limit that gives one step of the allowance.
	allowanceStep = 8
	// allowanceMost is the largest allowance, in limits.
	allowanceMost = 4
)

type waiter struct {
	need, spare int64
	since       time.Time
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

// Used is what is charged at the moment. It can be above Limit, through Force and through unread outcomes.
func (b *Budget) Used() int64 { return b.used.Load() }

// Waiting tells whether somebody waits for memory.
func (b *Budget) Waiting() bool { return b.waiting.Load() > 0 }

// Waits is how many have waited since the start, or wait, and how many wait now.
func (b *Budget) Waits() (all, now int64) { return b.waits.Load(), int64(b.waiting.Load()) }

// Waited is how long those have waited who do not any more.
func (b *Budget) Waited() *stats.Histogram { return &b.waited }

// Try charges n bytes if they are free and nobody waits.
func (b *Budget) Try(n int64) bool { return b.TryLeaving(n, 0) }

// TryLeaving charges need bytes if nobody waits and need+spare bytes are free.
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

// Force charges n bytes whether they are free or not. It is for those who must not wait.
func (b *Budget) Force(n int64) { b.used.Add(n) }

// Decided is called when an outcome is decided. released bytes are free again; held bytes belong to the outcome until Taken.
func (b *Budget) Decided(released, held int64) {
	b.unread.Add(held)
	b.Release(released)
}

// Taken releases what an outcome held, when it was handed over.
func (b *Budget) Taken(held int64) {
	unread := b.unread.Add(-held)
	if b.bound.Load() > b.limit {
		b.mu.Lock()
		b.setAllowance(min(b.allowance, unread))
		b.mu.Unlock()
	}
	b.Release(held)
}

// Release frees n bytes and serves waiters.
func (b *Budget) Release(n int64) {
	if n == 0 {
		return
	}
	b.used.Add(-n)
	if b.waiting.Load() > 0 {
		b.released.Store(true)
		b.mu.Lock()
		b.serve()
		b.mu.Unlock()
	}
}

// serve grants what fits to the head of the queue. It needs mu.
func (b *Budget) serve() {
	for len(b.queue) > 0 && b.take(b.queue[0].need, b.queue[0].spare) {
		b.waited.Record(time.Since(b.queue[0].since), 1)
		close(b.queue[0].granted)
		b.queue[0] = nil
		b.queue = b.queue[1:]
		b.waiting.Add(-1)
	}
}

// setAllowance needs mu.
func (b *Budget) setAllowance(allowance int64) {
	b.allowance = max(allowance, 0)
	b.bound.Store(b.limit + b.allowance)
	b.logged = b.logged && b.allowance > 0
}

// checkStall is called by the timer while somebody waits.
func (b *Budget) checkStall() {
	var since time.Time // when the first who waits began to
	defer func() { b.logFull(since) }()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) > 0 {
		since = b.queue[0].since
	}
	step := max(b.limit/allowanceStep, 1)
	switch released := b.released.Swap(false); {
	case len(b.queue) == 0:
		if !released {
			b.checking = false
			return
		}
	case !released:
		b.growAllowance(b.allowance + step) // if that is not enough for the first waiter, the next check adds another
	case b.allowance > 0:
		// The unread outcomes leave little free, and the pipeline would trickle: a step is made free.
		b.growAllowance(b.used.Load() + step - b.limit)
	}
	b.stall.Reset(stallPause)
}

// fullness is the state of MemoryFull.
type fullness struct {
	mu      sync.Mutex
	repeats repeats
	since   time.Time // when who waits at the moment, or the first before him, began to; zero if it was not logged
}

// longWait is how long somebody must wait for memory before MemoryFull is logged.
const longWait = time.Second

// logFull logs that somebody has waited since then, zero for nobody, and what holds the memory. It takes no lock of the
// budget.
func (b *Budget) logFull(since time.Time) {
	if b.Log == nil {
		return
	}
	b.full.mu.Lock()
	defer b.full.mu.Unlock()
	f, now := &b.full, time.Now()
	if since.IsZero() || now.Sub(since) < longWait {
		if !f.since.IsZero() {
			b.Log.Always(MemoryFree, slog.Duration("took", Short(now.Sub(f.since))))
			f.since = time.Time{}
		}
		return
	}
	if !f.repeats.due(now) {
		return
	}
	if f.since.IsZero() {
		f.since = since
	}
	attrs := []slog.Attr{
		slog.Duration("for", Short(now.Sub(f.since))), slog.Int64("limit", b.limit), slog.Int64("used", b.used.Load()),
		slog.Int("waiters", int(b.waiting.Load())), slog.Int64("unread_bytes", b.unread.Load()),
	}
	if b.Holds != nil {
		attrs = append(attrs, b.Holds()...)
	}
	b.Log.Always(MemoryFull, attrs...)
}

// growAllowance grows it to that many bytes, as far as outcomes are unread. It needs mu.
func (b *Budget) growAllowance(allowance int64) {
	more := min(allowance, allowanceMost*b.limit, b.unread.Load())
	if more <= b.allowance {
		return
	}
	b.setAllowance(more)
	if !b.logged {
		b.logged = true
		n := 0
		if b.Unread != nil {
			n = b.Unread()
		}
		b.Log.Printf(
			"sluice: the buffer memory of %d bytes is used up, and %d outcomes are unread: they may hold up to %d times as much",
			b.limit, n, 1+allowanceMost)
		at := ""
		if b.UnreadAt != nil {
			at = b.UnreadAt()
		}
		b.Log.Event(OutcomesUnread, "", slog.String("unread_at", at), slog.Int("unread", n), slog.Int64("unread_bytes", b.unread.Load()),
			slog.Int64("limit", b.limit), slog.Int64("allowed", (1+allowanceMost)*b.limit))
	}
	b.serve()
}

// Wait queues for n bytes. They are charged when Granted is closed. To give up, call Cancel.
func (b *Budget) Wait(n int64) *Reservation { return b.WaitLeaving(n, 0) }

// WaitLeaving waits until need+spare bytes are free. Only need is charged.
func (b *Budget) WaitLeaving(need, spare int64) *Reservation {
	w := &waiter{need: need, spare: spare, since: time.Now(), granted: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, w)
	b.waiting.Add(1)
	b.waits.Add(1)
	b.serve() // memory may have been released since the caller's Try failed, when nobody was waiting
	if len(b.queue) > 0 && !b.checking {
		b.checking = true
		b.released.Store(false)
		if b.stall == nil {
			b.stall = time.AfterFunc(stallPause, b.checkStall)
		} else {
			b.stall.Reset(stallPause)
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

// Cancel leaves the queue. It returns false if the bytes were granted already; then the caller must release them.
func (r *Reservation) Cancel() bool {
	b := r.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, w := range b.queue {
		if w == r.waiter {
			b.queue = append(b.queue[:i:i], b.queue[i+1:]...)
			b.waiting.Add(-1)
			b.waited.Record(time.Since(w.since), 1)
			b.serve() // the next one may need less
			return true
		}
	}
	return false
}
