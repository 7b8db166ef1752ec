package produceset

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// admitted is a record with the charge that the dispatcher gives it: a large one is also charged with its message.
func admitted(msg *sarama.ProducerMessage) flow.Record {
	rec := record(msg)
	if size := RecordBound(msg); size > LargeRecord {
		rec.Charge += int32(size)
	}
	return rec
}

// fillUp appends messages of size bytes, in runs of run, until the batch takes no more.
func fillUp(t *testing.T, b *Batch, size, run int) []*sarama.ProducerMessage {
	t.Helper()
	var msgs []*sarama.ProducerMessage
	for b.Len() == len(msgs) {
		var recs []flow.Record
		for range run {
			msg := message(nil, sarama.ByteEncoder(bytes.Repeat([]byte{byte(len(msgs))}, size)))
			msgs, recs = append(msgs, msg), append(recs, admitted(msg))
		}
		if run > 1 {
			b.AppendRun(recs, now, 0)
		} else if err := b.Append(recs[0], now); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		if b.Bytes() < moveUpTo && len(b.closed) > 0 {
			t.Fatalf("%d bytes are in %d pieces", b.Bytes(), len(b.closed)+1)
		}
	}
	return msgs[:b.Len()]
}

// A large batch is in a few pieces, a small one in one piece. Both are read back whole, and so are their halves, whether the
// CRC is computed early or late.
func TestLargeBatchIsInPieces(t *testing.T) {
	for _, cfg := range defaults() {
		for _, size := range []int{100, 1000, 100_000} {
			if cfg.Codec != sarama.CompressionNone && size != 1000 {
				continue
			}
			for _, run := range []int{1, 100} {
				for _, hint := range []int{0, sumFrom} {
					t.Run(fmt.Sprintf("%s, %d bytes by %d, hint %d", cfg.Codec, size, run, hint), func(t *testing.T) {
						b := New(cfg, hint)
						msgs := fillUp(t, b, size, run)
						if n := len(b.closed) + 1; n < 2 || n > 12+2*b.borrowed/size {
							t.Errorf("%d pieces", n)
						}
						decode(t, b).check(t, msgs...)
						b.SetIdentity(1, 2, 3, false)
						decode(t, b).check(t, msgs...)
						checkSplit(t, b, msgs)
					})
				}
			}
		}
	}
}

// A batch that takes a part of a run holds no more than the records of that part were charged with.
func TestHeldWithinBufferBoundsOfRuns(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		b := New(config(1<<(10+rng.IntN(11))), rng.IntN(2<<20))
		size := 1 << rng.IntN(18)
		var msgs []*sarama.ProducerMessage
		for {
			var recs []flow.Record
			for range 1 + rng.IntN(64) {
				recs = append(recs, record(message(nil, sarama.ByteEncoder(make([]byte, 1+rng.IntN(size))))))
			}
			n := b.AppendRun(recs, now, 0)
			for _, rec := range recs[:n] {
				msgs = append(msgs, rec.Msg)
			}
			if n < len(recs) {
				break
			}
		}
		if int64(b.held()) > b.charge {
			t.Fatalf("%d records of up to %d bytes: %d bytes held, %d charged", b.Len(), size, b.held(), b.charge)
		}
		if b.Len() > 0 {
			decode(t, b).check(t, msgs...)
		}
		b.Release()
	}
}
