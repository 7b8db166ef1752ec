package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// requestFrom makes a request of arbitrary bytes: topics, partitions and batches of many sizes.
func requestFrom(data []byte) (*ProduceRequest, [][]byte) {
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	r := &ProduceRequest{Acks: int16(next()%3 - 1), Timeout: time.Duration(next()*next()) * time.Millisecond}
	if next()%2 == 1 {
		txn := fmt.Sprintf("txn-%0*d", next()+1, 1)
		r.TransactionalID = &txn
	}
	var batches [][]byte
	topics := next()%4 + 1
	for t := range topics {
		name := fmt.Sprintf("topic-%0*d", next()+1, t)
		for p := range next()%5 + 1 {
			// Around the sizes where the length grows by a byte and where copying ends.
			batch := bytes.Repeat([]byte{byte(next())}, next()*next()/8)
			batches = append(batches, batch)
			first, rest := cut(frameOf(batch), next()%4)
			r.Partitions = append(r.Partitions, ProducePartition{
				Topic: name, TopicID: [16]byte{byte(t + 1)}, Partition: int32(p * next()), Frame: first, Rest: rest,
			})
		}
	}
	return r, batches
}

// cut makes up to cuts+1 pieces of a frame. The room stays in the first.
func cut(frame []byte, cuts int) (first []byte, rest [][]byte) {
	pieces := [][]byte{frame}
	for range cuts {
		last := pieces[len(pieces)-1]
		if n := len(last) / 2; n >= PartitionRoom {
			pieces = append(pieces[:len(pieces)-1], last[:n], last[n:])
		}
	}
	return pieces[0], pieces[1:]
}

func noDeadline() error { return nil }

func written(t testing.TB, f *frame) []byte {
	var b bytes.Buffer
	n, err := f.writeTo(writeOnly{&b}, noDeadline)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("wrote %d of %d bytes: %v", n, b.Len(), err)
	}
	return b.Bytes()
}

// writeOnly is a net.Conn, but no TCP connection.
type writeOnly struct{ io.Writer }

func (writeOnly) Read([]byte) (int, error)         { return 0, io.EOF }
func (writeOnly) Close() error                     { return nil }
func (writeOnly) LocalAddr() net.Addr              { return nil }
func (writeOnly) RemoteAddr() net.Addr             { return nil }
func (writeOnly) SetDeadline(time.Time) error      { return nil }
func (writeOnly) SetReadDeadline(time.Time) error  { return nil }
func (writeOnly) SetWriteDeadline(time.Time) error { return nil }

// FuzzProduceRequest: kmsg decodes what we have encoded.
func FuzzProduceRequest(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x02\x03\x01\x05\x02\x07\x03abc\xff\xffxyz\x80\x80"))
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	var fr frame // Reused, as a connection does
	f.Fuzz(func(t *testing.T, data []byte) {
		for version := int16(produceMin); version <= produceTopicID; version++ {
			r, batches := requestFrom(data)
			if err := fr.encode(r, version, 77, "client"); err != nil {
				t.Fatal(err)
			}
			p := written(t, &fr)
			if size := binary.BigEndian.Uint32(p); int(size) != len(p)-4 {
				t.Fatalf("length %d of %d bytes", size, len(p)-4)
			}
			got, err := parseRequest(p[4:])
			if err != nil {
				t.Fatalf("v%d: %v", version, err)
			}
			compareRequest(t, got, r, batches, version)
			// kmsg's own encoding has the same length, so it has read everything.
			if own := kmsg.NewRequestFormatter(kmsg.FormatterClientID("client")).AppendRequest(nil, got.body, 77); !bytes.Equal(own, p) {
				t.Fatalf("v%d: kmsg encodes it differently", version)
			}
		}
	})
}

func compareRequest(t *testing.T, got received, r *ProduceRequest, batches [][]byte, version int16) {
	t.Helper()
	req := got.body.(*kmsg.ProduceRequest)
	if got.correlationID != 77 || got.clientID != "client" || req.Version != version || req.Acks != r.Acks ||
		req.TimeoutMillis != int32(r.Timeout.Milliseconds()) || (req.TransactionID == nil) != (r.TransactionalID == nil) ||
		req.TransactionID != nil && *req.TransactionID != *r.TransactionalID {
		t.Fatalf("v%d: head %+v", version, got)
	}
	i := 0
	for _, topic := range req.Topics {
		for _, p := range topic.Partitions {
			want := r.Partitions[i]
			if p.Partition != want.Partition || !bytes.Equal(p.Records, batches[i]) ||
				version < 13 && topic.Topic != want.Topic || version >= 13 && topic.TopicID != want.TopicID {
				t.Fatalf("v%d: partition %d is %s/%d", version, i, topic.Topic, p.Partition)
			}
			i++
		}
	}
	if i != len(r.Partitions) {
		t.Fatalf("v%d: %d partitions of %d", version, i, len(r.Partitions))
	}
}

