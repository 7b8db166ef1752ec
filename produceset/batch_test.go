package produceset

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

func TestAppendRoundTrip(t *testing.T) {
	str := sarama.StringEncoder("pointer")
	long := strings.Repeat("x", 70_000)
	at := func(ts time.Time) *sarama.ProducerMessage {
		return &sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder("v"), Timestamp: ts}
	}
	tests := map[string][]*sarama.ProducerMessage{
		"null key":           {message(nil, sarama.StringEncoder("v"))},
		"null value":         {message(sarama.StringEncoder("k"), nil)},
		"both null":          {message(nil, nil)},
		"nil ByteEncoder":    {message(sarama.ByteEncoder(nil), sarama.ByteEncoder(nil))},
		"empty ByteEncoder":  {message(sarama.ByteEncoder{}, sarama.ByteEncoder{})},
		"empty string":       {message(sarama.StringEncoder(""), sarama.StringEncoder(""))},
		"pointer to encoder": {message(&str, &str)},
		"own encoder":        {message(&ownEncoder{bytes: []byte("k")}, &ownEncoder{bytes: []byte("v")})},
		"own encoder, null":  {message(&ownEncoder{}, &ownEncoder{})},
		"own encoder, empty": {message(&ownEncoder{bytes: []byte{}}, &ownEncoder{bytes: []byte{}})},
		"varint borders": {
			message(sarama.StringEncoder(long[:63]), sarama.StringEncoder(long[:64])),
			message(sarama.ByteEncoder(long[:8191]), sarama.ByteEncoder(long[:8192])),
			message(nil, sarama.StringEncoder(long)),
		},
		"headers": {message(nil, nil,
			sarama.RecordHeader{Key: []byte("a"), Value: []byte("1")},
			sarama.RecordHeader{Key: []byte("null"), Value: nil},
			sarama.RecordHeader{Key: []byte("empty"), Value: []byte{}},
			sarama.RecordHeader{Key: nil, Value: []byte("no key")},
			sarama.RecordHeader{Key: []byte(long[:200]), Value: []byte(long)},
		)},
		"timestamps": {
			at(time.UnixMilli(5_000)),
			at(time.UnixMilli(4_000)), // before the first
			at(time.Unix(7, 999_999_999)),
			at(time.Time{}),
		},
		"timestamps before the epoch": {
			at(time.UnixMilli(-5_000)), at(time.Unix(-9, 1)), at(time.UnixMilli(-1)),
		},
		"timestamps far apart": {
			at(time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)), at(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)),
		},
	}
	for name, msgs := range tests {
		t.Run(name, func(t *testing.T) {
			b := New(config(1<<20), 0)
			defer b.Release()
			mustAppend(t, b, msgs...)
			decode(t, b).check(t, msgs...)
		})
	}
}

func TestAppendManyRecords(t *testing.T) {
	b := New(config(4<<20), 0)
	defer b.Release()
	var msgs []*sarama.ProducerMessage
	for i := range 20_000 {
		msgs = append(msgs, message(nil, sarama.StringEncoder(fmt.Sprintf("value %d", i))))
	}
	mustAppend(t, b, msgs...)
	if b.Len() != len(msgs) || b.Records[12_345].Msg != msgs[12_345] {
		t.Fatal("Records are not what was appended")
	}
	decode(t, b).check(t, msgs...)
}

