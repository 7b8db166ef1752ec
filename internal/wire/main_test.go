package wire

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

// onPanic gets what sarama.PanicHandler is called with; nil: it panics on. The handler itself is set once, since goroutines of
// sarama's read it when they end.
var onPanic atomic.Pointer[func(any)]

func TestMain(m *testing.M) {
	sarama.PanicHandler = func(p any) {
		handler := onPanic.Load()
		if handler == nil {
			panic(p)
		}
		(*handler)(p)
	}
	// The first meter starts go-metrics' ticker, which never ends. That must happen outside any synctest bubble.
	metrics.NewMeter().Stop()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// makeBatch is a record batch v2 with the given values.
func makeBatch(values ...string) []byte {
	var records []byte
	for i, v := range values {
		r := kmsg.NewRecord()
		r.OffsetDelta = int32(i)
		r.Value = []byte(v)
		r.Length = int32(len(r.AppendTo(nil)) - 1) // Without the length itself, one byte while it is 0
		records = r.AppendTo(records)
	}
	now := time.Now().UnixMilli()
	b := kmsg.NewRecordBatch()
	b.PartitionLeaderEpoch = -1
	b.Magic = 2
	b.LastOffsetDelta = int32(len(values) - 1)
	b.FirstTimestamp, b.MaxTimestamp = now, now
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1
	b.NumRecords = int32(len(values))
	b.Records = records
	p := b.AppendTo(nil)
	binary.BigEndian.PutUint32(p[8:], uint32(len(p)-12))
	binary.BigEndian.PutUint32(p[17:], crc32.Checksum(p[21:], crc32.MakeTable(crc32.Castagnoli)))
	return p
}

func frameOf(batch []byte) []byte {
	f := make([]byte, PartitionRoom+len(batch)+PartitionTail)
	copy(f[PartitionRoom:], batch)
	return f
}

func partition(topic string, p int32, batch []byte) ProducePartition {
	return ProducePartition{Topic: topic, Partition: p, Frame: frameOf(batch)}
}

// outcome is one call of Done.
type outcome struct {
	r   *ProduceRequest
	err error
}

// newRequest is a request with acks all. Its outcome goes to the channel.
func newRequest(outcomes chan outcome, partitions ...ProducePartition) *ProduceRequest {
	return &ProduceRequest{
		Acks:       -1,
		Timeout:    10 * time.Second,
		Partitions: partitions,
		Done:       func(r *ProduceRequest, err error) { outcomes <- outcome{r, err} },
	}
}

// testConfig has ApiVersions off, so that fake brokers get only the requests of the test.
func testConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.ClientID = "test"
	conf.Version = sarama.V3_7_0_0
	conf.ApiVersionsRequest = false
	conf.MetricRegistry = metrics.NewRegistry()
	return conf
}

// dialFunc is a proxy.Dialer without contexts.
type dialFunc func() (net.Conn, error)

func (f dialFunc) Dial(string, string) (net.Conn, error) { return f() }

func through(conf *sarama.Config, nc net.Conn) *sarama.Config {
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = dialFunc(func() (net.Conn, error) { return nc, nil })
	return conf
}

// fakeBroker is the other end of a connection. The test drives it.
type fakeBroker struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

func newFakeBroker(t *testing.T, nc net.Conn) *fakeBroker {
	t.Cleanup(func() { nc.Close() })
	return &fakeBroker{t: t, nc: nc, r: bufio.NewReader(nc)}
}

type received struct {
	correlationID int32
	clientID      string
	body          kmsg.Request
}

func (b *fakeBroker) receive() (received, error) {
	var size [4]byte
	if _, err := io.ReadFull(b.r, size[:]); err != nil {
		return received{}, err
	}
	p := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(b.r, p); err != nil {
		return received{}, err
	}
	return parseRequest(p)
}

func parseRequest(p []byte) (received, error) {
	if len(p) < 10 {
		return received{}, errors.New("short request")
	}
	req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(p)))
	req.SetVersion(int16(binary.BigEndian.Uint16(p[2:])))
	got := received{correlationID: int32(binary.BigEndian.Uint32(p[4:])), body: req}
	n := int(binary.BigEndian.Uint16(p[8:]))
	got.clientID = string(p[10 : 10+n])
	p = p[10+n:]
	if req.IsFlexible() {
		p = p[1:]
	}
	return got, req.ReadFrom(p)
}

// next is receive, but an error fails the test.
func (b *fakeBroker) next() received {
	b.t.Helper()
	got, err := b.receive()
	if err != nil {
		b.t.Errorf("broker: %v", err)
	}
	return got
}

func (b *fakeBroker) write(p []byte) {
	b.t.Helper()
	if _, err := b.nc.Write(p); err != nil {
		b.t.Errorf("broker: %v", err)
	}
}

func (b *fakeBroker) reply(correlationID int32, resp kmsg.Response) {
	b.t.Helper()
	b.write(appendAnswer(nil, correlationID, resp))
}

func appendAnswer(dst []byte, correlationID int32, resp kmsg.Response) []byte {
	from := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if resp.IsFlexible() && resp.Key() != keyApiVersions {
		dst = append(dst, 0)
	}
	dst = resp.AppendTo(dst)
	binary.BigEndian.PutUint32(dst[from:], uint32(len(dst)-from-4))
	return dst
}

// accepted is the answer to a produce request. Each offset is 100 plus the number of the partition.
func accepted(body kmsg.Request) *kmsg.ProduceResponse {
	req := body.(*kmsg.ProduceRequest)
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			answer := kmsg.NewProduceResponseTopicPartition()
			answer.Partition, answer.BaseOffset = p.Partition, 100+int64(p.Partition)
			topic.Partitions = append(topic.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// connect is a connection over a pipe, and its broker.
func connect(t *testing.T, conf *sarama.Config, maxOpenRequests int) (*Conn, *fakeBroker) {
	t.Helper()
	ours, theirs := net.Pipe()
	return connectOver(t, conf, maxOpenRequests, ours), newFakeBroker(t, theirs)
}

// connectTCP is a connection over a real socket, and its broker.
func connectTCP(t *testing.T, conf *sarama.Config, maxOpenRequests int) (*Conn, *fakeBroker) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return connectOver(t, conf, maxOpenRequests, ours), newFakeBroker(t, theirs)
}

func connectOver(t *testing.T, conf *sarama.Config, maxOpenRequests int, ours net.Conn) *Conn {
	t.Helper()
	c, err := NewDialer(through(conf, ours), maxOpenRequests).Dial(t.Context(), 1, "fake:9092")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustProduce(t *testing.T, c *Conn, r *ProduceRequest) {
	t.Helper()
	if err := c.Produce(context.Background(), r); err != nil {
		t.Error(err)
	}
}

func mustError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want one that wraps %v", err, want)
	}
}

// kmsgRequest is the request as kmsg encodes it.
func kmsgRequest(got received) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID(got.clientID)).AppendRequest(nil, got.body, got.correlationID)
}
