package wire

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// The pause after a failed dial doubles from the first to the longest, as Java's reconnect.backoff.ms and .max.ms.
const (
	firstDialPause   = 50 * time.Millisecond
	longestDialPause = time.Second
	// failuresKept is how long an address is remembered that nobody dials any more: it may have left the cluster.
	failuresKept = time.Minute
	// shareAfter: callers without a back-off of their own must not spin.
	shareAfter = 10 * time.Millisecond
)

// pacing spaces the dials to each broker that can't be reached, for all that dial it: produce connections, look-ups, and
// requests for a producer id. Until the pause is over they wait, or share the error of the last dial.
type pacing struct {
	mu      sync.Mutex
	brokers map[string]*pace // by address; none while dials succeed
}

type pace struct {
	failures  int           // in a row
	since     time.Time     // when the first of them began
	next      time.Time     // when the next dial may begin
	succeeded chan struct{} // closed when a dial has
	err       error         // of the last dial
}

// pause has a jitter of a fifth, as many processes fail at the same time.
func (b *pace) pause() time.Duration {
	pause := flow.Doubled(firstDialPause, b.failures-1, longestDialPause)
	return time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64()))
}

// wait waits until a dial may begin. With share it returns the last dial's error instead, a moment later, unless that was a
// refused login: then the broker is there, and the next login may be taken.
func (p *pacing) wait(ctx context.Context, addr string, share bool) error {
	for waited := false; ; waited = true {
		left, succeeded, last := p.take(addr, time.Now())
		sharing := share && !refusedLogin(last)
		switch {
		case left <= 0:
			return nil
		case sharing && waited:
			return last
		case sharing:
			left = min(left, shareAfter)
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-succeeded:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("waiting for the next dial of broker %s: %w", addr, flow.ContextError(ctx))
		}
	}
}

func refusedLogin(err error) bool {
	return flow.LoginRefused(err) || errors.Is(err, sarama.ErrThrottlingQuotaExceeded)
}

// take returns 0 if a dial may begin now. After a failure the others then have another pause before them. Else it
// returns how long the pause is, what ends it sooner, and the last dial's error.
func (p *pacing) take(addr string, now time.Time) (left time.Duration, succeeded <-chan struct{}, last error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.brokers[addr]
	if b == nil {
		return 0, nil, nil
	}
	if left = b.next.Sub(now); left <= 0 {
		b.next = now.Add(b.pause())
	}
	return left, b.succeeded, b.err
}

// dialFailures are dials to an address that have failed in a row.
type dialFailures struct {
	count int
	since time.Time // when the first of them began
}

// dialled says that a dial which began then has ended with err. It returns the failures before it.
func (p *pacing) dialled(ctx context.Context, addr string, began time.Time, err error) (before dialFailures) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, b := time.Now(), p.brokers[addr]
	if b != nil {
		before = dialFailures{b.failures, b.since}
	}
	switch {
	case err == nil && b != nil:
		close(b.succeeded)
		delete(p.brokers, addr)
	case err == nil, ctx.Err() != nil && now.Sub(began) < longestDialPause: // cut short, it says nothing
	default:
		maps.DeleteFunc(p.brokers, func(_ string, other *pace) bool { return now.Sub(other.next) > failuresKept })
		if b = p.brokers[addr]; b == nil {
			b = &pace{succeeded: make(chan struct{}), since: began}
			p.brokers[addr] = b
		}
		b.failures++
		if ctx.Err() != nil { // the caller's end is not the others' error
			err = fmt.Errorf("connecting to broker %s: %w", addr,
				flow.External(&net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}))
		}
		b.err = err
		b.next = now.Add(b.pause())
	}
	return before
}
