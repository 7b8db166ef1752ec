package flow

import (
	"context"
	"time"
)

// How long FirstGood waits for an attempt before it makes the next one beside it (RFC 8305). One that has reached its
// broker gets longer: the broker lives and may only be busy, and every further attempt adds to its cluster's load, or
// counts as one more wrong password.
const (
	nextWhileDialling = 250 * time.Millisecond
	nextWhileWaiting  = time.Second
)

// Attempt is one try of FirstGood. It calls reached when the other side has shown that it lives. It must return soon
// after ctx ends.
type Attempt[T any] func(ctx context.Context, reached func()) (T, error)

// Race is what FirstGood needs to know. Its functions are called on FirstGood's goroutine.
type Race[T any] struct {
	// Next is the next attempt to make; nil if there is none.
	Next func() Attempt[T]
	// Failed is told of each attempt that failed. If it returns false, FirstGood ends without a result.
	Failed func(error) (goOn bool)
	// Lost is told of each attempt that was cancelled, with its result if it had one all the same.
	Lost func(T, error)
}

// FirstGood makes attempts side by side, each a while after the one before it, or at once when one has failed. It returns
// the first good result, after it has cancelled the other attempts and they have returned. ok is false if there is none,
// or if ctx ended before.
func FirstGood[T any](ctx context.Context, r Race[T]) (result T, ok bool) {
	type event struct {
		attempt int
		reached bool // it goes on
		result  T
		err     error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan event)
	started, running := 0, 0
	start := func() bool {
		attempt := r.Next()
		if attempt == nil {
			return false
		}
		started++
		running++
		n := started
		go func() {
			result, err := attempt(ctx, func() { events <- event{attempt: n, reached: true} })
			events <- event{attempt: n, result: result, err: err}
		}()
		return true
	}

	timer := time.NewTimer(nextWhileDialling)
	defer timer.Stop()
	next := func() {
		if ctx.Err() == nil && start() {
			timer.Reset(nextWhileDialling)
		}
	}
	next()
	for goOn := true; goOn && !ok && running > 0; {
		select {
		case <-timer.C:
			next()
		case e := <-events:
			switch {
			case !e.reached && e.err == nil:
				running--
				result, ok = e.result, true
			case !e.reached:
				running--
				if goOn = r.Failed(e.err); goOn {
					next()
				}
			case e.attempt == started: // the newest one decides when the next is made
				timer.Reset(nextWhileWaiting)
			}
		}
	}
	cancel()
	for running > 0 {
		if e := <-events; !e.reached {
			running--
			r.Lost(e.result, e.err)
		}
	}
	return result, ok
}
