package metadata

import (
	"slices"
	"sync/atomic"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// reseed finds new seeds when no broker answers: all may have been replaced. ask is the user's code and may take long, or
// never return, so it runs on a goroutine of its own, one at a time. What it finds counts for the next try.
type reseed struct {
	ask    func() []string
	asking atomic.Bool
	addrs  atomic.Pointer[[]string]
}

func (r *reseed) begin() {
	if r == nil || !r.asking.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer r.asking.Store(false)
		flow.Guard(func() {
			if addrs := r.ask(); len(addrs) > 0 {
				r.addrs.Store(&addrs)
			}
		})
	}()
}

// found is what ask returned last. The slice is the caller's.
func (r *reseed) found() []string {
	if r == nil {
		return nil
	}
	if addrs := r.addrs.Load(); addrs != nil {
		return slices.Clone(*addrs)
	}
	return nil
}
