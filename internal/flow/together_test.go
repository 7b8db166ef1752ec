package flow

import (
	"fmt"
	"slices"
	"testing"

	"github.com/IBM/sarama"
)

// Several outcomes in one Decide: each goes where the user wants it, in order.
func TestDecideManyAtOnce(t *testing.T) {
	var reported []string
	d := newDesk(t, func(cfg *OutcomesConfig) {
		cfg.ReturnSuccesses, cfg.ReturnErrors = true, true
		cfg.Report = func(r Report) { reported = append(reported, fmt.Sprint(r.Messages[0].Value, r.Err != nil)) }
	})
	if d.Decide() != 0 {
		t.Error("no outcomes, and yet a waiter")
	}
	var outcomes []*Outcome
	for i := range 6 {
		var err error
		if i%2 == 1 {
			err = errRefused
		}
		outcomes = append(outcomes, outcomeOf(d.accept(Record{Msg: message(fmt.Sprint(i))}), err))
	}
	sealed := d.barriers.Seal()
	d.Decide(outcomes...)
	<-sealed
	d.CloseReports()
	d.closed = true
	d.Close()
	var good, bad []string
	for msg := range d.Successes {
		good = append(good, string(msg.Value.(sarama.StringEncoder)))
	}
	for err := range d.Errors {
		bad = append(bad, string(err.Msg.Value.(sarama.StringEncoder)))
	}
	if !slices.Equal(good, []string{"0", "2", "4"}) || !slices.Equal(bad, []string{"1", "3", "5"}) || len(reported) != 6 {
		t.Errorf("successes %v, errors %v, reports %v", good, bad, reported)
	}
}

// Runs that one goroutine takes and another gives back are used again: cleared, and by one at a time.
func TestRunCache(t *testing.T) {
	var taker, giver RunCache
	seen := make(map[*Record]bool)
	for range 10 {
		var out [][]Record
		for range 5 * blockSize {
			run := taker.Get(1)[:1]
			if seen[&run[0]] || run[0] != (Record{}) {
				t.Fatal("a run is in use twice, or was not cleared")
			}
			run[0].Partition = 1
			seen[&run[0]] = true
			out = append(out, run)
		}
		for _, run := range out {
			delete(seen, &run[0])
			giver.Put(run)
		}
		if len(giver.free) > 2*blockSize {
			t.Fatalf("%d runs are kept", len(giver.free))
		}
	}
	if n := 1000; cap(taker.Get(n)) < n {
		t.Error("a large run is too small")
	}
}
