package flow

import (
	"math/bits"
	"sync"
	"unsafe"
)

// A run is a slice of records. Whoever received it owns it; the last owner gives it back with PutRun.
//
// Runs are pooled by capacity, from 16 to 131072 by powers of two, so that a partition with three records does not hold
// the slice of one with ten thousand. Large runs go to a free list. The small ones, and what does not fit there, go to a
// sync.Pool. A sync.Pool holds pointers, so each run is put into a holder; the holders are pooled as well.
const (
	minRunBits = 4
	maxRunBits = 17
)

// firstListed is the smallest class that uses the free list: runs for a whole batch. Smaller ones come for every few
// records, too often for its lock.
const firstListed = 3

// runsKept bounds the free list, in bytes, for the whole process.
const runsKept = 4 << 20

type runHolder struct{ run []Record }

var (
	freeList = NewFreeList[[]Record](maxRunBits-minRunBits+1, runsKept, func(class int) int {
		return int(unsafe.Sizeof(Record{})) << (class + minRunBits)
	})
	runs         [maxRunBits - minRunBits + 1]sync.Pool
	emptyHolders = sync.Pool{New: func() any { return new(runHolder) }}
)

// GetRun returns an empty run with room for n records or more.
func GetRun(n int) []Record {
	class := max(0, bits.Len(uint(max(n, 1)-1))-minRunBits)
	if class >= len(runs) {
		return make([]Record, 0, n)
	}
	if class >= firstListed {
		if run, ok := freeList.Take(class); ok {
			return run
		}
	}
	if h, ok := runs[class].Get().(*runHolder); ok {
		run := h.run
		h.run = nil
		emptyHolders.Put(h)
		return run
	}
	if class == 0 {
		if b, ok := openBlock(); ok {
			for _, other := range b[1:] {
				PutRun(other)
			}
			return b[0]
		}
	}
	return make([]Record, 0, 1<<(class+minRunBits))
}

// PutRun clears a run and gives it back. Nobody may use it afterwards. nil is ignored. Any goroutine may call it.
func PutRun(run []Record) {
	clear(run)
	class := bits.Len(uint(cap(run))) - 1 - minRunBits
	if class < 0 || class >= len(runs) {
		return
	}
	// A run that append has grown is larger than its class says, and would break the free list's bound.
	exact := cap(run) == 1<<(class+minRunBits)
	if class >= firstListed && exact && freeList.Give(class, run[:0]) {
		return
	}
	h := emptyHolders.Get().(*runHolder)
	h.run = run[:0]
	runs[class].Put(h)
}

// CopyRun returns a new run with the same records.
func CopyRun(recs []Record) []Record { return append(GetRun(len(recs)), recs...) }

// Grow returns a run with the same records and room for one more. The argument must not be used afterwards.
func Grow(run []Record) []Record {
	if len(run) < cap(run) {
		return run
	}
	return Reserve(run, 1, 2*len(run))
}

// Reserve returns a run with the same records and room for more of them. If a larger one is needed, it has room for
// expected records, but for no more than four times what it must hold. The argument must not be used afterwards.
func Reserve(run []Record, more, expected int) []Record {
	need := len(run) + more
	if need <= cap(run) {
		return run
	}
	larger := append(GetRun(max(need, min(expected, 4*need))), run...)
	PutRun(run)
	return larger
}
