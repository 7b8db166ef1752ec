package produceset

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"sync/atomic"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// ErrFull is what [Batch.Append] returns for a record that has no room under Producer.MaxMessageBytes. The batch is
// unchanged. Append the record to a new one.
var ErrFull = errors.New("the batch is full")

var (
	errSealed   = errors.New("a record for a batch that is sealed already")
	errEmpty    = errors.New("sealing a batch without records")
	errTooLarge = flow.Errorf("the encoded record is larger than a record batch can be, %d bytes: %w", math.MaxInt32,
		sarama.ErrMessageSizeTooLarge)
)

const (
	// room and tail are what a request needs around a batch. In front: the partition's index and the length of its records.
	// Behind: the tagged fields of a flexible request version.
	room = wire.PartitionRoom
	tail = wire.PartitionTail

	// The record batch v2 header (KIP-98), and where its fields start.
	headerSize       = 61
	atBatchLength    = 8
	atLeaderEpoch    = 12
	atMagic          = 16
	atCRC            = 17
	atAttributes     = 21
	atLastDelta      = 23
	atFirstTimestamp = 27
	atMaxTimestamp   = 35
	atProducerID     = 43
	atProducerEpoch  = 51
	atBaseSequence   = 53
	atCount          = 57

	// recordsAt is where the records start in the first piece.
	recordsAt = room + headerSize

	magic            = 2
	transactionalBit = 1 << 4

	// leastRecord is the free space below which a batch is Full: hardly a record is smaller.
	leastRecord = 64
)

// Config says how batches are encoded. It must not change.
type Config struct {
	// Codec is Producer.Compression.
	Codec sarama.CompressionCodec
	// Level is Producer.CompressionLevel, as in sarama: gzip's own levels, zstd's as the reference implementation counts them.
	// Snappy and lz4 have none and ignore it. sarama.CompressionLevelDefault leaves it to the codec.
	Level int
	// MaxBytes is Producer.MaxMessageBytes. It bounds a batch's uncompressed bytes, header included. But a batch always takes
	// one record.
	MaxBytes int
}

// Batch is one record batch of one partition, from its first record until its outcome.
//
// It has one owner at a time, and no method is safe for concurrent use. There is one exception: while the network goroutine
// has the batch, and looks only at what is encoded, the broker producer's loop may call Len, Borrows and TakeRecords.
type Batch struct {
	// Records are what was appended, in order.
	Records []flow.Record

	// Topic, TopicID (KIP-516) and Partition are set by the batch's owner. This package only copies them to parts of the
	// batch, and names them in errors.
	Topic     string
	TopicID   [16]byte
	Partition int32

	cfg    *Config
	limit  int // Config.MaxBytes, or less: see Limit
	hint   int
	charge int64 // sum of the records' Charge

	payload int64 // sum of the records' Size, also of those that were taken

	// The encoded bytes are in pieces. The first one has the room, the header and the first records, the others have more
	// records. The last one is data[start:end], with the tail's room behind it. From Seal on the records may be compressed.
	buf        *buffer  // the last one; nil before the first record
	data       []byte   // of buf
	start, end int      // of the last piece
	closed     []piece  // the others
	usedBefore int      // bytes of the closed pieces
	borrowed   int      // bytes of those that belong to messages
	heldBefore int      // bytes of the buffers before buf
	pieces     [][]byte // scratch space of inPieces

	size           int // uncompressed bytes, the header included
	count          int // of records encoded; Records may be fewer, as they can be taken
	firstTimestamp int64
	maxTimestamp   int64

	summing bool   // sum is kept up to date (crc.go)
	sum     uint32 // CRC-32C of the records, uncompressed
	summed  int    // data[:summed] is in sum

	// Of a batch that AppendBytes fills. appended: its one Record stands for all of them. It has as many holders as will call Release.
	appended bool
	holders  atomic.Int32
	tags     []byte // of the first tagged records: the difference to the one before, as a varint
	tagged   int
	lastTag  int64

	sealed, released bool
	codec            sarama.CompressionCodec // of the sealed bytes; none if compressing was no gain

	// stamped: the header in the first piece has the fields below, and its CRC.
	stamped       bool
	transactional bool
	epoch         int16
	baseSequence  int32
	producerID    int64
}

