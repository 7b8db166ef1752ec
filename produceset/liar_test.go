package produceset

import (
	"errors"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// liar is an encoder with a wrong Length.
type liar struct {
	length int
	value  []byte
}

func (l liar) Length() int             { return l.length }
func (l liar) Encode() ([]byte, error) { return l.value, nil }

func TestEncoderThatLiesAboutItsLength(t *testing.T) {
	for _, length := range []int{-1 << 40, -1, 1 << 40} {
		if got := RecordBound(&sarama.ProducerMessage{Topic: "t", Value: liar{length: length}}); got < 0 || got > 1<<31+100 {
			t.Errorf("a length of %d: bound %d", length, got)
		}
	}
	b := New(&Config{MaxBytes: 1000}, 0)
	defer b.Release()
	msg := &sarama.ProducerMessage{Topic: "t", Value: liar{length: 1, value: make([]byte, 2000)}}
	err := b.Append(flow.Record{Msg: msg, Charge: 400, Size: int32(RecordBound(msg))}, 0)
	if !errors.Is(err, sarama.ErrMessageSizeTooLarge) || b.Len() != 0 {
		t.Errorf("%v, %d records", err, b.Len())
	}
}
