package dispatch

import (
	"testing"
	"time"
)

// A report is followed through time: what is let in for it, and when it is to be looked at again.
func TestStuckReport(t *testing.T) {
	const limit, need = 1600, 60 // a part is 100: two messages
	var s stuckReport
	now := int64(0)
	seen := sighting{report: 1, full: true, limit: limit, before: 170}
	lets := func(want int, again time.Duration) {
		t.Helper()
		for n := 0; ; n++ {
			yes, after := s.letIn(now, need, seen)
			if yes && n <= want {
				continue
			}
			if n != want || after != again {
				t.Fatalf("after %v: %d messages, and asked again after %v; want %d, %v", time.Duration(now), n, after, want, again)
			}
			return
		}
	}
	pass := func(d time.Duration) { now += int64(d) }

	lets(0, stuckAfter)
	pass(stuckAfter - 1)
	lets(0, 1)
	pass(1)
	lets(3, 12500*time.Microsecond) // what lies before it
	pass(12500 * time.Microsecond)
	lets(2, 112500*time.Microsecond/8)
	seen.full = false
	pass(time.Hour)
	lets(0, stuckAfter)
	seen.full = true
	lets(2, time.Duration(now)/8)

	seen.sending = 1
	for range 1000 {
		if yes, _ := s.letIn(now, need, seen); !yes {
			t.Fatal("a report that is known to send has a limit")
		}
	}
}

// After a report that did send the next one is suspected sooner, until one goes on without.
func TestStuckReportOfASender(t *testing.T) {
	var s stuckReport
	seen := sighting{report: 1, full: true, limit: 1600}
	first := func() time.Duration {
		yes, again := s.letIn(0, 1, seen)
		if yes {
			t.Fatal("a new report is not suspected")
		}
		return again
	}
	if got := first(); got != stuckAfter {
		t.Errorf("the first: %v", got)
	}
	seen.sending = 1
	if yes, _ := s.letIn(int64(stuckAfter), 1, seen); !yes {
		t.Error("it is known to send")
	}
	seen.report = 2
	if got := first(); got != stuckSoon {
		t.Errorf("after one that did send: %v", got)
	}
	if yes, _ := s.letIn(int64(stuckSoon), 100, seen); !yes {
		t.Error("it is suspected by then")
	}
	seen.report = 3
	if got := first(); got != stuckSoon {
		t.Errorf("after one that ended with what it had to send first: %v", got)
	}
	for _, at := range []time.Duration{stuckSoon, stuckSoon + stuckAfter/stuckPause} {
		if yes, _ := s.letIn(int64(at), 100, seen); !yes {
			t.Errorf("nothing is let in at %v", at)
		}
	}
	seen.report = 4
	if got := first(); got != stuckAfter {
		t.Errorf("after one that went on: %v", got)
	}
}

// However long a report hangs, and however much is sent meanwhile, what exceeds the budget has a bound.
func TestStuckReportIsBounded(t *testing.T) {
	const limit, need, before = 1 << 20, 1000, 1 << 21
	var s stuckReport
	var over, now int64
	for now < int64(10*time.Minute) {
		yes, again := s.letIn(now, need, sighting{report: 1, full: true, limit: limit, before: before})
		if yes {
			over += need
		}
		now += int64(again)
	}
	if over < limit || over > 5*limit+before {
		t.Errorf("%.1f times the budget in ten minutes", float64(over)/limit)
	}
}
