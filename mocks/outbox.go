package mocks

import "sync"

// outbox hands over one kind of outcome, in order, on a goroutine of its own: whoever decides fates never waits for
// the user, and an undrained Errors channel does not hold up Successes.
type outbox[T any] struct {
	// offer hands over if that needs no waiting, and tells whether it did. hand waits; it follows an offer in vain.
	offer func(T) bool
	hand  func(T)
	// last runs when the box was closed and is empty; then done is closed.
	last func()
	done chan struct{}
	// progress gets a hint whenever empty or moving may have changed.
	progress chan<- struct{}

	mu      sync.Mutex
	changed *sync.Cond
	queue   []T
	total   int  // outcomes that were put
	handing bool // the goroutine holds an outcome
	waiting bool // and nobody takes it
	closed  bool
}

// toChannel is an outbox that sends to out, and closes it at the end.
func toChannel[T any](out chan T, progress chan<- struct{}) *outbox[T] {
	return newOutbox(func(v T) bool {
		select {
		case out <- v:
			return true
		default:
			return false
		}
	}, func(v T) { out <- v }, func() { close(out) }, progress)
}

// newOutbox starts the box's goroutine; it ends after close, when the last outcome is handed over.
func newOutbox[T any](offer func(T) bool, hand func(T), last func(), progress chan<- struct{}) *outbox[T] {
	b := &outbox[T]{offer: offer, hand: hand, last: last, progress: progress, done: make(chan struct{})}
	b.changed = sync.NewCond(&b.mu)
	go b.run()
	return b
}

func (b *outbox[T]) put(v T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, v)
	b.total++
	b.changed.Signal()
}

func (b *outbox[T]) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.changed.Signal()
}

// empty tells that all that was put is handed over.
func (b *outbox[T]) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) == 0 && !b.handing
}

// counts tells how many outcomes were put so far, and how many of them are with the user.
func (b *outbox[T]) counts() (put, handed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	handed = b.total - len(b.queue)
	if b.handing {
		handed--
	}
	return b.total, handed
}

// moving tells that there are outcomes, and that nobody has to read before the next can be handed over.
func (b *outbox[T]) moving() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return (len(b.queue) > 0 || b.handing) && !b.waiting
}

func (b *outbox[T]) run() {
	defer close(b.done)
	defer b.last()
	for {
		v, ok := b.next()
		if !ok {
			return
		}
		if !b.offer(v) {
			b.mark(true, true)
			b.hand(v)
		}
		b.mark(false, false)
	}
}

// next waits for an outcome; false means that the box is closed and empty.
func (b *outbox[T]) next() (v T, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) == 0 {
		if b.closed {
			return v, false
		}
		b.changed.Wait()
	}
	v, b.queue = b.queue[0], b.queue[1:]
	b.handing = true
	return v, true
}

func (b *outbox[T]) mark(handing, waiting bool) {
	b.mu.Lock()
	b.handing, b.waiting = handing, waiting
	b.mu.Unlock()
	hint(b.progress)
}

// hint wakes the reader of a channel of capacity one; a hint that is there already says the same.
func hint(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
