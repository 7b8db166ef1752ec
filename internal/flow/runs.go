package flow

import (
	"math/bits"
	"sync"
	"unsafe"
)

// A run is a slice of records. It is owned by whoever received it; the last owner gives it back with PutRun. Runs are
// pooled by capacity, 16 to 131072 by powers of two: a partition with three open records does not sit on the slice of
// one with ten thousand. The large ones wait on a free list, the others, and what does not fit there, in a sync.Pool. That
// holds pointers; so that none needs to be allocated each time, the empty holders are pooled as well.
const (
	minRunBits = 4
	maxRunBits = 17
)

// firstListed is the class of the smallest runs that come a batch at a time, and not for every few records.
const firstListed = 3

// runsKept bounds the bytes of the runs on the free list, in the whole process.
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
		if m, ok := openBlock(); ok {
			for _, other := range m[1:] {
				PutRun(other)
			}
			return m[0]
		}
	}
	return make([]Record, 0, 1<<(class+minRunBits))
}

// PutRun gives a run back, and clears it: no message is kept reachable. Nobody may use it afterwards; nil is ignored.
// Any goroutine may call it.
func PutRun(run []Record) {
	clear(run)
	class := bits.Len(uint(cap(run))) - 1 - minRunBits
	if class < 0 || class >= len(runs) {
		return
	}
	whole := cap(run) == 1<<(class+minRunBits) // and not one that append has grown, which holds more than its class says
	if class >= firstListed && whole && freeList.Give(class, run[:0]) {
		return
	}
	h := emptyHolders.Get().(*runHolder)
	h.run = run[:0]
	runs[class].Put(h)
}

// CopyRun returns a run of its own with the same records.
func CopyRun(recs []Record) []Record { return append(GetRun(len(recs)), recs...) }

// Grow returns a run with the same records and room for one more. The argument is the caller's no more.
func Grow(run []Record) []Record {
	if len(run) < cap(run) {
		return run
	}
	return Reserve(run, 1, 2*len(run))
}

// Reserve returns a run with the same records and room for more of them. When it has to be another, it has room for
// expected records in all, as far as that is no more than four times what is in it then. The argument is the caller's
// no more.
func Reserve(run []Record, more, expected int) []Record {
	need := len(run) + more
	if need <= cap(run) {
		return run
	}
	larger := append(GetRun(max(need, min(expected, 4*need))), run...)
	PutRun(run)
	return larger
}
