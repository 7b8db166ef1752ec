package produceset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"

	"github.com/IBM/sarama"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// errNotSmaller ends a compression that gains nothing: the batch is sent as it is.
var errNotSmaller = errors.New("the batch does not get smaller")

// maxScratch is how much memory for output a pooled compressor keeps.
const maxScratch = 4 << 20

// compressor compresses one batch at a time: pieces of size bytes together. It returns its own memory, which is valid until
// the next call. It has no goroutines and no channels, so that a pooled one can be used in any testing/synctest bubble.
type compressor interface {
	compress(pieces [][]byte, size int) ([]byte, error)
}

// compressorKey is what compressors of one pool have in common.
type compressorKey struct {
	codec  sarama.CompressionCodec
	level  int
	window int // of zstd, in bytes
}

// pools of compressors by compressorKey, shared by all producers of the process.
var pools sync.Map

// Validate returns an error that is or wraps a sarama.ConfigurationError, if the bound is not positive, or Kafka does not
// have the codec, or the codec does not have the level.
func (c *Config) Validate() error {
	if c.MaxBytes <= 0 {
		return sarama.ConfigurationError(fmt.Sprintf("Producer.MaxMessageBytes must be > 0, is %d", c.MaxBytes))
	}
	if c.Codec == sarama.CompressionNone {
		return nil
	}
	_, err := c.compressors()
	return err
}

// compressors returns the pool for the configured codec. If it is new, one compressor is made, to see that it works.
func (c *Config) compressors() (*sync.Pool, error) {
	key := compressorKey{codec: c.Codec}
	switch c.Codec {
	case sarama.CompressionGZIP:
		key.level = c.Level
	case sarama.CompressionZSTD:
		key.level, key.window = c.Level, zstdWindow(c.MaxBytes)
	}
	if pool, ok := pools.Load(key); ok {
		return pool.(*sync.Pool), nil
	}
	first, err := newCompressor(key)
	if err != nil {
		return nil, err
	}
	pool := &sync.Pool{New: func() any {
		c, _ := newCompressor(key) // no error: the first one with this key had none
		return c
	}}
	pool.Put(first)
	kept, _ := pools.LoadOrStore(key, pool)
	return kept.(*sync.Pool), nil
}

// Compress compresses what is no batch, at the codec's default level. ok is false if there is no such codec, or if the result would
// not be smaller.
func Compress(codec sarama.CompressionCodec, data []byte) (out []byte, ok bool) {
	if codec == sarama.CompressionNone || len(data) == 0 {
		return nil, false
	}
	pool, err := (&Config{Codec: codec, Level: sarama.CompressionLevelDefault, MaxBytes: 1}).compressors() // the smallest window
	if err != nil {
		return nil, false
	}
	c := pool.Get().(compressor)
	defer pool.Put(c)
	out, err = c.compress([][]byte{data}, len(data))
	return slices.Clone(out), err == nil
}

func newCompressor(key compressorKey) (compressor, error) {
	switch key.codec {
	case sarama.CompressionGZIP:
		level := key.level
		if level == sarama.CompressionLevelDefault {
			level = gzip.DefaultCompression
		}
		w, err := gzip.NewWriterLevel(io.Discard, level)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", sarama.ConfigurationError(
				fmt.Sprintf("gzip compression does not work with Producer.CompressionLevel %d", key.level)), err)
		}
		return &streamCompressor{encoder: w}, nil
	case sarama.CompressionSnappy:
		return &snappyCompressor{}, nil
	case sarama.CompressionLZ4:
		w := lz4.NewWriter(io.Discard)
		// Small blocks, as in sarama: a larger one gains little and costs every consumer a buffer of its size. No checksum,
		// as in Kafka's own producer, neither here nor for zstd: the batch has its CRC.
		if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)); err != nil {
			return nil, fmt.Errorf("setting up lz4: %w", err)
		}
		return &streamCompressor{encoder: w}, nil
	case sarama.CompressionZSTD:
		return newZstdCompressor(key)
	}
	return nil, sarama.ConfigurationError(fmt.Sprintf("unknown compression codec %d in Producer.Compression", key.codec))
}

