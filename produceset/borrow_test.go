package produceset

import (
	"bytes"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// large is a value that is borrowed, if anything is.
func large(fill byte) sarama.ByteEncoder { return bytes.Repeat([]byte{fill}, borrowFrom+1) }

// A value is borrowed if it is large, has an encoder of sarama's own, is not compressed, and can't be withdrawn.
func TestWhatIsBorrowed(t *testing.T) {
	waiter := &flow.Completion{Waiter: noWaiter{}}
	notCancellable := &flow.Completion{Waiter: noWaiter{}, NotCancellable: true}
	zstd := config(1 << 20)
	zstd.Codec = sarama.CompressionZSTD
	for name, test := range map[string]struct {
		cfg   *Config
		value sarama.Encoder
		call  *flow.Completion
		want  bool
	}{
		"bytes":             {config(1 << 20), large(1), nil, true},
		"a string":          {config(1 << 20), sarama.StringEncoder(large(1)), nil, true},
		"not withdrawable":  {config(1 << 20), large(1), notCancellable, true},
		"alone too large":   {config(100), large(1), nil, true},
		"not large":         {config(1 << 20), large(1)[1:], nil, false},
		"withdrawable":      {config(1 << 20), large(1), waiter, false},
		"the user's own":    {config(1 << 20), &ownEncoder{bytes: large(1)}, nil, false},
		"compressed":        {zstd, large(1), nil, false},
		"none":              {config(1 << 20), nil, nil, false},
		"a large key alone": {config(1 << 20), sarama.StringEncoder("v"), nil, false},
	} {
		for _, run := range []bool{false, true} {
			b := New(test.cfg, 0)
			msg := message(sarama.StringEncoder("k"), test.value)
			if name == "a large key alone" {
				msg.Key = large(2)
			}
			rec := flow.Record{Msg: msg, Completion: test.call, Charge: 1 << 20}
			if !run || b.AppendRun([]flow.Record{rec}, now, 0) == 0 {
				if err := b.Append(rec, now); err != nil {
					t.Fatal(err)
				}
			}
			if b.Borrows() != test.want {
				t.Errorf("%s, run %t: borrows %t", name, run, b.Borrows())
			}
			decode(t, b).check(t, msg)
			b.Release()
		}
	}
}

type noWaiter struct{ flow.Waiter }

// Borrowed and copied values alternate in any order, with keys and headers. The batch and its halves are read back as they
// were sent, and the batch holds hardly more than what it has copied.
func TestBorrowedAmongCopied(t *testing.T) {
	for _, hint := range []int{0, sumFrom, 1 << 20} {
		for pattern := range 64 {
			b := New(config(1<<20), hint)
			var msgs []*sarama.ProducerMessage
			copied := 0
			for i := range 6 {
				value := large(byte(i))
				if pattern>>i&1 == 0 {
					value = value[:700*i]
					copied += len(value)
				}
				header := sarama.RecordHeader{Key: []byte{byte(i)}, Value: value[:min(i, len(value))]}
				msgs = append(msgs, message(sarama.StringEncoder("key"), value, header))
			}
			if pattern%2 == 0 {
				mustAppend(t, b, msgs...)
			} else {
				var recs []flow.Record
				for _, msg := range msgs {
					recs = append(recs, admitted(msg))
				}
				if n := b.AppendRun(recs, now, 0); n != len(recs) {
					t.Fatalf("took %d of %d", n, len(recs))
				}
			}
			if b.Borrows() != (pattern > 0) {
				t.Fatalf("pattern %b: borrows %t", pattern, b.Borrows())
			}
			if b.held() > 2*copied+6<<10 && hint == 0 {
				t.Errorf("pattern %b: holds %d bytes, %d are copied", pattern, b.held(), copied)
			}
			decode(t, b).check(t, msgs...)
			b.SetIdentity(1, 2, 3, false)
			decode(t, b).check(t, msgs...)
			checkSplit(t, b, msgs)
		}
	}
}

// A batch in the pool keeps no borrowed value alive.
func TestReleaseLetsGoOfBorrowed(t *testing.T) {
	b := New(config(1<<20), 0)
	mustAppend(t, b, message(nil, large(1)), message(nil, large(2)))
	decode(t, b)
	b.Release()
	for _, c := range b.closed[:cap(b.closed)] {
		if c.data != nil || c.buf != nil {
			t.Error("a piece was kept")
		}
	}
	for _, piece := range b.pieces[:cap(b.pieces)] {
		if piece != nil {
			t.Error("the frame was kept")
		}
	}
	if b.Borrows() {
		t.Error("an empty batch borrows")
	}
}

// If a sender changes a borrowed value too early, the CRC does not fit, and every broker refuses the batch.
func TestChangedValueBreaksTheSum(t *testing.T) {
	for _, small := range []int{0, 1, 100} {
		for _, changed := range []bool{false, true} {
			b := New(config(1<<20), 0)
			for range small {
				mustAppend(t, b, message(nil, sarama.ByteEncoder(make([]byte, 300))))
			}
			value := large(1)
			mustAppend(t, b, message(nil, value))
			if changed {
				value[len(value)/2]++
			}
			if _, err := read(b); (err != nil) != changed {
				t.Errorf("behind %d small records, changed %t: %v", small, changed, err)
			}
			b.Release()
		}
	}
}
