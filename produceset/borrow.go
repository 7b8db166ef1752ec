package produceset

import (
	"hash/crc32"
	"math"
	"unsafe"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Large values are borrowed, not copied: a batch that is not compressed has them as pieces of their own between those in its
// buffers. From 20 KB on that saves a tenth of the CPU or more, and half of the memory.
//
// A borrowed value must not change as long as the batch may be written. So its sender must not get the message back before
// that: see claims in brokerproducer. Copied all the same are the values of messages that their sender may withdraw at any
// time, and of those with an encoder of the user's own, which may reuse what it returned.

// borrowFrom is the size in bytes beyond which a value is borrowed. At this size the copy costs as much time as the two more
// pieces that are written, and memory besides.
const borrowFrom = 8 << 10

// mayBorrow tells whether a record's value is borrowed and not copied.
func (b *Batch) mayBorrow(f *fields, rec *flow.Record) bool {
	return len(f.value.view) > borrowFrom && b.cfg.Codec == sarama.CompressionNone && !rec.Withdrawable()
}

// borrow is encode for one record whose value is not copied. It makes the room that it needs. Its errors are Append's.
func (b *Batch) borrow(f *fields, rec *flow.Record) error {
	head, length, size, err := b.measure(f, rec)
	if err != nil {
		return err
	}
	if size > math.MaxInt32-b.used()-tail {
		return errTooLarge
	}
	value := unsafe.Slice(unsafe.StringData(f.value.view), len(f.value.view))
	own := size - len(value)
	if b.buf == nil || b.end+own+tail > len(b.data) {
		if err := b.grow(own, b.charge+int64(rec.Charge)); err != nil {
			return err
		}
	}
	p := b.data
	i := f.key.putLength(p, head.put(p, b.end, length))
	i += copy(p[i:], f.key.view)
	b.end = f.value.putLength(p, i)
	b.beginSumming() // the batch will be large; and if the value changes too early, the sum no longer fits
	b.sumUp()
	b.closePiece(nil)
	b.sum = crc32.Update(b.sum, castagnoli, value)
	b.closed = append(b.closed, piece{data: value})
	b.usedBefore += len(value)
	b.borrowed += len(value)

	b.end = putHeaders(p, b.end, f.headers)
	b.charge += int64(rec.Charge)
	b.added(size, f.timestamp)
	return nil
}