// TestSmallPartitionsAreCopiedTogether: 1,000 small partitions become one piece. A large one is not copied.
func TestSmallPartitionsAreCopiedTogether(t *testing.T) {
	r := &ProduceRequest{}
	for i := range 1000 {
		r.Partitions = append(r.Partitions, partition("a", int32(i), make([]byte, 200)))
	}
	var f frame
	if err := f.encode(r, 9, 1, ""); err != nil || len(f.buffers) != 1 {
		t.Errorf("%d pieces, %v", len(f.buffers), err)
	}
	r.Partitions[500].Frame = frameOf(make([]byte, 100_000))
	if err := f.encode(r, 9, 1, ""); err != nil || len(f.buffers) != 3 {
		t.Fatalf("%d pieces, %v", len(f.buffers), err)
	}
	large := r.Partitions[500].Frame
	if &f.buffers[1][len(f.buffers[1])-1] != &large[len(large)-1] {
		t.Error("the large partition was copied")
	}
	f.scratch = make([]byte, 0, 2*scratchKept)
	if f.reset(); cap(f.scratch) > scratchKept {
		t.Errorf("%d bytes of scratch are kept", cap(f.scratch))
	}
}

// TestPartitionInPieces: of the pieces of a large partition only small ones are copied.
func TestPartitionInPieces(t *testing.T) {
	batch := bytes.Repeat([]byte("records "), 10_000)
	whole := frameOf(batch)
	end := len(whole)
	for _, version := range []int16{3, 9} {
		r := &ProduceRequest{Partitions: []ProducePartition{{
			Topic: "a", Frame: whole[:30_000], Rest: [][]byte{whole[30_000:60_000], whole[60_000 : end-100], whole[end-100:]},
		}}}
		var f frame
		if err := f.encode(r, version, 77, "client"); err != nil {
			t.Fatal(err)
		}
		if n := len(f.buffers); n != 5 {
			t.Errorf("v%d: %d pieces, want the request's head, three of the batch, and what is small", version, n)
		}
		got, err := parseRequest(written(t, &f)[4:])
		if err != nil {
			t.Fatal(err)
		}
		compareRequest(t, got, r, [][]byte{batch}, version)
	}
	r := &ProduceRequest{Partitions: []ProducePartition{{Topic: "a", Frame: whole, Rest: [][]byte{{}}}}}
	if err := new(frame).encode(r, 9, 1, ""); err == nil {
		t.Error("a frame without its tail is accepted")
	}
}

// countWrites fails after some writes. The last of them is cut short.
type countWrites struct {
	net.Conn
	sizes []int
	left  int
}

func (c *countWrites) Write(p []byte) (int, error) {
	c.sizes = append(c.sizes, len(p))
	if c.left--; c.left < 0 {
		return 1, io.ErrClosedPipe
	}
	return len(p), nil
}

// TestWriteChunks: without writev there are few writes, and large pieces are not copied.
func TestWriteChunks(t *testing.T) {
	r := &ProduceRequest{}
	for i := range 100 {
		r.Partitions = append(r.Partitions, partition("a", int32(i), make([]byte, 3000)))
	}
	r.Partitions = append(r.Partitions, partition("a", 100, make([]byte, 500_000)))
	var f frame
	if err := f.encode(r, 3, 1, ""); err != nil {
		t.Fatal(err)
	}
	c := &countWrites{left: 100}
	n, err := f.writeTo(c, noDeadline)
	if err != nil || n != int64(f.size) || len(c.sizes) > 8 {
		t.Errorf("%d of %d bytes in %v, %v", n, f.size, c.sizes, err)
	}
	for left := range len(c.sizes) {
		failing := &countWrites{left: left}
		n, err := f.writeTo(failing, noDeadline)
		sum := int64(1)
		for _, size := range failing.sizes[:left] {
			sum += int64(size)
		}
		if err != io.ErrClosedPipe || n != sum {
			t.Errorf("failing at %d: %d bytes, want %d: %v", left, n, sum, err)
		}
	}
}

func TestClampMillis(t *testing.T) {
	for d, want := range map[time.Duration]int32{
		-time.Second: 0, 0: 0, time.Second: 1000, math.MaxInt64: math.MaxInt32,
	} {
		if got := clampMillis(d); got != want {
			t.Errorf("%v: %d", d, got)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{4, 1000} {
		b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) {
			r := &ProduceRequest{Acks: -1}
			for i := range n {
				r.Partitions = append(r.Partitions, partition("topic", int32(i), make([]byte, 4_000_000/n)))
			}
			var f frame
			b.ReportAllocs()
			for b.Loop() {
				if err := f.encode(r, 12, 1, "client"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
