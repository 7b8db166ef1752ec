package produceset

import (
	"math/bits"
	"sync"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Buffers come in size classes, powers of two from 256 B to 4 MiB. A class counts a batch's bytes; the room and the tail
// around them come on top, so that a batch of exactly 1 MiB fits the class of 1 MiB. What is larger is allocated exactly
// and left to the garbage collector: one giant message must not stay behind in a pool.
const (
	minClassBits = 8
	maxClassBits = 22
	classes      = maxClassBits - minClassBits + 1
	classExtra   = 16 // room and tail, rounded up
	page         = 4 << 10
)

// buffer is what a batch is encoded into. The holder travels with its bytes, so that giving it back allocates nothing.
type buffer struct {
	data  []byte // at its full length; how much of it is used, the batch knows
	class int    // -1: of exact size, not pooled
}

var buffers [classes]sync.Pool

// classOf is the smallest class that holds need bytes (room and tail included), or classes and more if none does.
func classOf(need int) int {
	return max(0, bits.Len(uint(max(need-classExtra, 1)-1))-minClassBits)
}

// classWithin is the largest class that is no larger than limit bytes, or -1 if the smallest is.
func classWithin(limit int) int {
	return max(0, min(classes, bits.Len(uint(max(limit-classExtra, 0)))-minClassBits)) - 1
}

func classSize(class int) int { return 1<<(class+minClassBits) + classExtra }

// newBuffer returns a buffer of at least need bytes, and of more than charge only where need is. Within charge it is the
// smallest class that holds need, or up to the class of hint if that is larger.
func newBuffer(need, hint, charge int) *buffer {
	class, within := classOf(need), classWithin(charge)
	if class <= within {
		return classBuffer(max(class, min(within, classOf(hint))))
	}
	if rounded := (need + page - 1) &^ (page - 1); rounded <= charge {
		need = rounded
	}
	return &buffer{data: make([]byte, need), class: -1}
}

func classBuffer(class int) *buffer {
	if buf, ok := buffers[class].Get().(*buffer); ok {
		return buf
	}
	return &buffer{data: make([]byte, classSize(class)), class: class}
}

// release gives the buffer back. The caller must hold its only reference.
func (buf *buffer) release() {
	if buf.class >= 0 {
		buffers[buf.class].Put(buf)
	}
}

// Slices of records are pooled by capacity too, 16 to 16384 by powers of two: a partition with three open records does not
// sit on the slice of one with ten thousand. A sync.Pool holds pointers; so that none needs to be allocated each time, the
// empty holders are pooled as well.
const (
	minRecordBits = 4
	maxRecordBits = 14
)

type recordHolder struct{ records []flow.Record }

var (
	recordSlices [maxRecordBits - minRecordBits + 1]sync.Pool
	emptyHolders = sync.Pool{New: func() any { return new(recordHolder) }}
)

// getRecords returns an empty slice with room for n records or more.
func getRecords(n int) []flow.Record {
	class := max(0, bits.Len(uint(max(n, 1)-1))-minRecordBits)
	if class >= len(recordSlices) {
		return make([]flow.Record, 0, n)
	}
	if h, ok := recordSlices[class].Get().(*recordHolder); ok {
		records := h.records
		h.records = nil
		emptyHolders.Put(h)
		return records
	}
	return make([]flow.Record, 0, 1<<(class+minRecordBits))
}

// PutRecords gives back a slice that [Batch.TakeRecords] returned, and clears it: no message is kept reachable. The caller
// must not use it afterwards. It may be called by any goroutine; nil is ignored.
func PutRecords(records []flow.Record) {
	clear(records)
	class := bits.Len(uint(cap(records))) - 1 - minRecordBits
	if class < 0 || class >= len(recordSlices) {
		return
	}
	h := emptyHolders.Get().(*recordHolder)
	h.records = records[:0]
	recordSlices[class].Put(h)
}
