package flow

import (
	"testing"

	"github.com/IBM/sarama"
)

func TestRuns(t *testing.T) {
	for _, n := range []int{0, 1, 16, 17, 131072, 131073, 300_000} {
		run := GetRun(n)
		if len(run) != 0 || cap(run) < n || n <= 131072 && cap(run) >= max(2*n, 32) {
			t.Errorf("for %d: length %d, capacity %d", n, len(run), cap(run))
		}
		run = append(run, Record{Msg: new(sarama.ProducerMessage)})
		PutRun(run)
		if run[0].Msg != nil {
			t.Error("not cleared")
		}
	}
	PutRun(nil)
}

func TestGrow(t *testing.T) {
	var run []Record
	for i := range 1000 {
		run = append(Grow(run), Record{Partition: int32(i)})
	}
	for i := range run {
		if run[i].Partition != int32(i) {
			t.Fatalf("record %d is %d", i, run[i].Partition)
		}
	}
}

// A run that append has grown is larger than its class says. It would break the free list's bound.
func TestOddRunsAreNotListed(t *testing.T) {
	odd := make([]Record, 0, 255)
	PutRun(odd)
	if run, ok := freeList.Take(firstListed); ok {
		if &run[:1][0] == &odd[:1][0] {
			t.Error("a run of an odd size is on the free list")
		}
		freeList.Give(firstListed, run)
	}
}
