package sink

import (
	"encoding/binary"
	"fmt"
)

const (
	minProduce, maxProduce = 3, 13

	errUnknownTopicOrPartition = 3
	errCorruptMessage          = 2
	errUnknownTopicID          = 100

	// batchHeader is the fixed part of a record batch v2. Its length field counts from after itself.
	batchHeader     = 61
	batchLengthEnd  = 12
	batchMagicAt    = 16
	batchRecordsAt  = 57
	topicIDVersion  = 13
	flexibleVersion = 9
)

// produce reads one Produce request and writes its answer along the way: both have the same topics and partitions in
// the same order, so that nothing is kept in between. The records themselves are skipped.
func (c *connection) produce(version int16, correlation int32, size int) error {
	if version < minProduce || version > maxProduce {
		return fmt.Errorf("a Produce v%d: the sink knows v%d to v%d", version, minProduce, maxProduce)
	}
	f, flexible := &c.frame, version >= flexibleVersion
	skipString(f, false) // the client id; its length is an int16 in every header version
	f.tags(flexible)
	skipString(f, flexible) // the transactional id
	acks := f.int16()
	f.int32() // the broker's time-out

	out := c.begin(correlation, flexible)
	topics := f.length(flexible, true)
	out = appendLength(out, topics, flexible)
	for range max(topics, 0) {
		if out = c.produceTopic(out, version); f.err != nil {
			return f.err
		}
	}
	f.tags(flexible)
	if f.err != nil {
		return f.err
	}
	if f.left != 0 {
		return fmt.Errorf("a Produce v%d: %d bytes after the last field", version, f.left)
	}
	out = append(out, 0, 0, 0, 0) // not throttled
	if flexible {
		out = append(out, 0)
	}
	c.broker.requests.Add(1)
	c.broker.bytes.Add(int64(size) + 4)
	if acks == 0 {
		return nil
	}
	return c.send(out)
}

// produceTopic reads one topic and appends its part of the answer.
func (c *connection) produceTopic(out []byte, version int16) []byte {
	f, flexible := &c.frame, version >= flexibleVersion
	var to *topic
	failure := int16(errUnknownTopicOrPartition)
	if version >= topicIDVersion {
		id := f.take(16)
		if id == nil {
			return out
		}
		out = append(out, id...)
		if to = c.broker.topics.byID([16]byte(id)); to == nil {
			failure = errUnknownTopicID
		}
	} else {
		n := f.length(flexible, false)
		name := f.take(max(n, 0))
		if f.err != nil {
			return out
		}
		if flexible {
			out = binary.AppendUvarint(out, uint64(n)+1)
		} else {
			out = binary.BigEndian.AppendUint16(out, uint16(n))
		}
		out = append(out, name...)
		to = c.broker.topics.byBytes(name)
	}
	partitions := f.length(flexible, true)
	out = appendLength(out, partitions, flexible)
	for range max(partitions, 0) {
		partition := f.int32()
		code, base := failure, int64(-1)
		records, ok := c.records(f.length(flexible, true))
		f.tags(flexible)
		if f.err != nil {
			return out
		}
		switch {
		case to == nil || partition < 0 || int(partition) >= len(to.next):
		case !ok:
			code = errCorruptMessage
		default:
			code, base = 0, to.next[partition].Add(records)-records
			c.broker.records.Add(records)
		}
		out = appendPartition(out, version, partition, code, base)
	}
	f.tags(flexible)
	if flexible {
		out = append(out, 0)
	}
	return out
}

// records passes over n bytes of record batches and returns how many records their headers tell, and whether they
// are whole record batches of magic 2.
func (c *connection) records(n int) (records int64, ok bool) {
	f := &c.frame
	for n >= batchHeader {
		header := f.take(batchHeader)
		if header == nil {
			return 0, false
		}
		n -= batchHeader
		length := int(int32(binary.BigEndian.Uint32(header[8:]))) + batchLengthEnd - batchHeader
		count := int32(binary.BigEndian.Uint32(header[batchRecordsAt:]))
		if header[batchMagicAt] != 2 || length < 0 || length > n || count < 1 {
			f.skip(n)
			return 0, false
		}
		f.skip(length)
		n -= length
		records += int64(count)
		c.broker.batches.Add(1)
	}
	if n > 0 {
		f.skip(n)
	}
	return records, n == 0 && records > 0
}

func appendPartition(out []byte, version int16, partition int32, code int16, base int64) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(partition))
	out = binary.BigEndian.AppendUint16(out, uint16(code))
	out = binary.BigEndian.AppendUint64(out, uint64(base))
	out = binary.BigEndian.AppendUint64(out, ^uint64(0)) // log append time: the producer's times stand
	if version >= 5 {
		out = binary.BigEndian.AppendUint64(out, 0) // log start offset
	}
	switch {
	case version >= flexibleVersion:
		out = append(out, 1, 0, 0) // no record errors, no message, no tags
	case version >= 8:
		out = append(out, 0, 0, 0, 0, 0xff, 0xff) // no record errors, no message
	}
	return out
}

func appendLength(out []byte, n int, flexible bool) []byte {
	if flexible {
		return binary.AppendUvarint(out, uint64(n+1))
	}
	return binary.BigEndian.AppendUint32(out, uint32(int32(n)))
}

func skipString(f *frame, flexible bool) {
	if n := f.length(flexible, false); n > 0 {
		f.skip(n)
	}
}
