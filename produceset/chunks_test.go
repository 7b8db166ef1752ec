package produceset

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// A large batch is in a few pieces, appended one by one or by runs, and is read back whole; a small one is in one.
func TestLargeBatchIsInPieces(t *testing.T) {
	for _, size := range []int{100, 1000, 100_000} {
		for _, run := range []int{1, 100} {
			t.Run(fmt.Sprintf("%d bytes by %d", size, run), func(t *testing.T) {
				b := New(config(1<<20), 0)
				defer b.Release()
				var msgs []*sarama.ProducerMessage
				for i := 0; b.Len() == i; i += run {
					var recs []flow.Record
					for j := range run {
						msg := message(nil, sarama.ByteEncoder(bytes.Repeat([]byte{byte(i + j)}, size)))
						msgs, recs = append(msgs, msg), append(recs, record(msg))
					}
					if run > 1 {
						b.AppendRun(recs, now, 0)
					} else if err := b.Append(recs[0], now); err != nil && err != ErrFull {
						t.Fatal(err)
					}
					if small := b.Bytes() < moveUpTo; small && len(b.full) > 0 {
						t.Fatalf("%d bytes are in %d pieces", b.Bytes(), len(b.full)+1)
					}
				}
				decode(t, b).check(t, msgs[:b.Len()]...)
				if n := len(b.full) + 1; n < 2 || n > 1<<20/moveUpTo {
					t.Errorf("%d pieces", n)
				}
			})
		}
	}
}
