package sluice

import (
	"testing"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// A cancellableCall that is used again has forgotten what became of its messages.
func TestCancellableCallIsUsedAgain(t *testing.T) {
	g := newCancellableCall().(*cancellableCall)
	for _, n := range []int{3, 2, 5} {
		g.begin(n)
		for i := range n {
			rec := flow.Record{Completion: &g.calls[i]}
			if !rec.Withdrawable() || rec.Completion.Index != i || rec.Completion.Waiter != g {
				t.Fatalf("call %d of %d: %+v", i, n, rec.Completion)
			}
			if i == 0 && !rec.Completion.Withdraw() {
				t.Fatal("it is taken, or withdrawn, from the last time")
			}
			rec.EndWithdrawal()
			g.Outcome([]flow.Record{rec}, 1, int64(n), time.Time{}, nil)
		}
		<-g.all
	}
}
