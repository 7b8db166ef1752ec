package flow

import (
	"sync"
	"testing"
	"time"
)

type noWaiter struct{}

func (noWaiter) Outcome([]Record, int32, int64, time.Time, error) {}

// When Take and Withdraw race, exactly one of them wins. Taking again changes nothing.
func TestWithdrawOrTakeConcurrentSafe(t *testing.T) {
	var won [2]int
	for range 2000 {
		completion := &Completion{Waiter: noWaiter{}}
		rec := Record{Completion: completion}
		var taken, withdrawn bool
		var wg sync.WaitGroup
		wg.Go(func() { taken = rec.EndWithdrawal() })
		wg.Go(func() { withdrawn = completion.Withdraw() })
		wg.Wait()
		if taken == withdrawn {
			t.Fatalf("taken %v, withdrawn %v", taken, withdrawn)
		}
		if rec.EndWithdrawal() != taken || completion.Withdraw() {
			t.Fatal("the second Take had another answer, or Withdraw worked twice")
		}
		if taken {
			won[0]++
		} else {
			won[1]++
		}
	}
	t.Logf("%d taken, %d withdrawn", won[0], won[1])
}

func TestCompletionReset(t *testing.T) {
	completion := &Completion{Waiter: noWaiter{}}
	completion.Withdraw()
	completion.Reset()
	if rec := (Record{Completion: completion}); !rec.EndWithdrawal() {
		t.Error("not as new after Reset")
	}
	var input Record
	for range 2 {
		if !input.EndWithdrawal() {
			t.Error("a record from the inputs can always be taken")
		}
	}
}

func TestChargedTo(t *testing.T) {
	recs := []Record{{Charge: 3, Size: 1}, {Charge: 1 << 30, Size: 10}, {Charge: 1 << 30}, {Charge: 1 << 30}}
	if sums := ChargedTo(recs); sums.Charge-sums.Size != 2+3<<30-10 || sums.Size != 11 || !sums.Known {
		t.Errorf("%+v", sums)
	}
}
