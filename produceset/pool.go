package produceset

import (
	"math/bits"
	"sync"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Buffers come in size classes, powers of two from 128 B to 4 MiB, plus the room and the tail: so a batch of exactly 1 MiB
// fits into the class of 1 MiB. Larger ones are allocated exactly and left to the garbage collector: one giant message must
// not stay in a pool.
const (
	minClassBits = 7
	maxClassBits = 22
	classes      = maxClassBits - minClassBits + 1
	classExtra   = 16 // room and tail, rounded up
	page         = 4 << 10

	// kept bounds the bytes of the buffers on the free list, in the whole process.
	kept = 8 << 20
)

// buffer is what a batch is encoded into. It is pooled as a whole: to pool its bytes alone would allocate.
type buffer struct {
	data  []byte // at its full length
	class int    // -1: exactly as large as was needed, not pooled
}

// Unused buffers are on the free list; when that is full, in the pools.
var (
	freeList = flow.NewFreeList[*buffer](classes, kept, classSize)
	buffers  [classes]sync.Pool
)

// classOf is the smallest class that holds need bytes, room and tail included. If none does, it is classes or more.
func classOf(need int) int {
	return max(0, bits.Len(uint(max(need-classExtra, 1)-1))-minClassBits)
}

// classWithin is the largest class of at most limit bytes, or -1 if there is none.
func classWithin(limit int) int {
	return max(0, min(classes, bits.Len(uint(max(limit-classExtra, 0)))-minClassBits)) - 1
}

func classSize(class int) int { return 1<<(class+minClassBits) + classExtra }

// LargeRecord is the size in bytes beyond which a record gets a buffer of its own size, rounded up to a page, unless its
// value is borrowed. Smaller ones share buffers that double as they grow.
const LargeRecord = 32 << 10

// BufferBound is how many bytes a record whose RecordBound is size adds to the buffers of its batch at most: twice its size
// and the smallest class, or its size and a page. It covers the batch's header and frame.
//
// The memory budget relies on it. Whoever admits a record charges it with at least its BufferBound. The buffers of a batch
// never hold more bytes than its records were charged with, or while a run is appended, than those and the rest of the run
// were. So no more is held than is charged. The exception is an encoder that writes more than its Length said: its batch
// holds what it needs.
func BufferBound(size int) int64 {
	if size <= LargeRecord {
		return 2*int64(size) + 1<<minClassBits
	}
	return int64(size) + page
}

// newBuffer returns a buffer of at least need bytes, and of more than charge only if need is more. Within charge it is of
// the smallest class that holds need, or of the class of hint if that is larger.
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
	if buf, ok := freeList.Take(class); ok {
		return buf
	}
	if buf, ok := buffers[class].Get().(*buffer); ok {
		return buf
	}
	return &buffer{data: make([]byte, classSize(class)), class: class}
}

// release gives the buffer back. The caller must have the only reference.
func (buf *buffer) release() {
	if buf.class >= 0 && !freeList.Give(buf.class, buf) {
		buffers[buf.class].Put(buf)
	}
}
