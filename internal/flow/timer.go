package flow

import (
	"context"
	"time"
)

// StoppedTimer makes a timer that does not fire before it is Reset.
func StoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// Sleep returns nil after d, or the ContextError of ctx if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ContextError(ctx)
	}
}

// Doubled is first, doubled n times, and at most longest. Of n above 10 only 10 count, so that nothing overflows.
func Doubled(first time.Duration, n int, longest time.Duration) time.Duration {
	return min(first<<min(n, 10), longest)
}
