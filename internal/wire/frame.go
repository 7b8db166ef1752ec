package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/IBM/sarama"
)

const (
	// smallPiece is the size up to which a piece of a request is copied. Copying it is cheaper than another iovec, and 1,000
	// small partitions must not become 1,000 of these.
	smallPiece = 2 << 10
	// writeChunk is the size of a Write where there is no writev: pieces are copied together, since under TLS each Write is
	// a record.
	writeChunk = 64 << 10
	// mostAtOnce is the most that one Write is given where there is no writev. With the deadline set anew for each, that is
	// progress also for a connection that can't go on after a time-out, as one to a proxy by TLS.
	mostAtOnce = 256 << 10
	// scratchKept is the largest scratch buffer that a connection keeps though it used less than a quarter of it.
	scratchKept = 1 << 20
)

// frame is one request as it is written. Its pieces are headers and small bodies, copied to a scratch buffer, or the
// callers' slices. Whoever has the turn to write reuses it.
type frame struct {
	scratch []byte
	pieces  []piece
	from    int // Where the current scratch piece begins
	size    int // Of the complete pieces

	buffers net.Buffers // The pieces
	writing net.Buffers // A copy of the slice header: writev consumes it
	chunk   []byte      // For writes without writev
}

// piece is body, or scratch[from:to] if body is nil. Scratch moves while it grows, so its pieces become slices only when
// the frame is complete.
type piece struct {
	from, to int
	body     []byte
}

// release drops the callers' slices: the connection may be idle for long.
func (f *frame) release() {
	clear(f.pieces)
	clear(f.buffers)
	f.pieces, f.buffers = f.pieces[:0], f.buffers[:0]
}

func (f *frame) reset() {
	f.release()
	if cap(f.scratch) > scratchKept && len(f.scratch) < cap(f.scratch)/4 {
		f.scratch = nil
	}
	f.scratch, f.from, f.size = f.scratch[:0], 0, 0
}

func (f *frame) endScratch() {
	if to := len(f.scratch); to > f.from {
		f.pieces = append(f.pieces, piece{from: f.from, to: to})
		f.size += to - f.from
		f.from = to
	}
}

// complete ends the frame and writes its length to the first four bytes, which are always in scratch.
func (f *frame) complete() error {
	f.endScratch()
	if f.size-4 > int(sarama.MaxRequestSize) {
		return fmt.Errorf("request of %d bytes is larger than sarama.MaxRequestSize (%d)", f.size-4, sarama.MaxRequestSize)
	}
	binary.BigEndian.PutUint32(f.scratch, uint32(f.size-4))
	for _, p := range f.pieces {
		if p.body == nil {
			p.body = f.scratch[p.from:p.to]
		}
		f.buffers = append(f.buffers, p.body)
	}
	return nil
}

// encode makes f the frame of r. Each partition's header goes into its own Frame.
func (f *frame) encode(r *ProduceRequest, version int16, correlationID int32, clientID string) error {
	f.reset()
	flexible := version >= produceFlexible
	b := append(f.scratch, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, keyProduce)
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlationID))
	// The client id is an int16 string even in header v2.
	b = appendString(b, clientID, false)
	if flexible {
		b = append(b, 0)
	}
	if r.TransactionalID != nil {
		b = appendString(b, *r.TransactionalID, flexible)
	} else if flexible {
		b = append(b, 0)
	} else {
		b = append(b, 0xff, 0xff)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(r.Acks))
	b = binary.BigEndian.AppendUint32(b, uint32(clampMillis(r.Timeout)))

	topics := 0
	for rest := r.Partitions; len(rest) > 0; topics++ {
		rest = rest[topicRun(rest, version):]
	}
	b = appendLen(b, topics, flexible)
	f.scratch = b
	for rest := r.Partitions; len(rest) > 0; {
		n := topicRun(rest, version)
		if err := f.appendTopic(rest[:n], version); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if flexible {
		f.scratch = append(f.scratch, 0)
	}
	return f.complete()
}

// topicRun is how many of the first partitions belong to one topic.
func topicRun(partitions []ProducePartition, version int16) int {
	first := &partitions[0]
	n := 1
	for n < len(partitions) && sameTopic(first, &partitions[n], version) {
		n++
	}
	return n
}

func sameTopic(a, b *ProducePartition, version int16) bool {
	if version >= produceTopicID {
		return a.TopicID == b.TopicID
	}
	return a.Topic == b.Topic
}

func (f *frame) appendTopic(run []ProducePartition, version int16) error {
	flexible := version >= produceFlexible
	if version >= produceTopicID {
		f.scratch = append(f.scratch, run[0].TopicID[:]...)
	} else {
		f.scratch = appendString(f.scratch, run[0].Topic, flexible)
	}
	f.scratch = appendLen(f.scratch, len(run), flexible)
	for i := range run {
		if err := f.appendPartition(&run[i], flexible); err != nil {
			return err
		}
	}
	if flexible {
		f.scratch = append(f.scratch, 0)
	}
	return nil
}

