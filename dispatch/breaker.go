package dispatch

import (
	"fmt"
	"time"

	"github.com/eapache/go-resiliency/breaker"
)

// sarama's numbers.
const (
	breakerFailures = 3
	breakerPause    = 10 * time.Second
)

// lookupBreaker limits the look-ups of a topic that was never resolved, as in sarama. It opens after breakerFailures
// failures in a row, each within breakerPause of the one before. After breakerPause it lets one look-up pass; if that
// fails, it opens again.
//
// It is not go-resiliency's Breaker because that one starts a goroutine that sleeps for the pause and would outlive Close.
type lookupBreaker struct {
	failures  int
	last      int64 // when the last failure was
	openUntil int64
	cause     error // of the last failure
}

// check returns nil if a look-up may be made now; else why not.
func (b *lookupBreaker) check(now int64) error {
	if now >= b.openUntil {
		return nil
	}
	return fmt.Errorf("%w; it was opened by: %w", breaker.ErrBreakerOpen, b.cause)
}

// failed counts a failed look-up.
func (b *lookupBreaker) failed(now int64, cause error) {
	halfOpen := b.openUntil > 0
	if now-b.last > int64(breakerPause) {
		b.failures = 0
	}
	b.failures++
	b.last, b.cause = now, cause
	if halfOpen || b.failures == breakerFailures {
		b.failures = 0
		b.openUntil = now + int64(breakerPause)
	}
}