var batches = sync.Pool{New: func() any { return new(Batch) }}

// New returns an empty batch. It holds no memory before its first record. hint is how many bytes it is expected to reach,
// say those of the partition's last batch, or 0. With a good hint it grows in fewer steps, but never beyond what its records
// were charged with.
func New(cfg *Config, hint int) *Batch {
	b := batches.Get().(*Batch)
	b.cfg, b.limit, b.hint, b.released = cfg, cfg.MaxBytes, hint, false
	b.reset()
	b.summing = cfg.Codec == sarama.CompressionNone && hint >= sumFrom
	return b
}

// Limit bounds the batch's bytes below Config.MaxBytes. It is called before the first record.
func (b *Batch) Limit(bytes int) { b.limit = min(b.limit, bytes) }

// Len is the number of records in Records: 0 once they are taken. The one Record of a batch that AppendBytes has filled stands for all.
func (b *Batch) Len() int {
	if b.appended && len(b.Records) > 0 {
		return b.count
	}
	return len(b.Records)
}

// Count is the number of records that are encoded.
func (b *Batch) Count() int { return b.count }

// Bytes is the uncompressed size of the batch, with its header. MaxBytes bounds it, and Producer.Flush.Bytes counts it.
func (b *Batch) Bytes() int { return b.size }

// Payload is the sum of the Size of all records that were appended. It stays when they are taken.
func (b *Batch) Payload() int64 { return b.payload }

// Charged is what all records that were appended are charged.
func (b *Batch) Charged() flow.Charged {
	return flow.Charged{Charge: b.charge, Size: b.payload, Known: true}
}

// Full tells whether the next record will get ErrFull, unless it is very small.
func (b *Batch) Full() bool { return b.count > 0 && b.size+leastRecord > b.limit }

// Borrows tells whether the batch uses bytes of its messages instead of a copy (borrow.go). These must not change as long as
// the batch may be written. After Seal the answer stays the same.
func (b *Batch) Borrows() bool { return b.borrowed > 0 }

// Copied is Bytes without what is borrowed: the bytes in its buffers, which New's hint is about.
func (b *Batch) Copied() int { return b.size - b.borrowed }

// Codec is that of a sealed batch: none where compressing was no gain.
func (b *Batch) Codec() sarama.CompressionCodec { return b.codec }

// Seal ends the batch: it compresses the records, if that makes them smaller. Different batches may be sealed at the same
// time. A second Seal does nothing. It fails for an empty batch, and for a codec that is unknown or does not work at that
// level; then the batch is not sealed.
func (b *Batch) Seal() error {
	if b.sealed {
		return nil
	}
	if b.count == 0 {
		return errEmpty
	}
	b.sumUp()
	if b.cfg.Codec != sarama.CompressionNone {
		if err := b.compress(); err != nil {
			return err
		}
	}
	b.sealed = true
	return nil
}

// compress replaces the records by what the codec makes of them, if that is less.
func (b *Batch) compress() error {
	pool, err := b.cfg.compressors()
	if err != nil {
		return err
	}
	c := pool.Get().(compressor)
	defer pool.Put(c)
	out, err := c.compress(b.records(), b.size-headerSize)
	if errors.Is(err, errNotSmaller) {
		return nil
	}
	if err != nil {
		return flow.Errorf("compressing a batch of topic %q with %s: %w", b.Topic, b.cfg.Codec, err)
	}
	// out is the compressor's memory. It is copied to a buffer of its size: the batch may have to wait long for its answer,
	// and holds no more than it needs.
	b.moveTo(newBuffer(recordsAt+len(out)+tail, 0, int(b.charge)), out)
	b.codec = b.cfg.Codec
	return nil
}

// SetIdentity says under which producer id, epoch and base sequence the batch is written, and whether it is part of a
// transaction. Without it, all three are -1. It may be called at any time and again; the compressed records stay.
func (b *Batch) SetIdentity(producerID int64, epoch int16, baseSequence int32, transactional bool) {
	b.producerID, b.epoch, b.baseSequence, b.transactional = producerID, epoch, baseSequence, transactional
	b.stamped = false
}

