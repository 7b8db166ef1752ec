package produceset

import (
	"hash/crc32"
	"math"
	"unsafe"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Large values are not copied: a batch that is not compressed has them as pieces of their own, between those that lie in its
// buffers. From 20 KB on that saves a tenth of the CPU or more, and half of the memory. As long as the batch may be written the
// message must stay as it is: so its sender must not have it back before, see the claims of brokerproducer. Who may withdraw
// it has it back at any time, so that it is copied; and so is a message with an encoder of the user's own, for key or value,
// which may use again what it returned.

// borrowFrom is the size in bytes beyond which a value is borrowed. At this size the copy costs as much as two more pieces to
// write, but memory besides.
const borrowFrom = 8 << 10

// mayBorrow tells whether a record's value is borrowed and not copied.
func (b *Batch) mayBorrow(f *fields, rec *flow.Record) bool {
	return len(f.value.view) > borrowFrom && b.cfg.Codec == sarama.CompressionNone && !rec.Withdrawable()
}

// borrow is encode for one record whose value is not copied. It makes the room that it needs; errors are those of makeRoom.
func (b *Batch) borrow(f *fields, rec *flow.Record) error {
	size, body, err := b.measure(f, rec)
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
	timestampDelta, offsetDelta := zigzag(f.timestamp-b.firstTimestamp), zigzag(int64(b.count))
	keyLength, valueLength := zigzag(int64(f.key.length)), zigzag(int64(f.value.length))
	p := b.data
	i := putVarint(p, b.end, zigzag(int64(body)))
	p[i] = 0 // attributes
	i = putVarint(p, i+1, timestampDelta)
	i = putVarint(p, i, offsetDelta)
	i = putVarint(p, i, keyLength)
	i += copy(p[i:], f.key.view)
	b.end = putVarint(p, i, valueLength)
	b.beginSumming() // it will be large, and a value that is changed too early must not go unnoticed
	b.sumUp()
	b.closePiece(nil)
	b.sum = crc32.Update(b.sum, castagnoli, value)
	b.closed = append(b.closed, piece{data: value})
	b.usedBefore += len(value)
	b.borrowed += len(value)

	b.end = putHeaders(p, b.end, f.headers)
	b.size += size
	b.count++
	b.charge += int64(rec.Charge)
	b.maxTimestamp = max(b.maxTimestamp, f.timestamp)
	return nil
}
