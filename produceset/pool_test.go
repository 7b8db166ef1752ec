package produceset

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

func TestBufferClasses(t *testing.T) {
	for _, need := range []int{1, 71, 144, 145, 272, 273, 1 << 20, 1<<20 + 16, 1<<20 + 17, 4<<20 + 16} {
		class := classOf(need)
		if class >= classes || classSize(class) < need || class > 0 && classSize(class-1) >= need {
			t.Errorf("%d bytes: class %d of %d bytes", need, class, classSize(class))
		}
	}
	if classOf(4<<20+17) < classes {
		t.Error("a class for what is too large for one")
	}
	for limit, want := range map[int]int{
		0: -1, 143: -1, 144: 0, 271: 0, 272: 1, 4<<20 + 15: classes - 2, 4<<20 + 16: classes - 1, 1 << 40: classes - 1,
	} {
		if got := classWithin(limit); got != want {
			t.Errorf("within %d bytes: class %d, want %d", limit, got, want)
		}
	}
}

func TestNewBuffer(t *testing.T) {
	tests := map[string]struct{ need, hint, charge, want int }{
		"smallest class that holds it":       {300, 0, 10_000, 512 + 16},
		"no charge, no more than needed":     {300, 0, 0, 300},
		"a page where the charge allows":     {100_000, 0, 104_096, 102_400},
		"exact where it does not":            {100_000, 0, 100_001, 100_000},
		"the hint's class":                   {300, 60_000, 1 << 20, 65536 + 16},
		"the hint no further than charged":   {300, 60_000, 5000, 4096 + 16},
		"a small hint":                       {3000, 300, 1 << 20, 4096 + 16},
		"a hint beyond all classes":          {300, 1 << 30, 1 << 30, 4<<20 + 16},
		"larger than all classes":            {5 << 20, 0, 1 << 30, 5 << 20},
		"larger than all classes, and a bit": {5<<20 + 1, 0, 1 << 30, 5<<20 + 4096},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			buf := newBuffer(test.need, test.hint, test.charge)
			if len(buf.data) != test.want {
				t.Fatalf("%d bytes, want %d", len(buf.data), test.want)
			}
			buf.release()
		})
	}
}

// The memory budget relies on this: a batch never holds more than the sum of its records' BufferBounds, whatever is
// appended, whatever the hint, and however it is split.
func TestHeldWithinBufferBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	value := make([]byte, 200_000)
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionLZ4} {
		for range 60 {
			cfg := config(1 << rng.IntN(22))
			cfg.Codec = codec
			b := New(cfg, rng.IntN(2<<20))
			check := func(when string, b *Batch) {
				t.Helper()
				var bounds int64
				for i := range b.Records {
					bounds += BufferBound(RecordBound(b.Records[i].Msg))
				}
				if int64(b.held()) > bounds {
					t.Fatalf("%s, %d records: %d bytes held, bounds of %d", when, b.Len(), b.held(), bounds)
				}
			}
			for range rng.IntN(300) {
				var n int
				switch rng.IntN(50) {
				case 0:
					n = rng.IntN(len(value))
				case 1:
					n = LargeRecord - rng.IntN(2*maxRecordOverhead) // on both sides of the step
				default:
					n = rng.IntN(1 << rng.IntN(16))
				}
				err := b.Append(record(message(nil, sarama.ByteEncoder(value[:n]))), now)
				if errors.Is(err, ErrFull) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				check("appended", b)
			}
			if b.Len() == 0 {
				b.Release()
				continue
			}
			if err := b.Seal(); err != nil {
				t.Fatal(err)
			}
			check("sealed", b)
			if b.Len() == 1 {
				b.Release()
				continue
			}
			left, right, err := b.Split()
			if err != nil {
				t.Fatal(err)
			}
			check("the left half", left)
			check("the right half", right)
			left.Release()
			right.Release()
		}
	}
}

// A batch of small records stays in pooled buffers: their bounds allow for the next larger class.
func TestSmallRecordsArePooled(t *testing.T) {
	for _, size := range []int{maxRecordOverhead, 100, 1000, 4 << 10, LargeRecord} {
		value := make(sarama.ByteEncoder, size-maxRecordOverhead)
		b := New(config(1<<20), 0)
		for !b.Full() {
			err := b.Append(record(message(nil, value)), now)
			if errors.Is(err, ErrFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if b.buf.class < 0 {
				t.Fatalf("%d records of %d bytes are in a buffer of %d bytes that is not pooled", b.Len(), size, b.held())
			}
		}
		b.Release()
	}
}

// If an encoder's Length is too small, so is the charge. Then the batch holds what it needs, and no more.
func TestCapWithoutCharge(t *testing.T) {
	b := New(config(1<<20), 1<<20)
	defer b.Release()
	for range 10 {
		if err := b.Append(flow.Record{Msg: message(nil, sarama.ByteEncoder("value"))}, now); err != nil {
			t.Fatal(err)
		}
		if b.held() != b.Bytes()+room+tail {
			t.Fatalf("%d bytes held for %d", b.held(), b.Bytes())
		}
	}
}

// Kafka's lengths have 32 bits: what is beyond is refused before memory is allocated.
func TestGrowBeyondInt32(t *testing.T) {
	b := New(config(math.MaxInt), 0)
	defer b.Release()
	if err := b.grow(math.MaxInt32+1, 0); !errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		t.Fatalf("got %v", err)
	}
	if b.held() != 0 {
		t.Fatalf("%d bytes held", b.held())
	}
}

// A pooled compressor does not keep the memory of one giant batch.
func TestScratchIsBounded(t *testing.T) {
	for size, kept := range map[int]bool{maxScratch: true, maxScratch + 1: false} {
		out := limitedBuffer{bytes: make([]byte, 0, size)}
		out.reset(10)
		if kept != (cap(out.bytes) > 0) {
			t.Errorf("%d bytes: %d kept", size, cap(out.bytes))
		}
	}
}

// If the rest of a run goes to another batch, the room that was made for it is given back.
func TestRunThatDoesNotFitLeavesNoRoom(t *testing.T) {
	b := New(config(1000), 1<<20)
	defer b.Release()
	recs := []flow.Record{
		record(message(nil, sarama.ByteEncoder(make([]byte, 10)))),
		record(message(nil, sarama.ByteEncoder(make([]byte, 20_000)))),
	}
	if n := b.AppendRun(recs, now, 2); n != 1 || int64(b.held()) > b.charge {
		t.Errorf("%d taken, %d held, %d charged", n, b.held(), b.charge)
	}
	decode(t, b).check(t, recs[0].Msg)
}
