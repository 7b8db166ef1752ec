package produceset

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

func TestSplit(t *testing.T) {
	for _, cfg := range defaults() {
		for _, n := range []int{2, 3, 100, 2000} {
			for _, sealed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/%v", cfg.name(), n, sealed), func(t *testing.T) {
					msgs := lines(n)
					for i, msg := range msgs { // not in order, so that the right half has negative deltas
						msg.Timestamp = time.UnixMilli(int64(1_000_000 + (i*7919)%1000))
					}
					b := New(cfg, 0)
					b.Topic, b.TopicID, b.Partition = "orders", [16]byte{1}, 5
					mustAppend(t, b, msgs...)
					if sealed {
						if err := b.Seal(); err != nil {
							t.Fatal(err)
						}
						b.SetIdentity(1, 2, 3, true)
					}
					checkSplit(t, b, msgs)
				})
			}
		}
	}
}

// checkSplit splits the batch and reads both halves.
func checkSplit(t testing.TB, b *Batch, msgs []*sarama.ProducerMessage) {
	t.Helper()
	charge, topic, partition := b.charge, b.Topic, b.Partition
	left, right, err := b.Split()
	if err != nil {
		t.Fatal(err)
	}
	if left.Len() != len(msgs)/2 || right.Len() != len(msgs)-len(msgs)/2 {
		t.Fatalf("%d and %d records of %d", left.Len(), right.Len(), len(msgs))
	}
	if left.charge+right.charge != charge {
		t.Fatalf("charges %d and %d of %d", left.charge, right.charge, charge)
	}
	for _, half := range []*Batch{left, right} {
		if half.Topic != topic || half.Partition != partition || half.whole() != nil {
			t.Fatalf("a half of %s-%d: %+v", topic, partition, half)
		}
		if pid, epoch, seq := half.Identity(); pid != -1 || epoch != -1 || seq != -1 {
			t.Fatal("a half has an identity")
		}
		if half.held() > max(int(half.charge), half.Bytes()+room+tail) {
			t.Fatalf("%d bytes held, %d charged", half.held(), half.charge)
		}
		for i := range half.Records {
			if half.Records[i].Msg != msgs[i] {
				t.Fatal("the records are not in order")
			}
		}
		decode(t, half).check(t, msgs[:half.Len()]...)
		msgs = msgs[half.Len():]
		half.Release()
	}
}

// A split calls no encoder, and a half takes more records like any open batch.
func TestSplitEncodesNothing(t *testing.T) {
	b := New(config(1<<20), 0)
	enc := &ownEncoder{bytes: []byte("value")}
	msg := message(nil, enc)
	mustAppend(t, b, msg, msg, msg)
	left, right, err := b.Split()
	if err != nil {
		t.Fatal(err)
	}
	if enc.encodes != 3 {
		t.Fatalf("%d calls for 3 records", enc.encodes)
	}
	mustAppend(t, left, msg)
	decode(t, left).check(t, msg, msg)
	decode(t, right).check(t, msg, msg)
	left.Release()
	right.Release()
}

func TestSplitRefused(t *testing.T) {
	msg := message(nil, sarama.StringEncoder("v"))
	t.Run("one record", func(t *testing.T) {
		b := New(config(1<<20), 0)
		defer b.Release()
		mustAppend(t, b, msg)
		if _, _, err := b.Split(); err == nil {
			t.Fatal("no error")
		}
		decode(t, b).check(t, msg)
	})
	t.Run("records taken", func(t *testing.T) {
		b := New(config(1<<20), 0)
		defer b.Release()
		mustAppend(t, b, msg, msg)
		flow.PutRun(b.TakeRecords())
		if _, _, err := b.Split(); err == nil {
			t.Fatal("no error")
		}
		decode(t, b).check(t, msg, msg)
	})
}

// Bytes that were not appended are an error, and the batch stays as it was.
func TestSplitCorrupt(t *testing.T) {
	for _, cfg := range defaults() {
		msgs := lines(100)
		b := New(cfg, 0)
		mustAppend(t, b, msgs...)
		if err := b.Seal(); err != nil {
			t.Fatal(err)
		}
		good := bytes.Clone(b.data)
		for i := recordsAt; i < min(b.end, recordsAt+40); i++ {
			for _, with := range []byte{0, 0x7f, 0xff} {
				b.data[i] = with
				left, right, err := b.Split()
				if err == nil { // some bytes are content
					if left.Len()+right.Len() != len(msgs) {
						t.Fatalf("%s: %d and %d records", cfg.name(), left.Len(), right.Len())
					}
					left.Release()
					right.Release()
					b = New(cfg, 0)
					mustAppend(t, b, msgs...)
					if err := b.Seal(); err != nil {
						t.Fatal(err)
					}
				} else if b.Len() != len(msgs) {
					t.Fatalf("%s: the batch has %d records", cfg.name(), b.Len())
				}
				copy(b.data, good)
			}
		}
		decode(t, b).check(t, msgs...)
		b.Release()
	}
}
