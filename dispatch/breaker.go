package dispatch

import (
	"fmt"
	"time"

	"github.com/eapache/go-resiliency/breaker"
)

// The breaker of look-ups of a topic that was never resolved, with sarama's numbers: it opens after three failures in a
// row of which none is older than the pause; when the pause is over one look-up may pass, which opens it again if it
// fails.
const (
	breakerFailures = 3
	breakerPause    = 10 * time.Second
)

// lookupBreaker has the rules of go-resiliency's breaker and its ErrBreakerOpen, but no goroutine: that of the library
// sleeps through its pause, and would outlive Close. The first successful look-up ends its use.
type lookupBreaker struct {
	failures  int
	last      int64 // when the last failure was, on the producer's clock
	openUntil int64
	cause     error // of the last failure
}

// check returns why no look-up may be made now; nil if one may.
func (b *lookupBreaker) check(now int64) error {
	if now >= b.openUntil {
		return nil
	}
	return fmt.Errorf("%w; it was opened by: %w", breaker.ErrBreakerOpen, b.cause)
}

// failed counts a look-up that failed.
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
