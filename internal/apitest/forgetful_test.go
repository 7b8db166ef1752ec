package apitest

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// forgetful is a cluster that keeps a producer's epoch for each partition, as Kafka does, and can forget producers. kfake
// keeps it once for all, and for ever. So it gets another producer id for each partition, and after each time that it was to
// forget. Requests must hold one batch.
type forgetful struct {
	*virtual
	mu     sync.Mutex
	age    int64          // how often all was forgotten
	refuse *kerr.Error    // the answer to numbers of a forgotten producer but 0; nil: they are taken
	known  map[int64]bool // ids that the cluster got
	judge  judge          // may be nil
	n      int            // batches that it judged
}

// judge says what becomes of the nth batch: an answer, or an error, which closes the connection. Without either it is left
// to the cluster.
type judge func(n int, batch []byte) (func(*kmsg.ProduceResponseTopicPartition), error)

func newForgetful(v *virtual) *forgetful {
	m := &forgetful{virtual: v, known: map[int64]bool{}}
	v.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		v.KeepControl()
		m.mu.Lock()
		defer m.mu.Unlock()
		p := &kreq.(*kmsg.ProduceRequest).Topics[0].Partitions[0]
		m.n++
		if m.judge != nil {
			switch change, err := m.judge(m.n, p.Records); {
			case err != nil:
				return nil, err, true
			case change != nil:
				return answerProduce(kreq, change), nil, true
			}
		}
		id, _ := producerOf(p.Records)
		id = id&(1<<40-1) | int64(p.Partition+1)<<40 | m.age<<50
		if first := sequenceOf(p.Records); first != 0 && !m.known[id] && m.age > 0 && m.refuse != nil {
			return answerProduce(kreq, code(m.refuse)), nil, true
		}
		m.known[id] = true
		binary.BigEndian.PutUint64(p.Records[43:], uint64(id))
		binary.BigEndian.PutUint32(p.Records[17:], crc32.Checksum(p.Records[21:], crc32.MakeTable(crc32.Castagnoli)))
		return nil, nil, false
	})
	return m
}

func sequenceOf(batch []byte) int32 { return int32(binary.BigEndian.Uint32(batch[53:])) }

// forget lets the brokers forget all producers. If err is not nil, numbers that go on are refused with it.
func (m *forgetful) forget(err *kerr.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.age++
	m.refuse = err
}

// judged lets j judge the batches from now on.
func (m *forgetful) judged(j judge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.judge, m.n = j, 0
}

// config is of an idempotent producer with five records a batch.
func (m *forgetful) config() *sarama.Config {
	conf := idempotent(m.virtual.config())
	conf.Producer.Flush.MaxMessages = 5
	return conf
}

// wantInOrder ends the producer, and reads back n numbered messages as wantInOrder does.
func (m *forgetful) wantInOrder(t *testing.T, p *sluice.Producer, n int) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	wantInOrder(t, m.Cluster, n, kgo.Dialer(m.DialContext))
}

// answerless is a dialer of which one connection breaks in place of the answer to a batch, which is in the log.
type answerless struct {
	*virtual
	lost atomic.Bool // the answer is; no other one will be
}

// loseAnswer lets the next answer to Produce be lost.
func (v *virtual) loseAnswer(conf *sarama.Config) { conf.Net.Proxy.Dialer = &answerless{virtual: v} }

// DialContext implements proxy.ContextDialer.
func (a *answerless) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := a.virtual.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &answerlessConn{Conn: conn, dialer: a}, nil
}

type answerlessConn struct {
	net.Conn
	dialer  *answerless
	written []byte
	produce atomic.Bool
}

func (c *answerlessConn) Write(p []byte) (int, error) {
	c.written = frames(append(c.written, p...), func(frame []byte) {
		if binary.BigEndian.Uint16(frame) == uint16(kmsg.Produce) {
			c.produce.Store(true)
		}
	})
	return c.Conn.Write(p)
}

func (c *answerlessConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.produce.Load() && !c.dialer.lost.Swap(true) {
		c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}