func TestAppendFailingEncoder(t *testing.T) {
	cause := errors.New("no schema")
	var typedNil *ownEncoder
	tests := map[string]struct {
		msg  *sarama.ProducerMessage
		is   error
		says []string
	}{
		"key fails":          {message(&ownEncoder{err: cause}, nil), cause, []string{"the key of", `"orders"`, "no schema"}},
		"value fails":        {message(nil, &ownEncoder{err: cause}), cause, []string{"the value of", `"orders"`}},
		"key panics":         {message(&ownEncoder{panics: "boom"}, nil), nil, []string{"the key of", "panicked: boom"}},
		"value panics":       {message(nil, &ownEncoder{panics: io.ErrClosedPipe}), io.ErrClosedPipe, []string{"the value of"}},
		"key good, value no": {message(&ownEncoder{}, &ownEncoder{err: cause}), cause, []string{"the value of"}},
		"nil pointer":        {message(typedNil, nil), nil, []string{"the key of", "nil pointer"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, before := range []int{0, 1} {
				b := New(config(1<<20), 0)
				good := message(sarama.StringEncoder("k"), sarama.StringEncoder("v"))
				for range before {
					mustAppend(t, b, good)
				}
				size, capacity, charge := b.Bytes(), b.held(), b.charge
				err := b.Append(flow.Record{Msg: test.msg, Charge: 1000}, now)
				if err == nil || test.is != nil && !errors.Is(err, test.is) {
					t.Fatalf("got %v", err)
				}
				for _, s := range test.says {
					if !strings.Contains(err.Error(), s) {
						t.Errorf("%q is not in %q", s, err)
					}
				}
				if b.Len() != before || b.Bytes() != size || b.held() != capacity || b.charge != charge {
					t.Fatal("the batch changed")
				}
				mustAppend(t, b, good)
				decode(t, b).check(t, append(make([]*sarama.ProducerMessage, 0), repeat(good, before+1)...)...)
				b.Release()
			}
		})
	}
}

func repeat(msg *sarama.ProducerMessage, n int) (msgs []*sarama.ProducerMessage) {
	for range n {
		msgs = append(msgs, msg)
	}
	return msgs
}

func TestAppendFull(t *testing.T) {
	const recordSize = 7 + 100 + 2 // a null key, a value of 100 bytes: its length and the record's take two bytes
	b := New(config(headerSize+3*recordSize), 0)
	defer b.Release()
	msg := message(nil, sarama.StringEncoder(strings.Repeat("x", 100)))
	mustAppend(t, b, msg, msg)
	if b.Full() {
		t.Fatal("full with room for a record")
	}
	mustAppend(t, b, msg)
	if b.Bytes() != headerSize+3*recordSize {
		t.Fatalf("%d bytes", b.Bytes())
	}
	if !b.Full() {
		t.Fatal("not full at MaxBytes")
	}
	for _, next := range []*sarama.ProducerMessage{msg, message(nil, nil)} {
		if err := b.Append(record(next), now); !errors.Is(err, ErrFull) {
			t.Fatalf("got %v", err)
		}
	}
	decode(t, b).check(t, msg, msg, msg)
	if err := b.Append(record(msg), now); err == nil || errors.Is(err, ErrFull) {
		t.Fatalf("a sealed batch took a record, or was only full: %v", err)
	}
}

// A batch takes one record whatever its size. Admission has checked the size, and counts a little less than the batch does.
func TestAppendFirstRecordAlwaysFits(t *testing.T) {
	b := New(config(10), 0)
	defer b.Release()
	msg := message(nil, &ownEncoder{bytes: []byte(strings.Repeat("x", 100))})
	mustAppend(t, b, msg)
	if !b.Full() || !errors.Is(b.Append(record(message(nil, nil)), now), ErrFull) {
		t.Fatal("not full")
	}
	decode(t, b).check(t, msg)
}

// A message that has to go to the next batch is still encoded once.
func TestAppendFullBeforeEncoding(t *testing.T) {
	b := New(config(200), 0)
	defer b.Release()
	mustAppend(t, b, message(nil, nil))
	key := &ownEncoder{bytes: []byte("key")}
	value := &ownEncoder{bytes: make([]byte, 200)}
	for _, msg := range []*sarama.ProducerMessage{message(key, value), message(key, sarama.ByteEncoder(value.bytes))} {
		if err := b.Append(record(msg), now); !errors.Is(err, ErrFull) {
			t.Fatalf("got %v", err)
		}
	}
	if key.encodes+value.encodes != 0 {
		t.Fatal("encoded for a batch that has no room")
	}
}

