package produceset

import "math"

// A batch begins in one buffer, and moves to a larger one as it grows. A batch of more than moveUpTo bytes stays where it
// is: another buffer follows, as large as all before it where the charges of the records allow that. So little of a large
// batch is copied twice, and it is written in a few pieces. Where the charges leave no room for another buffer of that size,
// all of it moves, as a small batch does.
const moveUpTo = 16 << 10

// chunk is a piece that nothing is added to any more, and the buffer that it is the last piece of. Without one it is a piece
// of a buffer that others follow in, or of a message (see borrow).
type chunk struct {
	data []byte
	buf  *buffer
}

// used is how many bytes the batch has, room and header included, not the tail.
func (b *Batch) used() int { return b.usedBefore + b.end - b.start }

// inPieces returns what the chunks hold, room and header included, and behind bytes after it. The slice is the batch's, and
// holds until the next call.
func (b *Batch) inPieces(behind int) [][]byte {
	b.pieces = b.pieces[:0]
	for _, c := range b.full {
		b.pieces = append(b.pieces, c.data)
	}
	b.pieces = append(b.pieces, b.data[b.start:b.end+behind])
	return b.pieces
}

// records is inPieces without room and header.
func (b *Batch) records() [][]byte {
	pieces := b.inPieces(0)
	pieces[0] = pieces[0][recordsAt:]
	return pieces
}

// closePiece puts what is behind the last piece among the full ones.
func (b *Batch) closePiece(buf *buffer) {
	b.full = append(b.full, chunk{b.data[b.start:b.end], buf})
	b.usedBefore = b.used()
	b.start = b.end
}

// grow makes room for size bytes of a record. The buffers have no more bytes than charge together, unless less is too little
// for what they hold.
func (b *Batch) grow(size int, charge int64) error {
	used := b.used()
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
		more := max(b.hint+room-used, used)
		if b.Borrows() {
			more = used - b.borrowed
		}
		b.closePiece(b.buf)
		b.heldBefore += len(b.data)
		b.buf = newBuffer(size+tail, min(more, b.cfg.MaxBytes-b.size)+tail, spare)
		b.data, b.start, b.end, b.summed = b.buf.data, 0, 0, 0
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
	if spare := int(b.charge) - b.heldBefore; b.start == 0 && spare >= b.end+tail {
		buf := newBuffer(b.end+tail, 0, spare)
		copy(buf.data, b.data[:b.end])
		b.buf.release()
		b.buf, b.data = buf, buf.data
		return
	}
	if need := b.used() + tail; need < b.heldBefore+len(b.data) {
		b.moveTo(newBuffer(need, 0, int(b.charge)), b.records()...)
	}
}

// releaseChunks gives all buffers back.
func (b *Batch) releaseChunks() {
	for i, c := range b.full {
		if c.buf != nil {
			c.buf.release()
		}
		b.full[i] = chunk{}
	}
	b.full, b.usedBefore, b.heldBefore, b.borrowed, b.start = b.full[:0], 0, 0, 0, 0
	if b.buf != nil {
		b.buf.release()
		b.buf, b.data = nil, nil
	}
}
