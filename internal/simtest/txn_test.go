package simtest

import (
	"cmp"
	"testing"
)

// TestTxn runs seeds with transactions. With -short, and with the race detector, which makes them slower by far, a part of them.
func TestTxn(t *testing.T) {
	few := 2000
	if raceDetector || testing.Short() {
		few = 100
	}
	runSeeds(t, cmp.Or(*seeds, few), drawTxnScenario, mustHappenInTxns)
}

// mustHappenInTxns is mustHappen for TestTxn.
var mustHappenInTxns = map[string]float64{
	"CONCURRENT_TRANSACTIONS for AddPartitionsToTxn": 10,
	"CONCURRENT_TRANSACTIONS for AddOffsetsToTxn":    1,
	"CONCURRENT_TRANSACTIONS for TxnOffsetCommit":    2,
	"CONCURRENT_TRANSACTIONS for EndTxn":             2,
	"CONCURRENT_TRANSACTIONS for Produce":            10,
	"TRANSACTION_ABORTABLE for Produce":              2,
	"TRANSACTION_ABORTABLE for EndTxn":               0.3,
	"NOT_COORDINATOR":                                10,
	"the answer to InitProducerID is lost":           1,
	"the answer to AddPartitionsToTxn is lost":       1,
	"the answer to TxnOffsetCommit is lost":          0.5,
	"the answer to EndTxn is lost":                   2,
	"AddPartitionsToTxn is done and refused":         0.5,
	"EndTxn is done and refused":                     1,
	"EndTxn is repeated":                             10,
	"a stray EndTxn":                                 0.3,
	"a stray AddPartitionsToTxn":                     0.1,
	"a repeated EndTxn is answered":                  2,
	"a partition is added, and nothing is written":   1,
	"a stale member is fenced":                       1,
	"a transaction timed out":                        5,
	"a commit after the time-out":                    0.5,
	"a transactional id is refused":                  0.5,
	"a rival":                                        5,
	"an upgrade in the middle":                       3,
	"a commit is unknown":                            0.5,
	"an unknown transaction was committed":           0.1,
	"an unknown transaction was aborted":             1,
	"messages and offsets are committed":             20,
	"offsets alone are committed":                    10,
}
