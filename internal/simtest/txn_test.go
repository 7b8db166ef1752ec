package simtest

import (
	"cmp"
	"testing"
)

// TestTxn runs seeds with transactions. With the race detector, which makes them slower by far, a part of them.
func TestTxn(t *testing.T) {
	few := 2000
	if raceDetector {
		few = 200
	}
	runSeeds(t, cmp.Or(*seeds, few), drawTxnScenario, mustHappenInTxns)
}

// mustHappenInTxns is mustHappen for TestTxn.
var mustHappenInTxns = map[string]float64{}
