package simtest

import (
	"cmp"
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
	seeds  = flag.Int("seeds", 0, "how many seeds to run; 0: as many as the test does by itself")
	from   = flag.Uint64("from", 1, "the first of them")
	mutant = flag.Bool("mutant", false, "there is a mistake in the source: only broken promises count")
	one    = flag.Uint64("seed", 0, "run this seed alone, with a trace (-v)")
)

func TestMain(m *testing.M) {
	// The first meter of the process starts a goroutine that lives for ever: it must not belong to a bubble.
	metrics.NewMeter().Stop()
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// TestSim runs seeds, as many at a time as there are processors.
func TestSim(t *testing.T) {
	runSeeds(t, cmp.Or(*seeds, 200), drawScenario, mustHappen)
}

// runSeeds runs seeds of one kind, and checks that the faults that must happen have.
func runSeeds(t *testing.T, seeds int, scenarioOf func(uint64) scenario, must map[string]float64) {
	if *one != 0 {
		for fault := range sim(t, newRun(*one, scenarioOf(*one), testing.Verbose())) {
			t.Log(fault)
		}
		return
	}
	met := map[string]int{} // by fault: in how many seeds
	var mu sync.Mutex
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < uint64(seeds); i = next.Add(1) - 1 {
				t.Run(fmt.Sprint(*from+i), func(t *testing.T) {
					happened := sim(t, newRun(*from+i, scenarioOf(*from+i), false))
					mu.Lock()
					defer mu.Unlock()
					for fault := range happened {
						met[fault]++
					}
				})
			}
		})
	}
	wg.Wait()
	if seeds < 200 || *mutant {
		return
	}
	for fault, n := range met {
		t.Logf("%s: in %d of %d seeds", fault, n, seeds)
	}
	for fault, percent := range must {
		if float64(met[fault]) < float64(seeds)*percent/100 {
			t.Errorf("%s: in %d of %d seeds, which is less than %v%%", fault, met[fault], seeds, percent)
		}
	}
}

// mustHappen has faults that need several things to come together, and the least percentage of the seeds in which they are
// met. It is a fraction of what is usual, as 200 seeds vary.
var mustHappen = map[string]float64{
	"a deposed leader answers":            2,
	"a broker lags behind":                2,
	"an epoch that went back is believed": 2,
	"a bumped epoch is refused":           2,
	"a large request is closed on":        0.5,
}

// sim runs one seed, and tells what is needed to run it again if it fails.
func sim(t *testing.T, r *run) (happened map[string]bool) {
	stuck := inBubble(t, r.simulate)
	if stuck == "" && r.sc.txn != nil {
		r.checkTxns()
	} else if stuck == "" {
		r.check()
	}
	if r.tracing {
		t.Logf("seed %d\n%s%d messages, %d batches written %s", r.seed, r.sc.String(), len(r.messages), r.ledger.appends, r.summary())
	}
	if len(r.failures) == 0 && stuck == "" {
		return r.happened
	}
	t.Errorf("%v%s", r, stuck)
	return r.happened
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
