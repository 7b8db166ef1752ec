package produceset

import (
	"errors"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
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

// BenchmarkAppendRun takes whole batches through all steps, with sarama's encoders. Its time is that of one record.
func BenchmarkAppendRun(b *testing.B) {
	for name, n := range map[string]int{"10B": 10, "100B": 100, "1KB": 1024} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			run := make([]flow.Record, 128)
			for i := range run {
				run[i] = record(message(nil, sarama.ByteEncoder(strings.Repeat("v", n))))
			}
			cfg := config(1 << 20)
			batch := New(cfg, 0)
			for i := 0; b.Loop(); i++ {
				if i%len(run) > 0 {
					continue // b.Loop counts records
				}
				if batch.AppendRun(run, now, batch.Len()) < len(run) {
					if err := batch.Seal(); err != nil {
						b.Fatal(err)
					}
					batch.SetIdentity(1, 0, 0, false)
					batch.Frame()
					hint := batch.Bytes()
					batch.Release()
					batch = New(cfg, hint)
				}
			}
			batch.Release()
		})
	}
}

// Without compression Seal does hardly anything.
func BenchmarkSeal(b *testing.B) {
	msgs := lines(5000)
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4,
		sarama.CompressionZSTD} {
		b.Run(codec.String(), func(b *testing.B) {
			b.ReportAllocs()
			cfg := config(1 << 20)
			cfg.Codec = codec
			var raw, sealed int
			for b.Loop() {
				b.StopTimer()
				batch := New(cfg, raw)
				mustAppend(b, batch, msgs...)
				b.StartTimer()
				if err := batch.Seal(); err != nil {
					b.Fatal(err)
				}
				batch.SetIdentity(1, 0, 0, false)
				batch.Frame()
				raw, sealed = batch.Bytes(), batch.WireBytes()
				b.StopTimer()
				batch.Release()
				b.StartTimer()
			}
			b.SetBytes(int64(raw))
			b.ReportMetric(float64(raw)/float64(sealed), "ratio")
		})
	}
}

func BenchmarkSplit(b *testing.B) {
	msgs := lines(5000)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		batch := New(config(1<<20), 0)
		mustAppend(b, batch, msgs...)
		b.StartTimer()
		left, right, err := batch.Split()
		if err != nil {
			b.Fatal(err)
		}
		left.Release()
		right.Release()
	}
}
