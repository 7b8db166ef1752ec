package dispatch

import (
	"errors"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/produceset"
)

// A message is charged its buffer; a large one is charged its own size too, unless it fits only without. What does not fit
// at all is refused.
func TestCharge(t *testing.T) {
	const limit = 1 << 20
	shared := &flow.Shared{Conf: sarama.NewConfig(), Budget: flow.NewBudget(limit)}
	shared.Conf.Producer.MaxMessageBytes = 2 * limit
	deps := &Deps{Shared: shared}
	for value := 0; value < limit+limit/2; value = value*5/4 + 1 {
		msg := &sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, value))}
		size := produceset.RecordBound(msg)
		bound := produceset.BufferBound(size)
		rec := flow.Record{Msg: msg}
		err := Price(deps, &rec)
		if bound+flow.RecordOverhead > limit {
			if !errors.Is(err, flow.ErrBufferFull) || !errors.Is(err, sarama.ErrMessageSizeTooLarge) {
				t.Errorf("%d bytes: %v", size, err)
			}
			continue
		}
		want := bound
		if both := bound + int64(size); size > produceset.LargeRecord && both+flow.RecordOverhead <= limit {
			want = both
		}
		if err != nil || int64(rec.Charge) != want || rec.Size > rec.Charge || int(rec.Size) != min(size, int(want)) {
			t.Errorf("%d bytes are charged with %d, %d of them for the message, want %d of a bound of %d: %v",
				size, rec.Charge, rec.Size, want, bound, err)
		}
	}
}
