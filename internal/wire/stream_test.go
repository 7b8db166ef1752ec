package wire

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzStream: whatever a broker sends, each open request has one outcome, and the connection ends with its socket.
func FuzzStream(f *testing.F) {
	produce := kmsg.NewPtrProduceResponse()
	produce.Version = 10
	produce.Topics = []kmsg.ProduceResponseTopic{{Topic: "a", Partitions: make([]kmsg.ProduceResponseTopicPartition, 1)}}
	meta := kmsg.NewPtrMetadataResponse()
	meta.Version = 11
	init := kmsg.NewPtrInitProducerIDResponse()
	init.Version = 4
	good := appendAnswer(appendAnswer(appendAnswer(nil, 0, produce), 1, meta), 2, init)
	f.Add(good)
	f.Add(append(good, good...))
	f.Add(good[:len(good)-3])
	for _, length := range []uint32{0, 3, 4, 100, 70_000, 100 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		f.Add(append(binary.BigEndian.AppendUint32(nil, length), good...))
	}
	conf := testConfig() // one for all: each registry's meters stay
	f.Fuzz(func(t *testing.T, stream []byte) {
		ours, theirs := net.Pipe()
		c, err := NewDialer(through(conf, ours), 1).Dial(t.Context(), 1, "fake:9092")
		if err != nil {
			t.Fatal(err)
		}
		drained := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, theirs) // the requests
			close(drained)
		}()
		outcomes := make(chan outcome, 2)
		mustProduce(t, c, newRequest(outcomes, partition("a", 0, make([]byte, 10))))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = c.Metadata(t.Context(), askedFor(0, "a"))
			_, _ = c.Request(t.Context(), kmsg.NewPtrInitProducerIDRequest())
		}()
		_, _ = theirs.Write(stream)
		theirs.Close()
		<-outcomes
		<-ended
		<-c.Done()
		<-drained
		if len(outcomes) > 0 || c.Err() == nil {
			t.Errorf("%d more outcomes, %v", len(outcomes), c.Err())
		}
		c.Close()
	})
}
