package produceset

import (
	"errors"
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

func BenchmarkAppend(b *testing.B) {
	value := func(n int) sarama.Encoder { return sarama.ByteEncoder(strings.Repeat("v", n)) }
	header := sarama.RecordHeader{Key: []byte("traceparent"), Value: []byte(strings.Repeat("0", 55))}
	for _, bench := range []struct {
		name string
		msg  *sarama.ProducerMessage
	}{
		{"100B", message(nil, value(100))},
		{"1KB", message(nil, value(1024))},
		{"String100B", message(nil, sarama.StringEncoder(strings.Repeat("v", 100)))},
		{"KeyHeaders100B", message(sarama.StringEncoder("customer-4711"), value(100), header, header)},
		{"OwnEncoder100B", message(nil, &ownEncoder{bytes: make([]byte, 100)})},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(RecordBound(bench.msg)))
			cfg := config(1 << 20)
			rec := record(bench.msg)
			batch := New(cfg, 0)
			for b.Loop() {
				err := batch.Append(rec, now)
				if errors.Is(err, ErrFull) {
					hint := batch.Bytes()
					batch.Release()
					batch = New(cfg, hint)
					err = batch.Append(rec, now)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			batch.Release()
		})
	}
}
