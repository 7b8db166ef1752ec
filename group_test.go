package sluice

import (
	"testing"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// A group that is used again has forgotten what became of its messages, and whether they could be withdrawn.
func TestGroupIsUsedAgain(t *testing.T) {
	g := newGroup().(*group)
	for _, n := range []int{3, 2, 5} {
		for _, firm := range []bool{false, true, false} {
			g.begin(n, firm)
			for i := range n {
				rec := flow.Record{Call: &g.calls[i]}
				if rec.Withdrawable() == firm || rec.Call.Index != i || rec.Call.Sink != g {
					t.Fatalf("call %d of %d, firm %v: %+v", i, n, firm, rec.Call)
				}
				if !firm && i == 0 && !rec.Call.Withdraw() {
					t.Fatal("it is taken, or withdrawn, from the last time")
				}
				rec.Take()
				g.Outcome(i, 1, int64(n), time.Time{}, nil)
			}
			receive(t, g.all)
		}
	}
}
