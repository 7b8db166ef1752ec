package produceset

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// ErrFull is what [Batch.Append] returns for a record that the batch has no room for under Producer.MaxMessageBytes. The
// batch is unchanged: close it, and append the record to a new one.
var ErrFull = errors.New("the batch is full")

var (
	errSealed   = errors.New("a record for a batch that is sealed already")
	errEmpty    = errors.New("sealing a batch without records")
	errTooLarge = flow.Errorf("the encoded record is larger than a record batch can be, %d bytes: %w", math.MaxInt32,
		sarama.ErrMessageSizeTooLarge)
)

const (
	// room and tail are what the frame needs around a batch: in front, the partition index and the length of its records;
	// behind, the tagged fields of a flexible request version.
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

	// recordsAt is where the records start in the first chunk.
	recordsAt = room + headerSize

	magic            = 2
	transactionalBit = 1 << 4

	// leastRecord is what a batch that is not Full has free at least: with less, hardly a record fits.
	leastRecord = 64
)

// Config is what the encoding needs to know; made once a producer from the sarama.Config, and not changed afterwards.
type Config struct {
	// Codec is Producer.Compression.
	Codec sarama.CompressionCodec
	// Level is Producer.CompressionLevel, with sarama's meaning: gzip's own levels, zstd's as the reference implementation
	// counts them; snappy and lz4 have none and ignore it. sarama.CompressionLevelDefault leaves it to the codec.
	Level int
	// MaxBytes is Producer.MaxMessageBytes: it bounds a batch's uncompressed bytes, header included, but a batch always
	// takes one record.
	MaxBytes int
}

// Batch is one record batch of one partition, from its first record until its fate is decided. It has one owner at a
// time: the broker producer's loop while it is open; from the bridge on, the network side, which seals, stamps and writes
// it; then whoever decides its fate, who releases it when the network has let go of the frame. No method is safe for
// concurrent use, but the loop may call Len, Borrows and TakeRecords while the network side has the batch, which looks at
// what is encoded alone.
type Batch struct {
	// Records are in the order they were appended in, by Append and AppendRun.
	Records []flow.Record

	// Topic, TopicID (KIP-516) and Partition are set by the batch's owner and not looked at here. Split copies them to both
	// halves.
	Topic     string
	TopicID   [16]byte
	Partition int32

	cfg    *Config
	limit  int // Config.MaxBytes, or less: see Limit
	hint   int
	charge int64 // sum of the records' Charge

	// What is encoded lies in pieces: the room for the frame, the header and the first records in the first one, more
	// records in the others, and the tail's room behind those in the last. buf is the last buffer, data its bytes; the last
	// piece begins at start, and the next record goes to end. buf is nil before the first record. From Seal on the records
	// may be compressed.
	buf        *buffer
	data       []byte
	start, end int
	closed     []piece  // before the last
	usedBefore int      // bytes of the closed pieces
	borrowed   int      // those of them that are messages' own
	heldBefore int      // bytes of the buffers before buf
	pieces     [][]byte // of inPieces, to be used again

	size           int // uncompressed bytes, the header included
	count          int // records encoded; Records may have been taken
	firstTimestamp int64
	maxTimestamp   int64

	summing bool   // sum is kept up to date
	sum     uint32 // CRC-32C of the records, uncompressed
	summed  int    // data[:summed] is in sum

	sealed, released bool
	codec            sarama.CompressionCodec // of the sealed bytes: none where compressing was no gain

	// stamped is false while the header in the first piece lacks what follows, or its CRC.
	stamped       bool
	transactional bool
	epoch         int16
	baseSequence  int32
	producerID    int64
}

var batches = sync.Pool{New: func() any { return new(Batch) }}

// New returns an empty batch. It holds no memory before its first record. hint is how many bytes it is expected to reach
// (what the lane's last batch held, say, or 0): it then grows in fewer steps, though never beyond what its records
// were charged with, those that are about to follow included (see AppendRun). cfg is kept and must not change.
func New(cfg *Config, hint int) *Batch {
	b := batches.Get().(*Batch)
	b.cfg, b.limit, b.hint, b.released = cfg, cfg.MaxBytes, hint, false
	b.reset()
	b.summing = cfg.Codec == sarama.CompressionNone && hint >= sumFrom
	return b
}

