package sluice

import (
	"testing"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// A group that is used again has forgotten what became of its messages.
func TestGroupIsUsedAgain(t *testing.T) {
	g := newGroup().(*group)
	for _, n := range []int{3, 2, 5} {
		g.begin(n)
		for i := range n {
			rec := flow.Record{Call: &g.calls[i]}
			if !rec.Withdrawable() || rec.Call.Index != i || rec.Call.Sink != g {
				t.Fatalf("call %d of %d: %+v", i, n, rec.Call)
			}
			if i == 0 && !rec.Call.Withdraw() {
				t.Fatal("it is taken, or withdrawn, from the last time")
			}
			rec.Take()
			g.Outcome([]flow.Record{rec}, 1, int64(n), time.Time{}, nil)
		}
		receive(t, g.all)
	}
}
