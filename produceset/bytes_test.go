package produceset

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
)

func BenchmarkAppendBytes(b *testing.B) {
	cfg := &Config{MaxBytes: 1 << 20}
	value := make([]byte, 100)
	batch := New(cfg, 1<<20)
	b.ReportAllocs()
	now := time.Now().UnixMilli()
	for b.Loop() {
		more, err := batch.AppendBytes(nil, value, nil, now)
		if more > 0 {
			batch.Grant(more)
			more, err = batch.AppendBytes(nil, value, nil, now)
		}
		if err == ErrFull {
			batch.Release()
			batch = New(cfg, 1<<20)
		} else if more > 0 || err != nil {
			b.Fatal(more, err)
		}
	}
}

var _ sarama.RecordHeader
