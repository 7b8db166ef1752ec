package produceset

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// appendBytes appends a record of bytes, and grants what that needs and no more.
func appendBytes(t testing.TB, b *Batch, key, value []byte, headers []sarama.RecordHeader, timestamp int64) error {
	t.Helper()
	more, err := b.AppendBytes(key, value, headers, timestamp)
	if more > 0 {
		b.Grant(more)
		if more, err = b.AppendBytes(key, value, headers, timestamp); more > 0 {
			t.Fatalf("%d bytes more are needed after they were granted", more)
		}
	}
	if b.held() > int(b.charge) {
		t.Fatalf("%d held, %d granted", b.held(), b.charge)
	}
	return err
}

// fillByBytes is fill with AppendBytes.
func fillByBytes(t testing.TB, msgs []*sarama.ProducerMessage, cfg *Config, hint int) *Batch {
	t.Helper()
	b := New(cfg, hint)
	b.Topic = "fuzz"
	b.Hold()
	for _, msg := range msgs {
		key, value, err := Encoded(msg)
		if err != nil {
			t.Fatal(err)
		}
		timestamp := int64(now)
		if !msg.Timestamp.IsZero() {
			timestamp = msg.Timestamp.UnixMilli()
		}
		if err := appendBytes(t, b, key, value, msg.Headers, timestamp); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	return b
}

// A batch of bytes is the batch of the same messages, and gives its records back.
func FuzzAppendBytes(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, codec uint8, maxBytes uint16) {
		want, msgs := fill(t, data, codec, maxBytes)
		defer want.Release()
		b := fillByBytes(t, messagesFrom(data), want.cfg, len(data)%3*1000)
		defer b.Release()
		if b.Count() != len(msgs) {
			t.Fatalf("%d records, of messages %d", b.Count(), len(msgs))
		}
		if len(msgs) == 0 {
			return
		}
		if err := errors.Join(want.Seal(), b.Seal()); err != nil || !bytes.Equal(written(b), written(want)) {
			t.Fatalf("another batch (%v):\n%x\n%x", err, written(b), written(want))
		}
		i := 0
		for rec, err := range b.All() {
			if err != nil {
				t.Fatal(err)
			}
			key, value, _ := Encoded(msgs[i])
			if !same(rec.Key, key) || !same(rec.Value, value) || len(rec.Headers) != len(msgs[i].Headers) {
				t.Fatalf("record %d is %v", i, rec)
			}
			for j, h := range rec.Headers {
				if !bytes.Equal(h.Key, msgs[i].Headers[j].Key) || !same(h.Value, msgs[i].Headers[j].Value) {
					t.Fatalf("record %d: header %v", i, h)
				}
			}
			i++
		}
		if i != len(msgs) {
			t.Fatalf("%d records of %d", i, len(msgs))
		}
	})
}

// parts collects the parts that a batch of bytes is divided into.
type parts []*Batch

// carry makes the record that stands for a batch.
func (p *parts) carry(b *Batch) flow.Record {
	completion := &flow.Completion{Batch: b, Done: func(*sarama.ProducerMessage, error) {}}
	completion.Divide = func(part flow.SealedBatch, last bool) flow.Record {
		*p = append(*p, part.(*Batch))
		return p.carry(part.(*Batch))
	}
	return flow.Record{Completion: completion, Size: int32(b.Granted()), Charge: int32(b.Granted())}
}

// The parts of a batch have its records in their order, each once, and no more memory than it had.
func FuzzDivideBytes(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, codec uint8, maxBytes uint16) {
		cfg := config(int(maxBytes) + 1)
		cfg.Codec = sarama.CompressionCodec(codec % 5)
		b := fillByBytes(t, messagesFrom(data), cfg, 0)
		n := b.Count()
		if n < 3 {
			b.Release()
			return
		}
		var want []string
		for rec := range b.All() {
			want = append(want, string(rec.Key)+"\x00"+string(rec.Value))
		}
		if len(data)%2 == 0 {
			if err := b.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		var divided parts
		rec := divided.carry(b)
		whole := int64(rec.Size)
		b.Carry(rec)
		out := func(i int) bool { return i == n/2 || i == 0 }
		var got []*Batch
		if codec%2 == 0 {
			left, right, err := b.Split()
			if err != nil {
				t.Fatal(err)
			}
			got, out = []*Batch{left, right}, func(int) bool { return false }
		} else {
			rest, sifted, err := b.Sift(out)
			if err != nil {
				t.Fatal(err)
			}
			got = append([]*Batch{rest}, sifted...)
			if len(sifted) != 2 || sifted[0].Len() != 1 {
				t.Fatalf("%d were sifted", len(sifted))
			}
		}
		var order []string
		for i, s := range want {
			if !out(i) {
				order = append(order, s)
			}
		}
		for i, s := range want {
			if out(i) {
				order = append(order, s)
			}
		}
		var charged int64
		at := 0
		for i, part := range got {
			if divided[i] != part || part.Records[0].Completion.Batch != flow.SealedBatch(part) {
				t.Fatal("a part has the record of another")
			}
			charged += int64(part.Records[0].Size)
			if err := part.Seal(); err != nil {
				t.Fatal(err)
			}
			for rec, err := range part.All() {
				if err != nil || string(rec.Key)+"\x00"+string(rec.Value) != order[at] {
					t.Fatalf("record %d: %v", at, err)
				}
				at++
			}
			decode(t, part)
			part.Release()
			part.Release()
		}
		if at != n || charged != whole {
			t.Fatalf("%d of %d records; %d bytes are charged, of %d", at, n, charged, whole)
		}
	})
}

func BenchmarkAppendBytes(b *testing.B) {
	cfg := config(1 << 20)
	value := make([]byte, 100)
	batch := New(cfg, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		more, err := batch.AppendBytes(nil, value, nil, now)
		if more > 0 {
			batch.Grant(more)
			_, err = batch.AppendBytes(nil, value, nil, now)
		}
		if err == ErrFull {
			batch.Release()
			batch = New(cfg, 1<<20)
		}
	}
	batch.Release()
}

// Tags may start late, and go up and down. Records without one have 0 before the first.
func TestTags(t *testing.T) {
	b := New(&Config{MaxBytes: 1 << 20}, 0)
	b.Hold()
	defer b.Release()
	want := []int64{0, 0, 7, 6, math.MaxInt64, math.MinInt64, -1}
	for i, tag := range want {
		if err := appendBytes(t, b, nil, []byte{byte(i)}, nil, now); err != nil {
			t.Fatal(err)
		}
		if i >= 2 {
			b.Tag(tag)
		}
	}
	var got []int64
	for r, err := range b.All() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Tag)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
