package produceset

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/sluice-kafka/sluice/internal/flow"
)

var (
	errSplitOne = errors.New("a batch of fewer than two records can't be split")
	errCorrupt  = errors.New("a batch to be split does not hold the records that were appended to it")
)

// Split divides the batch in two, for a broker that finds it too large (MESSAGE_TOO_LARGE, KIP-126): the first half of the
// records and the rest, in order, each an open batch without identity, to be sealed anew. It works on the encoded bytes,
// sealed or not: no encoder of the user's is called again. The receiver is released, and its Records belong to the halves.
// On an error, for a batch of fewer than two records above all, it is left as it was.
func (b *Batch) Split() (left, right *Batch, err error) {
	if b.count < 2 || len(b.Records) != b.count {
		return nil, nil, errSplitOne
	}
	raw, err := decompress(b.codec, slices.Concat(b.records()...), b.size-headerSize)
	if err != nil {
		return nil, nil, err
	}
	half := b.count / 2
	left, right = b.half(b.Records[:half]), b.half(b.Records[half:])
	rest, err := left.take(raw, half, b.firstTimestamp)
	if err == nil {
		rest, err = right.take(rest, b.count-half, b.firstTimestamp)
	}
	if err == nil && len(rest) > 0 {
		err = errCorrupt
	}
	if err != nil {
		left.Release()
		right.Release()
		return nil, nil, err
	}
	b.Release()
	return left, right, nil
}

// Without returns a batch of the records but those that are out, for a broker that names some as invalid (KIP-467). Like
// Split it works on the encoded bytes, and releases the receiver; on an error that is left as it was. At least one record
// must be left.
func (b *Batch) Without(out func(i int) bool) (*Batch, error) {
	if len(b.Records) != b.count {
		return nil, errSplitOne
	}
	raw, err := decompress(b.codec, slices.Concat(b.records()...), b.size-headerSize)
	if err != nil {
		return nil, err
	}
	left := make([]flow.Record, 0, b.count)
	for i, rec := range b.Records {
		if !out(i) {
			left = append(left, rec)
		}
	}
	rest := b.half(left)
	for i := range b.count {
		if !out(i) {
			raw, err = rest.take(raw, 1, b.firstTimestamp)
		} else if _, next, ok := cutRecord(raw); ok {
			raw = next
		} else {
			err = errCorrupt
		}
		if err != nil {
			rest.Release()
			return nil, err
		}
	}
	b.Release()
	return rest, nil
}

// half returns a batch for some of the records, with their charge, and nothing encoded yet.
func (b *Batch) half(records []flow.Record) *Batch {
	h := New(b.cfg, b.size/2)
	h.Topic, h.TopicID, h.Partition = b.Topic, b.TopicID, b.Partition
	h.Records = flow.CopyRun(records)
	for i := range records {
		h.charge += int64(records[i].Charge)
	}
	return h
}

// take moves the first n encoded records of raw to the batch, their deltas rebased to its own first record, and returns
// what is left of raw. base is the timestamp that the deltas in raw count from.
func (b *Batch) take(raw []byte, n int, base int64) (rest []byte, err error) {
	for range n {
		body, next, ok := cutRecord(raw)
		if !ok {
			return nil, errCorrupt
		}
		delta, width := binary.Varint(body[1:])
		_, offsetWidth := binary.Varint(body[1+max(width, 0):])
		if width <= 0 || offsetWidth <= 0 {
			return nil, errCorrupt
		}
		if err := b.appendEncoded(base+delta, body[1+width+offsetWidth:]); err != nil {
			return nil, err
		}
		raw = next
	}
	return raw, nil
}

// cutRecord returns the body of the first record in raw, at least its attributes, and what follows it.
func cutRecord(raw []byte) (body, rest []byte, ok bool) {
	length, width := binary.Varint(raw)
	if width <= 0 || length < 1 || length > int64(len(raw)-width) {
		return nil, nil, false
	}
	end := width + int(length)
	return raw[width:end], raw[end:], true
}

// appendEncoded adds a record whose key, value and headers are encoded already. Its Record is in Records before.
func (b *Batch) appendEncoded(timestamp int64, fields []byte) error {
	if b.count == 0 {
		b.firstTimestamp, b.maxTimestamp = timestamp, timestamp
	}
	timestampDelta, offsetDelta := zigzag(timestamp-b.firstTimestamp), zigzag(int64(b.count))
	body := 1 + varintSize(timestampDelta) + varintSize(offsetDelta) + len(fields)
	bodyLength := zigzag(int64(body))
	size := varintSize(bodyLength) + body
	if b.end+size+tail > len(b.data) {
		if err := b.grow(size, b.charge); err != nil {
			return err
		}
	}
	p := b.data[b.end : b.end+size]
	i := putVarint(p, 0, bodyLength)
	p[i] = 0
	i = putVarint(p, i+1, timestampDelta)
	i = putVarint(p, i, offsetDelta)
	copy(p[i:], fields)
	b.end += size
	b.sumUp()
	b.size += size
	b.count++
	b.maxTimestamp = max(b.maxTimestamp, timestamp)
	return nil
}
