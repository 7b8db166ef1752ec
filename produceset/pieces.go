package produceset

import "math"

// A batch begins in one buffer, and moves to a larger one as it grows. A batch of more than moveUpTo bytes stays where it
// is: another buffer follows, as large as all that was copied before it where the charges of the records allow that. So
// little of a large batch is copied twice, and it is written in a few pieces. Where the charges leave no room for another
// buffer of that size, all of it moves, as a small batch does. Values that are borrowed are pieces of their own.
const moveUpTo = 16 << 10

// piece is a part of the batch that nothing is added to any more, and the buffer that it is the last part of. Without one it
// is of a buffer that others follow in, or of a message (borrow.go).
type piece struct {
	data []byte
	buf  *buffer
}

// used is how many bytes the batch has, room and header included, not the tail.
func (b *Batch) used() int { return b.usedBefore + b.end - b.start }

// head is the first piece: room, header, and the records behind them.
func (b *Batch) head() []byte {
	if len(b.closed) > 0 {
		return b.closed[0].data
	}
	return b.data[b.start:b.end]
}

// inPieces returns what the batch holds, room and header included, and behind bytes after it. The slice is the batch's, and
// holds until the next call.
func (b *Batch) inPieces(behind int) [][]byte {
	b.pieces = b.pieces[:0]
	for _, p := range b.closed {
		b.pieces = append(b.pieces, p.data)
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

// closePiece puts what is behind the closed pieces among them. A buffer goes with its last piece.
func (b *Batch) closePiece(buf *buffer) {
	b.closed = append(b.closed, piece{b.data[b.start:b.end], buf})
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
	// As much again, or up to the hint; never more than the batch may take.
	more, least := max(b.hint+room-used, used), max(size+tail, moveUpTo)
	if b.Borrows() {
		more, least = used-b.borrowed, size+tail // values fill the batch, not its buffers, and are not to be copied
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

// moveTo makes buf the batch's only buffer, with copies of records, also of what was borrowed, behind the room for the header,
// which is written when all is known.
func (b *Batch) moveTo(buf *buffer, records ...[]byte) {
	end := recordsAt
	for _, piece := range records {
		end += copy(buf.data[end:], piece)
	}
	b.releasePieces()
	b.buf, b.data, b.end, b.summed = buf, buf.data, end, end
}

// fit gives memory back that the buffers have beyond what the batch's records were charged with: what was to follow them may
// go elsewhere.
func (b *Batch) fit() {
	if b.buf == nil || int64(b.heldBefore+len(b.data)) <= b.charge {
		return
	}
	// Where start is not 0, closed pieces are of this buffer, so that it can't be changed for another.
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

// releasePieces gives all buffers back, and forgets what was borrowed.
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
