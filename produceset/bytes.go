package produceset

import (
	"encoding/binary"
	"iter"
	"slices"
	"unsafe"

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
		if b.end-b.summed >= sumStep {
			b.sumUp()
		}
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
	return 0, nil
}

// sumStep is how many bytes are summed at a time (crc.go): many cost less than few, and they should still be in the cache.
const sumStep = 8 << 10

// Tag gives the last record a number, which All tells. It is not sent. Records before it that have none have 0, or that of the one before
// them.
func (b *Batch) Tag(tag int64) {
	for ; b.tagged < b.count-1; b.tagged++ {
		b.tags = append(b.tags, 0)
	}
	b.addTag(tag)
}

func (b *Batch) addTag(tag int64) {
	b.tags = binary.AppendVarint(b.tags, tag-b.lastTag)
	b.lastTag = tag
	b.tagged++
}

// tagReader reads the tags of a batch, in order.
type tagReader struct {
	rest []byte
	last int64
}

func (r *tagReader) next() int64 {
	if len(r.rest) > 0 {
		delta, size := binary.Varint(r.rest)
		r.rest, r.last = r.rest[size:], r.last+delta
	}
	return r.last
}

// takeTag gives the next record of a part its tag, if the whole has any.
func (b *Batch) takeTag(tags *tagReader, whole *Batch) {
	if whole.tagged > 0 {
		b.addTag(tags.next())
	}
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

// Carry makes rec the one Record of the batch, which stands for all of its records. The pipeline holds the batch from then on.
func (b *Batch) Carry(rec flow.Record) {
	b.Hold()
	b.Records = append(flow.GetRun(1), rec)
	b.charge, b.payload = int64(rec.Charge), int64(rec.Size)
}

// emptyPart returns a batch for a part of the records of one that AppendBytes has filled.
func (b *Batch) emptyPart(charge int64) *Batch {
	part := New(b.cfg, b.size/2)
	part.charge = charge
	part.Topic, part.TopicID, part.Partition = b.Topic, b.TopicID, b.Partition
	part.appended = true
	return part
}

// divideRecord gives the parts of a batch their Records, each with its share of the memory. The parts have two holders: the receiver's
// holder, and who gets the outcome.
func (b *Batch) divideRecord(parts ...*Batch) {
	b.holders.Store(1) // nobody is told of the whole
	rec := b.Records[0]
	left := rec.Size
	for i, part := range parts {
		one, last := rec, i == len(parts)-1
		if one.Size = left; !last {
			one.Size = rec.Size / int32(len(parts))
		}
		left -= one.Size
		one.Charge = one.Size
		divided := rec.Completion.Divide(part, last)
		one.Msg, one.Completion = divided.Msg, divided.Completion
		part.Hold()
		part.Carry(one)
	}
}

// Appended tells whether AppendBytes has filled the batch.
func (b *Batch) Appended() bool { return b.appended }

// Sift is Without for a batch that AppendBytes has filled. Each record that is out comes back in a batch of its own, whose one Record
// waits for its outcome.
func (b *Batch) Sift(out func(i int) bool) (rest *Batch, sifted []*Batch, err error) {
	if b.Len() != b.count {
		return nil, nil, errTaken
	}
	raw, err := decompress(b.codec, slices.Concat(b.records()...), b.size-headerSize)
	if err != nil {
		return nil, nil, err
	}
	rest = b.emptyPart(b.charge)
	parts, tags := []*Batch{rest}, tagReader{rest: b.tags}
	for i := 0; i < b.count && err == nil; i++ {
		to := rest
		if out(i) {
			to = b.emptyPart(0)
			parts = append(parts, to)
		}
		if raw, err = to.take(raw, 1, b.firstTimestamp); err == nil {
			to.takeTag(&tags, b)
		}
	}
	if err != nil {
		for _, part := range parts {
			part.abandon()
		}
		return nil, nil, err
	}
	b.divideRecord(parts...)
	b.Release()
	return rest, parts[1:], nil
}

// abandon gives back a part that has no holders yet.
func (b *Batch) abandon() {
	b.appended = false
	b.Release()
}

// BytesBound is RecordBound of a record of bytes.
func BytesBound(key, value []byte, headers []sarama.RecordHeader) int {
	size := maxRecordOverhead + len(key) + len(value)
	for i := range headers {
		size += len(headers[i].Key) + len(headers[i].Value) + maxHeaderOverhead
	}
	return size
}

// Encoded is what the encoders of a message give.
func Encoded(msg *sarama.ProducerMessage) (key, value []byte, err error) {
	k, v, err := encodeOwn(msg, -1)
	return k.bytes(), v.bytes(), err
}

func (f payload) bytes() []byte {
	switch {
	case f.length < 0:
		return nil
	case f.length == 0:
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(f.view), f.length) // never written to
}

// EncodedRecord is a record as it is in a batch.
type EncodedRecord struct {
	Key, Value []byte
	Headers    []sarama.RecordHeader
	Timestamp  int64
	Tag        int64
}

// All reads the records of the batch, in order. They are views into it, or into a decompressed copy. An error ends it.
func (b *Batch) All() iter.Seq2[EncodedRecord, error] {
	return func(yield func(EncodedRecord, error) bool) {
		pieces := b.records()
		src := pieces[0]
		if len(pieces) > 1 {
			src = slices.Concat(pieces...)
		}
		raw, err := decompress(b.codec, src, b.size-headerSize)
		tags := tagReader{rest: b.tags}
		for n := 0; err == nil && n < b.count; n++ {
			delta, rest, following, ok := cutRecord(raw)
			rec := EncodedRecord{Timestamp: b.firstTimestamp + delta, Tag: tags.next()}
			if !ok || !rec.read(rest) {
				err = errCorrupt
				break
			}
			if !yield(rec, nil) {
				return
			}
			raw = following
		}
		if err != nil {
			yield(EncodedRecord{}, err)
		}
	}
}

// read takes key, value and headers from what is behind a record's head.
func (r *EncodedRecord) read(p []byte) (ok bool) {
	if r.Key, p, ok = cutBytes(p); !ok {
		return false
	}
	if r.Value, p, ok = cutBytes(p); !ok {
		return false
	}
	n, size := binary.Varint(p)
	if size <= 0 || n < 0 || n > int64(len(p)) {
		return false
	}
	p = p[size:]
	for range n {
		var h sarama.RecordHeader
		if h.Key, p, ok = cutBytes(p); !ok {
			return false
		}
		if h.Value, p, ok = cutBytes(p); !ok {
			return false
		}
		r.Headers = append(r.Headers, h)
	}
	return len(p) == 0
}

// cutBytes takes a length and as many bytes; nil for -1.
func cutBytes(p []byte) (b, rest []byte, ok bool) {
	n, size := binary.Varint(p)
	if size <= 0 || n > int64(len(p)-size) {
		return nil, nil, false
	}
	p = p[size:]
	if n < 0 {
		return nil, p, true
	}
	return p[:n:n], p[n:], true
}
