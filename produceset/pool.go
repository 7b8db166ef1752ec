package produceset

import (
	"math/bits"
	"sync"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Buffers come in size classes, powers of two from 128 B to 4 MiB. A class counts a batch's bytes; the room and the tail
// around them come on top, so that a batch of exactly 1 MiB fits the class of 1 MiB. What is larger is allocated exactly
// and left to the garbage collector: one giant message must not stay behind in a pool.
const (
	minClassBits = 7
	maxClassBits = 22
	classes      = maxClassBits - minClassBits + 1
	classExtra   = 16 // room and tail, rounded up
	page         = 4 << 10

	// kept bounds the bytes of the buffers on the free list, in the whole process.
	kept = 8 << 20
)

// buffer is what a batch is encoded into. The holder travels with its bytes, so that giving it back allocates nothing.
type buffer struct {
	data  []byte // at its full length; how much of it is used, the batch knows
	class int    // -1: of exact size, not pooled
}

// Buffers that nobody uses wait on the free list, and in the pools where that is full.
var (
	freeList = flow.NewFreeList[*buffer](classes, kept, classSize)
	buffers  [classes]sync.Pool
)

// classOf is the smallest class that holds need bytes (room and tail included), or classes and more if none does.
func classOf(need int) int {
	return max(0, bits.Len(uint(max(need-classExtra, 1)-1))-minClassBits)
}

// classWithin is the largest class that is no larger than limit bytes, or -1 if the smallest is.
func classWithin(limit int) int {
	return max(0, min(classes, bits.Len(uint(max(limit-classExtra, 0)))-minClassBits)) - 1
}

func classSize(class int) int { return 1<<(class+minClassBits) + classExtra }

// LargeRecord is the size in bytes beyond which a record's buffer is of its own size, up to a page, if it has one: its value
// may be borrowed. Smaller ones share buffers that double as they grow.
const LargeRecord = 32 << 10

// BufferBound is what a record whose RecordBound is size adds at most to the buffers of its batch, in bytes, the batch's
// header and frame included: twice its size and the smallest class, or its size and a page.
//
// The memory budget stands on this: whoever admits a record charges it with at least its BufferBound, and a batch never
// holds larger buffers than the charges of its records come to, and, while a run is appended, of the rest of that run. So
// what is charged is never less than what is held. (An encoder that writes more than its Length told breaks its half: then
// the batch holds what it needs, see newBuffer.)
func BufferBound(size int) int64 {
	if size <= LargeRecord {
		return 2*int64(size) + 1<<minClassBits
	}
	return int64(size) + page
}

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
	if buf, ok := freeList.Take(class); ok {
		return buf
	}
	if buf, ok := buffers[class].Get().(*buffer); ok {
		return buf
	}
	return &buffer{data: make([]byte, classSize(class)), class: class}
}

// release gives the buffer back. The caller must hold its only reference.
func (buf *buffer) release() {
	if buf.class >= 0 && !freeList.Give(buf.class, buf) {
		buffers[buf.class].Put(buf)
	}
}
