package produceset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice/internal/flow"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

const now = 1_700_000_000_123

// record is a message with the least charge that admission may give it.
func record(msg *sarama.ProducerMessage) flow.Record {
	return flow.Record{Msg: msg, Charge: int32(BufferBound(RecordBound(msg)))}
}

// held is how many bytes the batch holds in buffers now.
func (b *Batch) held() int { return b.heldBefore + len(b.data) }

// whole is the frame of a sealed batch in one piece.
func (b *Batch) whole() []byte {
	first, rest := b.Frame()
	if len(rest) == 0 {
		return first // the batch's memory
	}
	return append(bytes.Clone(first), bytes.Join(rest, nil)...)
}

func message(key, value sarama.Encoder, headers ...sarama.RecordHeader) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "orders", Key: key, Value: value, Headers: headers}
}

func mustAppend(t testing.TB, b *Batch, msgs ...*sarama.ProducerMessage) {
	t.Helper()
	for _, msg := range msgs {
		if err := b.Append(record(msg), now); err != nil {
			t.Fatal(err)
		}
	}
}

func config(maxBytes int) *Config {
	return &Config{Codec: sarama.CompressionNone, Level: sarama.CompressionLevelDefault, MaxBytes: maxBytes}
}

// decoded is a batch as another implementation reads it.
type decoded struct {
	kmsg.RecordBatch
	records []kmsg.Record
}

// decode seals the batch if need be, and reads its frame.
func decode(t testing.TB, b *Batch) decoded {
	t.Helper()
	d, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// read seals the batch if need be, and reads its frame with kmsg and kfake. It checks what those do not look at:
// lengths, CRC, constants.
func read(b *Batch) (d decoded, err error) {
	if err := b.Seal(); err != nil {
		return d, err
	}
	frame := b.whole()
	if len(frame) != room+b.WireBytes()+tail {
		return d, fmt.Errorf("a frame of %d bytes for a batch of %d", len(frame), b.WireBytes())
	}
	sealed := frame[room : len(frame)-tail]
	if err := d.ReadFrom(sealed); err != nil {
		return d, err
	}
	if int(d.Length) != len(sealed)-12 || d.Magic != 2 || d.FirstOffset != 0 || d.PartitionLeaderEpoch != -1 {
		return d, fmt.Errorf("header: %+v", d.RecordBatch)
	}
	if sum := crc32.Checksum(sealed[21:], crc32.MakeTable(crc32.Castagnoli)); sum != binary.BigEndian.Uint32(sealed[17:]) {
		return d, fmt.Errorf("CRC %08x, computed %08x", uint32(d.CRC), sum)
	}
	if d.records, err = kfake.BatchRecords(d.RecordBatch); err != nil {
		return d, err
	}
	if n := len(d.records); int(d.NumRecords) != n || int(d.LastOffsetDelta) != n-1 {
		return d, fmt.Errorf("%d records, last offset delta %d, decoded %d", d.NumRecords, d.LastOffsetDelta, n)
	}
	for i, r := range d.records {
		if int(r.OffsetDelta) != i || r.Attributes != 0 {
			return d, fmt.Errorf("record %d: offset delta %d, attributes %d", i, r.OffsetDelta, r.Attributes)
		}
	}
	return d, nil
}

// want is what must be read back of a message.
type want struct {
	key, value []byte
	timestamp  int64
	headers    []sarama.RecordHeader
}

func wantOf(t testing.TB, msg *sarama.ProducerMessage) want {
	t.Helper()
	w := want{key: encoded(t, msg.Key), value: encoded(t, msg.Value), timestamp: now, headers: msg.Headers}
	if !msg.Timestamp.IsZero() {
		w.timestamp = msg.Timestamp.Truncate(time.Millisecond).UnixMilli()
	}
	return w
}

func encoded(t testing.TB, enc sarama.Encoder) []byte {
	t.Helper()
	if enc == nil {
		return nil
	}
	b, err := enc.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check compares what was read back with the messages, in order. Null and empty are different.
func (d decoded) check(t testing.TB, msgs ...*sarama.ProducerMessage) {
	t.Helper()
	if len(d.records) != len(msgs) {
		t.Fatalf("%d records of %d", len(d.records), len(msgs))
	}
	maxTimestamp := int64(math.MinInt64)
	for i, msg := range msgs {
		w, r := wantOf(t, msg), d.records[i]
		if !same(r.Key, w.key) || !same(r.Value, w.value) {
			t.Fatalf("record %d: key %q value %q, want %q, %q", i, r.Key, r.Value, w.key, w.value)
		}
		if got := d.FirstTimestamp + r.TimestampDelta64; got != w.timestamp {
			t.Fatalf("record %d: timestamp %d, want %d", i, got, w.timestamp)
		}
		if len(r.Headers) != len(w.headers) {
			t.Fatalf("record %d: %d headers of %d", i, len(r.Headers), len(w.headers))
		}
		for j, h := range r.Headers {
			if h.Key != string(w.headers[j].Key) || !same(h.Value, w.headers[j].Value) {
				t.Fatalf("record %d: header %d: %q=%q, want %q=%q", i, j, h.Key, h.Value, w.headers[j].Key, w.headers[j].Value)
			}
		}
		maxTimestamp = max(maxTimestamp, w.timestamp)
	}
	if d.MaxTimestamp != maxTimestamp {
		t.Fatalf("max timestamp %d, want %d", d.MaxTimestamp, maxTimestamp)
	}
}

func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// ownEncoder is an encoder as a user may write it. It counts its calls.
type ownEncoder struct {
	bytes   []byte
	err     error
	panics  any
	encodes int
}

func (e *ownEncoder) Encode() ([]byte, error) {
	e.encodes++
	if e.panics != nil {
		panic(e.panics)
	}
	return e.bytes, e.err
}

func (e *ownEncoder) Length() int { return len(e.bytes) }
