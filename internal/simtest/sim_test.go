package simtest

import (
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/rcrowley/go-metrics"
	"go.uber.org/goleak"
)

var (
	seeds = flag.Int("seeds", 200, "how many seeds to run")
	from  = flag.Uint64("from", 1, "the first of them")
	one   = flag.Uint64("seed", 0, "run this seed alone, with a trace (-v)")
)

func TestMain(m *testing.M) {
	// The first meter of the process starts a goroutine that lives for ever: it must not belong to a bubble.
	metrics.NewMeter().Stop()
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// TestSim runs seeds, as many at a time as there are processors.
func TestSim(t *testing.T) {
	if *one != 0 {
		sim(t, *one, testing.Verbose())
		return
	}
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < uint64(*seeds); i = next.Add(1) - 1 {
				t.Run(fmt.Sprint(*from+i), func(t *testing.T) { sim(t, *from+i, false) })
			}
		})
	}
	wg.Wait()
}

// sim runs one seed, and tells what is needed to run it again if it fails.
func sim(t *testing.T, seed uint64, tracing bool) {
	r := newRun(seed, tracing)
	stuck := inBubble(t, r.simulate)
	if stuck == "" {
		r.check()
	}
	if tracing {
		t.Logf("seed %d\n%s%d messages, %d batches written", seed, r.sc.String(), len(r.messages), r.ledger.appends)
	}
	if len(r.failures) == 0 && stuck == "" {
		return
	}
	t.Errorf("%v%s", r, stuck)
}

// inBubble runs f in a bubble, and returns what is stuck there: that ends the bubble with a panic.
func inBubble(t *testing.T, f func()) (stuck string) {
	defer func() {
		if p := recover(); p != nil {
			stacks := make([]byte, 4<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			var blocked []string
			for _, s := range strings.Split(string(stacks), "\n\n") {
				if strings.Contains(s, "synctest bubble") && !strings.Contains(s, "kfake") {
					blocked = append(blocked, s)
				}
			}
			stuck = fmt.Sprintf("\n%v\n%s", p, strings.Join(blocked, "\n\n"))
		}
	}()
	synctest.Test(t, func(*testing.T) { f() })
	return ""
}
