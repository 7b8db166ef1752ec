package produceset

import (
	"encoding/binary"
	"math/bits"

	"github.com/IBM/sarama"
)

// A record's layout (KIP-98). All integers are varints, zigzag encoded.
//
//	length              of all that follows
//	attributes          a byte, 0
//	timestamp delta     from the batch's first timestamp
//	offset delta        from the batch's base offset
//	key                 its length, -1 for null, and its bytes
//	value               likewise
//	headers             their number; of each, key and value as above
//
// The first four are the head: they depend on the record's place in its batch, and are written anew when a batch is split.
//
// Everything about the layout is in this file, but that Batch.encode has it a second time: calls for each record would cost
// too much there.

// recordHead is the head of a record, without its length.
type recordHead struct {
	timestampDelta, offsetDelta uint64 // zigzag encoded
}

// nextHead is the head of the next record of the batch. The first record's timestamp becomes the batch's.
func (b *Batch) nextHead(timestamp int64) recordHead {
	if b.count == 0 {
		b.firstTimestamp, b.maxTimestamp = timestamp, timestamp
	}
	return recordHead{zigzag(timestamp - b.firstTimestamp), zigzag(int64(b.count))}
}

// sizes returns the length that a record with rest bytes behind its head has in its head, and its whole size.
func (h recordHead) sizes(rest int) (length, size int) {
	length = 1 + varintSize(h.timestampDelta) + varintSize(h.offsetDelta) + rest
	return length, varintSize(zigzag(int64(length))) + length
}

// put writes the head at p[i:], and returns the index behind it.
func (h recordHead) put(p []byte, i, length int) int {
	i = putVarint(p, i, zigzag(int64(length)))
	p[i] = 0
	i = putVarint(p, i+1, h.timestampDelta)
	return putVarint(p, i, h.offsetDelta)
}

// cutRecord reads the head of the first record in raw. It returns what is behind the head, and the records that follow.
func cutRecord(raw []byte) (timestampDelta int64, rest, following []byte, ok bool) {
	length, n := binary.Varint(raw)
	if n <= 0 || length < 1 || length > int64(len(raw)-n) {
		return 0, nil, nil, false
	}
	rest, following = raw[n+1:n+int(length)], raw[n+int(length):]
	timestampDelta, n = binary.Varint(rest)
	if n <= 0 {
		return 0, nil, nil, false
	}
	rest = rest[n:]
	if _, n = binary.Varint(rest); n <= 0 { // the offset delta
		return 0, nil, nil, false
	}
	return timestampDelta, rest[n:], following, true
}

// size is the encoded size of all that is behind a record's head.
func (f *fields) size() int {
	return f.key.size() + f.value.size() + headersSize(f.headers)
}

func (f *payload) size() int { return varintSize(zigzag(int64(f.length))) + len(f.view) }

// putLength writes the length of a key or a value at p[i:], and returns the index behind it.
func (f *payload) putLength(p []byte, i int) int { return putVarint(p, i, zigzag(int64(f.length))) }

// headersSize is the encoded size of a record's headers, their number included.
func headersSize(headers []sarama.RecordHeader) int {
	size := varintSize(zigzag(int64(len(headers))))
	for i := range headers {
		h := &headers[i]
		size += varintSize(zigzag(int64(len(h.Key)))) + len(h.Key)
		size += varintSize(zigzag(int64(headerValueLength(h)))) + len(h.Value)
	}
	return size
}

// putHeaders writes a record's headers, their number first, at p[i:], and returns the index behind them. A nil value is
// null. A nil key is written as an empty one: a broker would refuse the whole batch for a null key.
func putHeaders(p []byte, i int, headers []sarama.RecordHeader) int {
	i = putVarint(p, i, zigzag(int64(len(headers))))
	for j := range headers {
		h := &headers[j]
		i = putVarint(p, i, zigzag(int64(len(h.Key))))
		i += copy(p[i:], h.Key)
		i = putVarint(p, i, zigzag(int64(headerValueLength(h))))
		i += copy(p[i:], h.Value)
	}
	return i
}

func headerValueLength(h *sarama.RecordHeader) int {
	if h.Value == nil {
		return -1
	}
	return len(h.Value)
}

// zigzag maps signed to unsigned integers so that small negative ones stay short.
func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

// varintSize is the number of bytes that u takes, seven bits a byte: (9*bits+64)/64 is bits/7 rounded up, for 0 to 64 bits,
// without a branch.
func varintSize(u uint64) int { return (9*bits.Len64(u) + 64) / 64 }

// putVarint writes u at p[i:] and returns the index behind it. It is short enough to be inlined for a single byte, which
// most take.
func putVarint(p []byte, i int, u uint64) int {
	if u < 0x80 {
		p[i] = byte(u)
		return i + 1
	}
	return putLongVarint(p, i, u)
}

func putLongVarint(p []byte, i int, u uint64) int {
	for u >= 0x80 {
		p[i] = byte(u) | 0x80
		u >>= 7
		i++
	}
	p[i] = byte(u)
	return i + 1
}
