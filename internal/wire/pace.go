package wire

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// The pause after a failed dial doubles from the first to the longest, as Java's reconnect.backoff.ms and .max.ms.
const (
	firstDialPause   = 50 * time.Millisecond
	longestDialPause = time.Second
	// failuresKept is how long an address is remembered that nobody dials any more: it may have left the cluster.
	failuresKept = time.Minute
)

// pacing spaces the dials to each broker that can't be reached, for all that dial it: produce connections, look-ups, and
// requests for a producer id. They wait for one dial: its success ends the wait of all.
type pacing struct {
	mu      sync.Mutex
	brokers map[string]*pace // by address; none while dials succeed
}

type pace struct {
	failures  int           // in a row
	next      time.Time     // when the next dial may begin
	succeeded chan struct{} // closed when a dial has
}

// pause has a jitter of a fifth, as many processes fail at the same time.
func (b *pace) pause() time.Duration {
	pause := min(firstDialPause<<min(b.failures-1, 10), longestDialPause)
	return time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64()))
}

// wait waits until a dial may begin.
func (p *pacing) wait(ctx context.Context, addr string) error {
	for {
		left, succeeded := p.take(addr, time.Now())
		if left <= 0 {
			return nil
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

// Waits tells whether Dial would wait before it dials addr, since the last dial has failed. Dial other brokers first then.
func (d *Dialer) Waits(addr string) bool {
	d.pacing.mu.Lock()
	defer d.pacing.mu.Unlock()
	b := d.pacing.brokers[addr]
	return b != nil && time.Now().Before(b.next)
}

// take returns 0 if a dial may begin now; then all others wait. Else it returns how long to wait, or until what.
func (p *pacing) take(addr string, now time.Time) (left time.Duration, succeeded <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.brokers[addr]
	if b == nil {
		return 0, nil
	}
	if left = b.next.Sub(now); left <= 0 {
		b.next = now.Add(b.pause())
	}
	return left, b.succeeded
}

// dialled says that a dial which began then has ended with err.
func (p *pacing) dialled(ctx context.Context, addr string, began time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, b := time.Now(), p.brokers[addr]
	switch {
	case err == nil && b != nil:
		close(b.succeeded)
		delete(p.brokers, addr)
	case err == nil, ctx.Err() != nil && now.Sub(began) < longestDialPause: // cut short, it says nothing
	default:
		maps.DeleteFunc(p.brokers, func(_ string, other *pace) bool { return now.Sub(other.next) > failuresKept })
		if b = p.brokers[addr]; b == nil {
			b = &pace{succeeded: make(chan struct{})}
			p.brokers[addr] = b
		}
		b.failures++
		b.next = now.Add(b.pause())
	}
}
