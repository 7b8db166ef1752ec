package produceset

import "math"

// A batch begins in one buffer and moves to a larger one as it grows. Beyond moveUpTo bytes it stays where it is, and
// another buffer follows, as large as all before it. So little of a large batch is copied twice, and it is written in a few
// pieces. If the charges of the records do not allow for such a buffer, the whole batch moves, as a small one does. Borrowed
// values are pieces of their own.
const moveUpTo = 16 << 10

// piece is a part of the batch that nothing is added to any more.
type piece struct {
	data []byte
	buf  *buffer // to be released with the piece; nil if other pieces follow in its buffer, or if it is borrowed
}

// used is how many bytes the batch has, with room and header, without the tail.
func (b *Batch) used() int { return b.usedBefore + b.end - b.start }

// head is the first piece: room, header and the first records.
func (b *Batch) head() []byte {
	if len(b.closed) > 0 {
		return b.closed[0].data
	}
	return b.data[b.start:b.end]
}

// inPieces returns all pieces, the last one with so many bytes behind it. The slice is overwritten by the next call.
func (b *Batch) inPieces(behind int) [][]byte {
	b.pieces = b.pieces[:0]
	for _, p := range b.closed {
		b.pieces = append(b.pieces, p.data)
	}
	b.pieces = append(b.pieces, b.data[b.start:b.end+behind])
	return b.pieces
}

// records is all pieces without room and header.
func (b *Batch) records() [][]byte {
	pieces := b.inPieces(0)
	pieces[0] = pieces[0][recordsAt:]
	return pieces
}

// closePiece closes the last piece. buf is its buffer, if no other piece follows in that.
func (b *Batch) closePiece(buf *buffer) {
	b.closed = append(b.closed, piece{b.data[b.start:b.end], buf})
	b.usedBefore = b.used()
	b.start = b.end
}

// grow makes room for size bytes of a record. The buffers together get no larger than charge, unless that is too little for
// what they hold.
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
	b.sumUp() // while what is there is in the cache
	// As much again, or up to the hint; never more than the batch may take.
	more, least := max(b.hint+room-used, used), max(size+tail, moveUpTo)
	if b.Borrows() {
		more, least = used-b.borrowed, size+tail // borrowed values take no buffers, and a move would copy them
	}
	if spare := int(charge) - b.heldBefore - len(b.data); (used > moveUpTo || b.Borrows()) && spare >= least {
		b.closePiece(b.buf)
		b.heldBefore += len(b.data)
		b.buf = newBuffer(size+tail, min(more, max(b.limit-b.size, 0))+tail, spare)
		b.data, b.start, b.end, b.summed = b.buf.data, 0, 0, 0
		return nil
	}
	b.moveTo(newBuffer(used+size+tail, b.hint+room+tail, int(charge)), b.records()...)
	return nil
}

// moveTo copies records, borrowed ones too, to buf and makes that the batch's only buffer. The header is written later.
func (b *Batch) moveTo(buf *buffer, records ...[]byte) {
	end := recordsAt
	for _, piece := range records {
		end += copy(buf.data[end:], piece)
	}
	b.releasePieces()
	b.buf, b.data, b.end, b.summed = buf, buf.data, end, end
}

// fit gives back memory beyond what the records of the batch were charged with. It may have been made for records of the run
// that now go to another batch.
func (b *Batch) fit() {
	if b.buf == nil || int64(b.heldBefore+len(b.data)) <= b.charge {
		return
	}
	// If start is not 0, closed pieces are in this buffer too, and it can't be replaced.
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

// releasePieces gives back all buffers, and lets go of what was borrowed.
func (b *Batch) releasePieces() {
	for i, p := range b.closed {
		if p.buf != nil {
			p.buf.release()
		}
		b.closed[i] = piece{}
	}
	b.closed, b.usedBefore, b.heldBefore, b.borrowed, b.start = b.closed[:0], 0, 0, 0, 0
	if b.buf != nil {
		b.buf.release()
		b.buf, b.data = nil, nil
	}
}
