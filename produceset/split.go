package produceset

import (
	"errors"
	"slices"

	"github.com/sluice-kafka/sluice/internal/flow"
)

var (
	errSplitOne = errors.New("a batch of fewer than two records can't be split")
	errTaken    = errors.New("the records of a batch to be divided were taken")
	errCorrupt  = errors.New("a batch to be split does not hold the records that were appended to it")
)

// Split divides a batch that a broker finds too large (MESSAGE_TOO_LARGE, KIP-126) into two open batches without identity:
// the first half of the records, and the rest. They have to be sealed anew. The batch may be sealed or not. Encoders are not
// called again. The batch is released, and its Records belong to the halves.
//
// On an error the batch is as it was. A batch of fewer than two records always gets one.
func (b *Batch) Split() (left, right *Batch, err error) {
	if b.count < 2 || b.Len() != b.count {
		return nil, nil, errSplitOne
	}
	raw, err := decompress(b.codec, slices.Concat(b.records()...), b.size-headerSize)
	if err != nil {
		return nil, nil, err
	}
	half := b.count / 2
	if b.appended {
		left, right = b.emptyPart(b.charge/2), b.emptyPart(b.charge/2)
	} else {
		left, right = b.emptyFor(b.Records[:half]), b.emptyFor(b.Records[half:])
	}
	rest, err := left.take(raw, half, b.firstTimestamp)
	if err == nil {
		rest, err = right.take(rest, b.count-half, b.firstTimestamp)
	}
	if err == nil && len(rest) > 0 {
		err = errCorrupt
	}
	if err != nil {
		left.abandon()
		right.abandon()
		return nil, nil, err
	}
	if b.appended {
		tags := tagReader{rest: b.tags}
		for i := range b.count {
			if i < half {
				left.takeTag(&tags, b)
			} else {
				right.takeTag(&tags, b)
			}
		}
		b.divideRecord(left, right)
	}
	b.Release()
	return left, right, nil
}

// Without returns a batch of the records but those that are out, for a broker that names some as invalid (KIP-467). Like
// Split it works on the encoded bytes, and releases the receiver; on an error that is left as it was. At least one record
// must be left.
func (b *Batch) Without(out func(i int) bool) (*Batch, error) {
	if len(b.Records) != b.count {
		return nil, errTaken
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
	rest := b.emptyFor(left)
	for i := range b.count {
		if !out(i) {
			raw, err = rest.take(raw, 1, b.firstTimestamp)
		} else if _, _, next, ok := cutRecord(raw); ok {
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

// emptyFor returns a batch for some of the records, with their charge, and nothing encoded yet.
func (b *Batch) emptyFor(records []flow.Record) *Batch {
	h := New(b.cfg, b.size/2)
	h.Topic, h.TopicID, h.Partition = b.Topic, b.TopicID, b.Partition
	h.Records = flow.CopyRun(records)
	h.payload = sumSizes(records)
	for i := range records {
		h.charge += int64(records[i].Charge)
	}
	return h
}

// take moves the first n encoded records of raw to the batch and returns the rest of raw. Timestamps in raw count from base.
func (b *Batch) take(raw []byte, n int, base int64) ([]byte, error) {
	for range n {
		timestampDelta, rest, following, ok := cutRecord(raw)
		if !ok {
			return nil, errCorrupt
		}
		if err := b.appendEncoded(base+timestampDelta, rest); err != nil {
			return nil, err
		}
		raw = following
	}
	return raw, nil
}

// appendEncoded adds a record of which all behind its head is encoded already. Records and charge have it before.
func (b *Batch) appendEncoded(timestamp int64, rest []byte) error {
	head := b.nextHead(timestamp)
	length, size := head.sizes(len(rest))
	if b.end+size+tail > len(b.data) {
		if err := b.grow(size, b.charge); err != nil {
			return err
		}
	}
	i := head.put(b.data, b.end, length)
	b.end = i + copy(b.data[i:], rest)
	b.sumUp()
	b.added(size, timestamp)
	return nil
}
