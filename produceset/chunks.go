package produceset

import "math"

// A batch begins in one buffer, and moves to a larger one as it grows. A batch of more than moveUpTo bytes stays where it
// is: another buffer follows, as large as all before it where the charges of the records allow that. So little of a large
// batch is copied twice, and it is written in a few pieces. Where the charges leave no room for another buffer of that size,
// all of it moves, as a small batch does.
const moveUpTo = 16 << 10

// chunk is a buffer that is used up to end.
type chunk struct {
	buf *buffer
	end int
}

func (c chunk) bytes() []byte { return c.buf.data[:c.end] }

// inPieces returns what the chunks hold, room and header included, and behind bytes after it. The slice is the batch's, and
// holds until the next call.
func (b *Batch) inPieces(behind int) [][]byte {
	b.pieces = b.pieces[:0]
	for _, c := range b.full {
		b.pieces = append(b.pieces, c.bytes())
	}
	b.pieces = append(b.pieces, b.data[:b.end+behind])
	return b.pieces
}

// records is inPieces without room and header.
func (b *Batch) records() [][]byte {
	pieces := b.inPieces(0)
	pieces[0] = pieces[0][recordsAt:]
	return pieces
}

// grow makes room for a record of size bytes. The buffers have no more bytes than charge together, unless less is too
// little for what they hold.
func (b *Batch) grow(size int, charge int64) error {
	used := b.usedBefore + b.end
	if size > math.MaxInt32-used-tail {
		return errTooLarge
	}
	if b.buf == nil {
		b.buf = newBuffer(used+size+tail, b.hint+room+tail, int(charge))
		b.data = b.buf.data
		return nil
	}
	b.sumUp() // what is copied or left behind is in the cache now
	if spare := int(charge) - b.heldBefore - len(b.data); used > moveUpTo && spare >= max(size+tail, moveUpTo) {
		// As much again, or up to the hint; never more than the batch may take.
		more := min(max(b.hint+room-used, used), b.cfg.MaxBytes-b.size)
		b.full = append(b.full, chunk{b.buf, b.end})
		b.usedBefore += b.end
		b.heldBefore += len(b.data)
		b.buf = newBuffer(size+tail, more+tail, spare)
		b.data, b.end, b.summed = b.buf.data, 0, 0
		return nil
	}
	b.moveTo(newBuffer(used+size+tail, b.hint+room+tail, int(charge)), b.records()...)
	return nil
}

// moveTo makes buf the batch's only buffer, with records behind the room for the header, which is written when all is known.
func (b *Batch) moveTo(buf *buffer, records ...[]byte) {
	end := recordsAt
	for _, piece := range records {
		end += copy(buf.data[end:], piece)
	}
	b.releaseChunks()
	b.buf, b.data, b.end, b.summed = buf, buf.data, end, end
}

// fit gives memory back that the buffers have beyond what the batch's records were charged with: what was to follow them may
// go elsewhere.
func (b *Batch) fit() {
	if b.buf == nil || int64(b.heldBefore+len(b.data)) <= b.charge {
		return
	}
	if spare := int(b.charge) - b.heldBefore; spare >= b.end+tail {
		buf := newBuffer(b.end+tail, 0, spare)
		copy(buf.data, b.data[:b.end])
		b.buf.release()
		b.buf, b.data = buf, buf.data
		return
	}
	if need := b.usedBefore + b.end + tail; need < b.heldBefore+len(b.data) {
		b.moveTo(newBuffer(need, 0, int(b.charge)), b.records()...)
	}
}

// releaseChunks gives all buffers back.
func (b *Batch) releaseChunks() {
	for i, c := range b.full {
		c.buf.release()
		b.full[i] = chunk{}
	}
	b.full, b.usedBefore, b.heldBefore = b.full[:0], 0, 0
	if b.buf != nil {
		b.buf.release()
		b.buf, b.data = nil, nil
	}
}
