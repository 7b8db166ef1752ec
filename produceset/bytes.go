package produceset

import (
	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Records without messages: an Appender encodes them on its user's goroutine. It has taken the memory of a batch before, a buffer at
// a time, so that the batch's charge is what its buffers have.

// AppendBytes encodes a record of these bytes, which are copied. nil is null. If more is above 0, nothing was appended: so many bytes
// must be granted first (Grant). Its errors are Append's.
func (b *Batch) AppendBytes(key, value []byte, headers []sarama.RecordHeader, timestamp int64) (more int, err error) {
	if b.sealed {
		return 0, errSealed
	}
	f := fields{bytesPayload(key), bytesPayload(value), headers, timestamp}
	one := []fields{f}
	if b.encode(one, uncharged) == 1 {
		b.sumUp()
		return 0, nil
	}
	head := b.nextHead(timestamp)
	_, size := head.sizes(f.size())
	if b.size+size > b.limit && b.count > 0 {
		return 0, ErrFull
	}
	if more = b.lacks(size); more > 0 {
		return more, nil
	}
	if err := b.grow(size, b.charge); err != nil {
		return 0, err
	}
	b.encode(one, uncharged)
	b.sumUp()
	return 0, nil
}

// uncharged stands for a record whose memory is granted.
var uncharged = []flow.Record{{}}

// Grant adds to what the buffers of the batch may have, in bytes.
func (b *Batch) Grant(bytes int) { b.charge += int64(bytes) }

// Granted is the sum of what was granted.
func (b *Batch) Granted() int64 { return b.charge }

// lacks is how many bytes must be granted for a buffer that has room for size bytes more: 0 if it is granted already.
func (b *Batch) lacks(size int) int {
	held := b.heldBefore + len(b.data)
	need := b.used() + size + tail // where the batch moves to a larger buffer
	switch {
	case b.buf == nil:
		need = max(need, min(b.hint, b.limit)+room+tail)
	case b.used() > moveUpTo: // it gets another one, as large as all before
		need = held + min(max(b.used(), size), max(b.limit-b.size, size)) + tail
		return max(0, held+bufferSize(need-held)-int(b.charge))
	}
	return max(0, b.heldBefore+bufferSize(need)-int(b.charge))
}

// bufferSize is the size of a buffer with room for need bytes.
func bufferSize(need int) int {
	if class := classOf(need); class < classes {
		return classSize(class)
	}
	return (need + page - 1) &^ (page - 1)
}

// Hold makes one more holder of a batch that AppendBytes has filled: somebody else who calls Release.
func (b *Batch) Hold() {
	b.appended = true
	b.holders.Add(1)
}

// emptyPart returns a batch for a part of the records of one that AppendBytes has filled.
func (b *Batch) emptyPart() *Batch {
	part := New(b.cfg, b.size/2)
	part.Topic, part.TopicID, part.Partition = b.Topic, b.TopicID, b.Partition
	part.appended = true
	return part
}

// divideRecord gives the parts of a batch their Records, each with its share of the memory. The parts have two holders: the receiver's
// holder, and who gets the outcome.
func (b *Batch) divideRecord(parts ...*Batch) {
	rec := b.Records[0]
	left := rec.Size
	for i, part := range parts {
		one := rec
		one.Size = rec.Size/int32(len(parts)) - flow.RecordOverhead // the parts together have one overhead more each
		if i == len(parts)-1 {
			one.Size = left
		}
		left -= one.Size + flow.RecordOverhead
		one.Charge = one.Size
		part.charge = int64(one.Size)
		one.Completion = rec.Completion.Divide(part)
		part.Hold()
		part.Hold()
		part.Records = append(flow.GetRun(1), one)
	}
}