// Identity is what SetIdentity was last called with; -1 each before.
func (b *Batch) Identity() (producerID int64, epoch int16, baseSequence int32) {
	return b.producerID, b.epoch, b.baseSequence
}

// Frame is the sealed batch with what a produce request needs around it: wire.PartitionRoom bytes in front and
// wire.PartitionTail behind, which the caller may write to. A large batch is in several pieces; rest are those after the
// first. It is nil if the batch is not sealed.
//
// The bytes are the batch's. Do not use rest after the next Frame or Split, nor any of them after Release.
func (b *Batch) Frame() (first []byte, rest [][]byte) {
	if !b.sealed {
		return nil, nil
	}
	if !b.stamped { // not before it is sent, so that the CRC is computed once for each identity
		b.stamp()
	}
	pieces := b.inPieces(tail)
	return pieces[0], pieces[1:]
}

// WireBytes is how many bytes the sealed batch takes in a request, with its header; 0 before Seal.
func (b *Batch) WireBytes() int {
	if !b.sealed {
		return 0
	}
	return b.used() - room
}

// stamp writes the header. The CRC covers all that follows it.
func (b *Batch) stamp() {
	p := b.head()[room:]
	attributes := uint16(b.codec)
	if b.transactional {
		attributes |= transactionalBit
	}
	binary.BigEndian.PutUint64(p, 0) // base offset: the broker sets it
	binary.BigEndian.PutUint32(p[atBatchLength:], uint32(b.WireBytes()-atLeaderEpoch))
	binary.BigEndian.PutUint32(p[atLeaderEpoch:], math.MaxUint32) // -1
	p[atMagic] = magic
	binary.BigEndian.PutUint16(p[atAttributes:], attributes)
	binary.BigEndian.PutUint32(p[atLastDelta:], uint32(b.count-1))
	binary.BigEndian.PutUint64(p[atFirstTimestamp:], uint64(b.firstTimestamp))
	binary.BigEndian.PutUint64(p[atMaxTimestamp:], uint64(b.maxTimestamp))
	binary.BigEndian.PutUint64(p[atProducerID:], uint64(b.producerID))
	binary.BigEndian.PutUint16(p[atProducerEpoch:], uint16(b.epoch))
	binary.BigEndian.PutUint32(p[atBaseSequence:], uint32(b.baseSequence))
	binary.BigEndian.PutUint32(p[atCount:], uint32(b.count))
	binary.BigEndian.PutUint32(p[atCRC:], b.checksum(p[:headerSize]))
	b.stamped = true
}

// TakeRecords hands the slice of records to the caller, who gives it back with flow.PutRun. The batch has none any more, but
// keeps what is encoded.
func (b *Batch) TakeRecords() []flow.Record {
	records := b.Records
	b.Records = nil
	return records
}

// reset empties the batch, and gives its buffers and its slice of records back to their pools.
func (b *Batch) reset() {
	b.releasePieces()
	if b.Records != nil {
		flow.PutRun(b.Records)
	}
	clear(b.pieces[:cap(b.pieces)])
	*b = Batch{
		cfg: b.cfg, limit: b.limit, hint: b.hint, released: b.released, closed: b.closed, pieces: b.pieces[:0], tags: b.tags[:0],
		end: recordsAt, summed: recordsAt, size: headerSize,
		producerID: -1, epoch: -1, baseSequence: -1,
	}
}

// Release gives the batch, its buffers and its slice of records back to their pools. Nobody may use the batch or a frame of
// it afterwards. A second Release panics if the batch is still in the pool. If New has given it to somebody else, it takes
// that batch away from them. A batch that AppendBytes has filled is given back by the last of its holders (Hold).
func (b *Batch) Release() {
	if b.appended && b.holders.Add(-1) > 0 {
		return
	}
	if b.released {
		panic("produceset: a batch is released twice")
	}
	b.released = true
	b.reset()
	b.cfg = nil
	batches.Put(b)
}
