package faketxn

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// listen is net.Listen.
func (s *Shim) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return &listener{l, s}, nil
}

type listener struct {
	net.Listener
	shim *Shim
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, shim: l.shim, asked: make(map[int32]kmsg.Request)}, nil
}

// conn is the cluster's end of a connection. It reads requests and answers along.
type conn struct {
	net.Conn
	shim *Shim

	mu       sync.Mutex
	incoming []byte                 // of an incomplete request
	asked    map[int32]kmsg.Request // by correlation id, if the answer is of interest
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.incoming = append(c.incoming, p[:n]...)
	for len(c.incoming) >= 4 {
		end := 4 + int(binary.BigEndian.Uint32(c.incoming))
		if len(c.incoming) < end {
			break
		}
		c.request(c.incoming[4:end])
		c.incoming = c.incoming[end:]
	}
	return n, err
}

// request notes a request whose answer is of interest. One that can't be read has none: the cluster closes the connection.
func (c *conn) request(frame []byte) {
	r := kbin.Reader{Src: frame}
	key, version, id := r.Int16(), r.Int16(), r.Int32()
	switch kmsg.Key(key) {
	case kmsg.FindCoordinator, kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn:
	default:
		return
	}
	r.NullableString() // client id
	kreq := kmsg.RequestForKey(key)
	kreq.SetVersion(version)
	if kreq.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if kreq.ReadFrom(r.Src) == nil {
		c.asked[id] = kreq
	}
}

// Write is called with one whole answer.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) < 8 {
		return c.Conn.Write(p)
	}
	id := int32(binary.BigEndian.Uint32(p[4:]))
	c.mu.Lock()
	kreq := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if kreq == nil {
		return c.Conn.Write(p)
	}
	kresp := kreq.ResponseKind()
	r := kbin.Reader{Src: p[8:]}
	if kresp.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	header := len(p) - len(r.Src)
	if err := kresp.ReadFrom(r.Src); err != nil {
		return 0, err
	}
	if !c.shim.judge(kreq, kresp) {
		c.Close()
		return 0, errLost
	}
	sent := kresp.AppendTo(append([]byte(nil), p[:header]...))
	binary.BigEndian.PutUint32(sent, uint32(len(sent)-4))
	if _, err := c.Conn.Write(sent); err != nil {
		return 0, err
	}
	return len(p), nil
}

var errLost = errors.New("the answer is lost")