func TestIdentity(t *testing.T) {
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionZSTD} {
		t.Run(codec.String(), func(t *testing.T) {
			cfg := config(1 << 20)
			cfg.Codec = codec
			b := New(cfg, 0)
			defer b.Release()
			msg := message(nil, sarama.StringEncoder(strings.Repeat("abc", 100)))
			mustAppend(t, b, msg)

			check := func(pid int64, epoch int16, seq int32, txn bool) {
				t.Helper()
				d := decode(t, b)
				d.check(t, msg)
				gotPID, gotEpoch, gotSeq := b.Identity()
				if gotPID != pid || gotEpoch != epoch || gotSeq != seq {
					t.Fatalf("Identity is %d, %d, %d", gotPID, gotEpoch, gotSeq)
				}
				if d.ProducerID != pid || d.ProducerEpoch != epoch || d.FirstSequence != seq {
					t.Fatalf("on the wire: %d, %d, %d", d.ProducerID, d.ProducerEpoch, d.FirstSequence)
				}
				wantAttributes := int16(codec)
				if txn {
					wantAttributes |= 0x10
				}
				if d.Attributes != wantAttributes {
					t.Fatalf("attributes %x", d.Attributes)
				}
			}
			check(-1, -1, -1, false)
			frame := b.whole()
			b.SetIdentity(77, 3, math.MaxInt32, true)
			check(77, 3, math.MaxInt32, true)
			b.SetIdentity(math.MaxInt64, math.MaxInt16, 0, false)
			check(math.MaxInt64, math.MaxInt16, 0, false)
			if &frame[0] != &b.whole()[0] || len(frame) != len(b.whole()) {
				t.Fatal("a new identity moved the records")
			}
		})
	}
}

// The caller may write to room and tail, and a resend under the same identity has the same bytes.
func TestFrameRoomAndTail(t *testing.T) {
	b := New(config(1<<20), 0)
	defer b.Release()
	mustAppend(t, b, message(nil, sarama.StringEncoder("v")))
	if b.whole() != nil || b.WireBytes() != 0 {
		t.Fatal("a frame before Seal")
	}
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	first := string(b.whole()[room : len(b.whole())-tail])
	frame := b.whole()
	for i := range room {
		frame[i] = 0xaa
	}
	frame[len(frame)-1] = 0xbb
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	if second := b.whole(); string(second[room:len(second)-tail]) != first {
		t.Fatal("the bytes changed")
	}
	if len(first) != b.WireBytes() || len(first) != b.Bytes() {
		t.Fatalf("%d bytes, WireBytes %d, Bytes %d", len(first), b.WireBytes(), b.Bytes())
	}
}

func TestSealEmpty(t *testing.T) {
	b := New(config(1<<20), 0)
	defer b.Release()
	if err := b.Seal(); err == nil {
		t.Fatal("no error")
	}
	mustAppend(t, b, message(nil, nil))
	decode(t, b)
}

func TestTakeRecordsAndRelease(t *testing.T) {
	b := New(config(1<<20), 0)
	b.Topic, b.Partition = "orders", 3
	msg := message(nil, sarama.StringEncoder("v"))
	mustAppend(t, b, msg)
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	records := b.TakeRecords()
	if len(records) != 1 || records[0].Msg != msg || b.Records != nil || b.Len() != 0 {
		t.Fatal("not handed over")
	}
	decode(t, b).check(t, msg)
	b.Release()
	if b.Topic != "" || b.held() != 0 {
		t.Fatal("a released batch keeps something")
	}
	if records[0].Msg != msg {
		t.Fatal("Release took what was handed over")
	}
	flow.PutRun(records)
	if records[0].Msg != nil {
		t.Fatal("a message is still reachable through the pool")
	}
	flow.PutRun(nil)
}

// A second Release panics: the pool might have given the batch to somebody else.
func TestReleaseTwice(t *testing.T) {
	b := &Batch{cfg: config(1 << 20)} // not from the pool, which would give it to another test
	b.released = true
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "twice") {
			t.Fatalf("recovered %v", p)
		}
	}()
	b.Release()
}

func TestRecordBound(t *testing.T) {
	str := sarama.StringEncoder("pointer")
	header := sarama.RecordHeader{Key: []byte("k"), Value: []byte("value")}
	for _, msg := range []*sarama.ProducerMessage{
		message(nil, nil),
		message(sarama.StringEncoder("key"), sarama.ByteEncoder("value")),
		message(&str, &ownEncoder{bytes: []byte("abc")}),
		message(nil, sarama.ByteEncoder("v"), header, header, sarama.RecordHeader{}),
	} {
		if got, want := RecordBound(msg), msg.ByteSize(2); got != want {
			t.Errorf("%d, sarama counts %d", got, want)
		}
	}
}