// newZstdCompressor makes a zstd encoder that is used as a stream. A stream with concurrency 1 has neither channel nor
// goroutine. EncodeAll has a channel: an encoder made in a testing/synctest bubble could not be used outside.
func newZstdCompressor(key compressorKey) (compressor, error) {
	level := zstd.SpeedDefault
	if key.level != sarama.CompressionLevelDefault {
		level = zstd.EncoderLevelFromZstd(key.level)
	}
	w, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(key.window),
		zstd.WithZeroFrames(true))
	if err != nil {
		return nil, fmt.Errorf("setting up zstd for Producer.CompressionLevel %d: %w", key.level, err)
	}
	return &streamCompressor{encoder: w, sized: w}, nil
}

// zstdWindow is the power of two that covers a batch, from 64 KiB to 8 MiB. A larger window finds no more matches and costs
// memory. Every consumer must be able to read 8 MiB.
func zstdWindow(maxBytes int) int {
	return 1 << min(max(bits.Len(uint(max(maxBytes, 1)-1)), 16), 23)
}

// streamCompressor is a codec that writes to an io.Writer. It stops when its output is not smaller.
type streamCompressor struct {
	encoder interface {
		io.WriteCloser
		Reset(io.Writer)
	}
	sized *zstd.Encoder // zstd only: it fits tables and window to the size, and puts that in the frame
	out   limitedBuffer
}

func (c *streamCompressor) compress(pieces [][]byte, size int) ([]byte, error) {
	c.out.reset(size - 1)
	if c.sized != nil {
		c.sized.ResetContentSize(&c.out, int64(size))
	} else {
		c.encoder.Reset(&c.out)
	}
	for _, src := range pieces {
		if _, err := c.encoder.Write(src); err != nil {
			return nil, err
		}
	}
	if err := c.encoder.Close(); err != nil {
		return nil, err
	}
	return c.out.bytes, nil
}

// limitedBuffer collects up to limit bytes. A write beyond that gets errNotSmaller.
type limitedBuffer struct {
	bytes []byte
	limit int
}

func (b *limitedBuffer) reset(limit int) {
	b.limit = limit
	b.bytes = b.bytes[:0]
	if cap(b.bytes) > maxScratch {
		b.bytes = nil
	}
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if len(b.bytes)+len(p) > b.limit {
		return 0, errNotSmaller
	}
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

// snappyCompressor writes snappy blocks of 32 KiB in xerial's framing. Kafka's own clients write and expect it. Only some
// clients read bare snappy.
type snappyCompressor struct{ out []byte }

const (
	xerialHeader    = 16
	xerialBlock     = 32 << 10
	xerialBlockHead = 4
)

func (c *snappyCompressor) compress(pieces [][]byte, size int) ([]byte, error) {
	blocks := size/xerialBlock + len(pieces)
	bound := xerialHeader + blocks*(xerialBlockHead+s2.MaxEncodedLen(xerialBlock))
	if cap(c.out) < bound || cap(c.out) > max(maxScratch, bound) {
		c.out = make([]byte, 0, bound)
	}
	c.out = c.out[:0]
	for _, src := range pieces { // Encode appends; each piece begins a new block
		c.out = xerial.Encode(c.out, src)
	}
	if len(c.out) >= size {
		return nil, errNotSmaller
	}
	return c.out, nil
}

// decompress undoes a compression of size bytes. Only splits need it; they are rare, so no decoder is kept.
func decompress(codec sarama.CompressionCodec, src []byte, size int) (out []byte, err error) {
	var r io.Reader
	switch codec {
	case sarama.CompressionNone:
		return src, nil
	case sarama.CompressionSnappy:
		out, err = xerial.Decode(src)
	case sarama.CompressionGZIP:
		r, err = gzip.NewReader(bytes.NewReader(src))
	case sarama.CompressionLZ4:
		r = lz4.NewReader(bytes.NewReader(src))
	case sarama.CompressionZSTD:
		var d *zstd.Decoder
		if d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1)); err == nil {
			defer d.Close()
			out, err = d.DecodeAll(src, make([]byte, 0, size))
		}
	}
	if err == nil && r != nil {
		out = make([]byte, size)
		_, err = io.ReadFull(r, out)
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing a batch with %s: %w", codec, err)
	}
	if len(out) != size {
		return nil, fmt.Errorf("decompressing a batch with %s: %d bytes where %d were compressed", codec, len(out), size)
	}
	return out, nil
}