// Limit bounds the batch's bytes below Config.MaxBytes. It is called before the first record.
func (b *Batch) Limit(bytes int) { b.limit = min(b.limit, bytes) }

// Len is the number of records in Records: 0 once they are taken.
func (b *Batch) Len() int { return len(b.Records) }

// Bytes is the size of the batch uncompressed, with its header: what MaxBytes bounds and Producer.Flush.Bytes counts.
func (b *Batch) Bytes() int { return b.size }

// Full is true when the next record, unless it is very small, will get ErrFull.
func (b *Batch) Full() bool { return b.count > 0 && b.size+leastRecord > b.limit }

// Borrows tells whether the batch holds bytes of its messages, in place of a copy: then these must not change as long as it
// may still be written. It does not change after Seal.
func (b *Batch) Borrows() bool { return b.borrowed > 0 }

// Copied is Bytes without what is borrowed: what its buffers hold, and what New's hint is about.
func (b *Batch) Copied() int { return b.size - b.borrowed }

// Codec is that of a sealed batch: none where compressing was no gain.
func (b *Batch) Codec() sarama.CompressionCodec { return b.codec }

// Seal ends the batch: it compresses the records where that makes them smaller, and gives what it does not need any more
// back to its pools. It takes no identity; until SetIdentity gives one, producer id, epoch and base sequence are -1. A
// second Seal does nothing. Batches may be sealed in parallel, one goroutine a batch. Errors: the batch is empty, or the
// codec is unknown or does not work at that level; it is unsealed then.
func (b *Batch) Seal() error {
	if b.sealed {
		return nil
	}
	if b.count == 0 {
		return errEmpty
	}
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
	// out is the compressor's own memory. Copied to a buffer of its size, the batch holds no more than it needs, however
	// long it has to wait for its answer.
	b.moveTo(newBuffer(recordsAt+len(out)+tail, 0, int(b.charge)), out)
	b.codec = b.cfg.Codec
	return nil
}

// SetIdentity says under which producer id, epoch and base sequence the batch is written, and whether it is part of a
// transaction. It may be called again for a renumbering, after Seal or before; the records, compressed as they are, stay.
func (b *Batch) SetIdentity(producerID int64, epoch int16, baseSequence int32, transactional bool) {
	b.producerID, b.epoch, b.baseSequence, b.transactional = producerID, epoch, baseSequence, transactional
	b.stamped = false
}

// Identity is what SetIdentity was last called with; -1 each before.
func (b *Batch) Identity() (producerID int64, epoch int16, baseSequence int32) {
	return b.producerID, b.epoch, b.baseSequence
}

// Frame is the sealed batch with what a produce request needs around it: wire.PartitionRoom bytes in front and
// wire.PartitionTail behind, which the caller may write to. A large batch comes in several pieces: rest are those after the
// first. The header and its CRC are brought up to date first, once for each identity, so that a CRC over all the bytes is
// computed once for what is really sent. It is the batch's memory: rest is not to be used after the next Frame or Split, and
// nothing of it after Release. Nil if the batch is not sealed.
func (b *Batch) Frame() (first []byte, rest [][]byte) {
	if !b.sealed {
		return nil, nil
	}
	if !b.stamped {
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

// stamp writes the header. The CRC covers all that follows it: the length and the leader epoch, which a broker sets
// itself, stand before.
func (b *Batch) stamp() {
	p := b.head()[room:]
	attributes := uint16(b.codec)
	if b.transactional {
		attributes |= transactionalBit
	}
	binary.BigEndian.PutUint64(p, 0) // base offset: the broker's to give
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

// TakeRecords hands the slice of records to the caller, who gives it back with flow.PutRun; the batch keeps none of them.
// What is encoded stays.
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
		cfg: b.cfg, limit: b.limit, hint: b.hint, released: b.released, closed: b.closed, pieces: b.pieces[:0],
		end: recordsAt, summed: recordsAt, size: headerSize,
		producerID: -1, epoch: -1, baseSequence: -1,
	}
}

// Release gives the batch, its buffers and its slice of records back to their pools. Its owner calls it, once: nobody may
// use the batch or a frame of it afterwards. A second Release panics while the batch is in the pool; once New has given it
// to somebody else it would take theirs away, which is why it is never tolerated.
func (b *Batch) Release() {
	if b.released {
		panic("produceset: a batch is released twice")
	}
	b.released = true
	b.reset()
	b.cfg = nil
	batches.Put(b)
}
