package sink

import (
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzConnection gives a connection any bytes. It must end, without a panic, and must count no record that did not
// come in a whole batch.
func FuzzConnection(f *testing.F) {
	formatter := kmsg.NewRequestFormatter()
	for version := int16(minProduce); version <= maxProduce; version++ {
		f.Add(formatter.AppendRequest(nil, produceRequest(version, -1, "t", [16]byte{}, []int32{0, 1}, 2), 1))
	}
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version = 12
	f.Add(formatter.AppendRequest(nil, metadata, 1))
	f.Fuzz(func(t *testing.T, input []byte) {
		b := &Broker{config: Config{Partitions: 2}, topics: newTopics(2)}
		b.listener = unlistened{}
		conn := &script{input: input}
		newConnection(b, conn).run()
		if max := int64(len(input)/batchHeader) * (1<<31 - 1); b.Stats().Records > max {
			t.Errorf("%d records in %d bytes", b.Stats().Records, len(input))
		}
	})
}

// unlistened has an address and nothing else.
type unlistened struct{ net.Listener }

func (unlistened) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092} }

// script is a connection that says its input, then ends, and takes any answer.
type script struct {
	net.Conn
	input []byte
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.input) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(b, s.input)
	s.input = s.input[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error) { return len(b), nil }
func (s *script) RemoteAddr() net.Addr        { return unlistened{}.Addr() }
func (s *script) SetDeadline(time.Time) error { return nil }
func (s *script) Close() error                { return nil }