// appendPartition writes p's header and tail around its record batch, and appends its pieces.
func (f *frame) appendPartition(p *ProducePartition, flexible bool) error {
	size, last := len(p.Frame), p.Frame
	for _, last = range p.Rest {
		size += len(last)
	}
	records := size - PartitionRoom - PartitionTail
	if len(p.Frame) < PartitionRoom || len(last) < PartitionTail || records < 0 || records >= math.MaxInt32 {
		return fmt.Errorf("frame of topic %s partition %d is too short or too long: %d bytes",
			p.Topic, p.Partition, size)
	}
	from := PartitionRoom - 8
	if flexible {
		// A compact length is one more than the length, since 0 means null.
		length := uint64(records) + 1
		from = PartitionRoom - uvarintLen(length) - 4
		binary.PutUvarint(p.Frame[from+4:], length)
		last[len(last)-1] = 0 // no tagged fields
	} else {
		binary.BigEndian.PutUint32(p.Frame[from+4:], uint32(records))
	}
	binary.BigEndian.PutUint32(p.Frame[from:], uint32(p.Partition))
	for i := range len(p.Rest) + 1 {
		body := p.Frame[from:]
		if i > 0 {
			body = p.Rest[i-1]
		}
		if i == len(p.Rest) && !flexible {
			body = body[:len(body)-PartitionTail]
		}
		f.appendPiece(body)
	}
	return nil
}

// appendPiece appends a part of the frame. It copies up to smallPiece.
func (f *frame) appendPiece(body []byte) {
	if len(body) <= smallPiece {
		f.scratch = append(f.scratch, body...)
		return
	}
	f.endScratch()
	f.pieces = append(f.pieces, piece{body: body})
	f.size += len(body)
}

// writeTo writes the frame and returns how many bytes the connection took. It calls arm before each write, to set its
// deadline. A write that timed out and has taken bytes goes on: only a connection that takes none within the time-out fails.
func (f *frame) writeTo(nc net.Conn, arm func() error) (written int64, err error) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || len(f.buffers) == 1 {
		return f.writeChunks(nc, arm)
	}
	f.writing = f.buffers
	for {
		if err = arm(); err != nil {
			return written, err
		}
		n, err := f.writing.WriteTo(tcp)
		written += n
		if err == nil || n == 0 || !isTimeout(err) {
			return written, err
		}
	}
}

func (f *frame) writeChunks(nc net.Conn, arm func() error) (written int64, err error) {
	most := mostAtOnce
	if _, ok := nc.(*net.TCPConn); ok {
		most = math.MaxInt
	}
	write := func(p []byte) bool {
		for len(p) > 0 {
			if err = arm(); err != nil {
				return false
			}
			var n int
			n, err = nc.Write(p[:min(len(p), most)])
			written += int64(n)
			p = p[n:]
			if err != nil && (n == 0 || !isTimeout(err)) {
				return false
			}
		}
		return true
	}
	if len(f.buffers) == 1 {
		write(f.buffers[0])
		return written, err
	}
	if f.chunk == nil {
		f.chunk = make([]byte, 0, writeChunk)
	}
	chunk := f.chunk[:0]
	for _, b := range f.buffers {
		for len(b) > 0 {
			if len(chunk) == 0 && len(b) >= writeChunk {
				if !write(b) {
					return written, err
				}
				break
			}
			n := min(len(b), writeChunk-len(chunk))
			chunk = append(chunk, b[:n]...)
			b = b[n:]
			if len(chunk) == writeChunk {
				if !write(chunk) {
					return written, err
				}
				chunk = chunk[:0]
			}
		}
	}
	write(chunk)
	return written, err
}

var errNoPartitions = errors.New("produce request without partitions")

// check refuses requests that the protocol does not allow.
func (r *ProduceRequest) check() error {
	if r.Done == nil {
		return errors.New("produce request without Done")
	}
	if len(r.Partitions) == 0 {
		return errNoPartitions
	}
	if r.TransactionalID != nil && len(*r.TransactionalID) > math.MaxInt16 {
		return fmt.Errorf("transactional id of %d bytes is longer than %d", len(*r.TransactionalID), math.MaxInt16)
	}
	for i := range r.Partitions {
		if n := len(r.Partitions[i].Topic); n > math.MaxInt16 {
			return fmt.Errorf("topic name of %d bytes is longer than %d", n, math.MaxInt16)
		}
	}
	return nil
}

func clampMillis(d time.Duration) int32 {
	return int32(min(max(d.Milliseconds(), 0), math.MaxInt32))
}

func appendString(b []byte, s string, compact bool) []byte {
	if compact {
		b = binary.AppendUvarint(b, uint64(len(s))+1)
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	}
	return append(b, s...)
}

func appendLen(b []byte, n int, compact bool) []byte {
	if compact {
		return binary.AppendUvarint(b, uint64(n)+1)
	}
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
