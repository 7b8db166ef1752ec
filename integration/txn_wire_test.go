//go:build unix

package integration

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// txnTap is a dialer that reads the header of each request that a producer writes, as its broker does, and lets a test act
// between a request and its answer.
type txnTap struct {
	mu   sync.Mutex
	seen []sent
	// asked runs before the end of a request is written, so before the broker can know of it.
	asked func(sent)
	// answered runs when an answer has arrived, before the producer reads its end. If it returns true the producer never
	// does: the connection breaks instead.
	answered func(sent) (lose bool)
}

// sent is a request's header, and who it was sent to.
type sent struct {
	key     kmsg.Key
	version int16
	addr    string
}

func (s sent) String() string { return fmt.Sprintf("%s %d", s.key.Name(), s.version) }

// tapTxn has the producer of conf dial through a tap.
func tapTxn(conf *sarama.Config) *txnTap {
	tap := new(txnTap)
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = tap
	return tap
}

// act sets what is done about the requests from now on; nil for nothing.
func (tap *txnTap) act(asked func(sent), answered func(sent) (lose bool)) {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	tap.asked, tap.answered = asked, answered
}

// take returns the requests since the last take.
func (tap *txnTap) take() []sent {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	seen := tap.seen
	tap.seen = nil
	return seen
}

// versionsOf picks one kind of request: its versions, each once, in ascending order.
func versionsOf(seen []sent, key kmsg.Key) (versions []int16) {
	for _, s := range seen {
		if s.key == key {
			versions = append(versions, s.version)
		}
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

// Dial implements proxy.Dialer.
func (tap *txnTap) Dial(network, addr string) (net.Conn, error) {
	return tap.DialContext(context.Background(), network, addr)
}

// DialContext implements proxy.ContextDialer.
func (tap *txnTap) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &txnTapped{Conn: conn, tap: tap, addr: addr, open: make(map[uint32]sent)}, nil
}

// txnTapped is a connection. One goroutine writes and one reads; open is what they share.
type txnTapped struct {
	net.Conn
	tap      *txnTap
	addr     string
	requests frameHeads // the writer's
	answers  frameHeads // the reader's

	mu   sync.Mutex
	open map[uint32]sent // by correlation id
}

func (c *txnTapped) Write(p []byte) (int, error) {
	for _, head := range c.requests.ended(p) {
		s := sent{
			key:     kmsg.Key(binary.BigEndian.Uint16(head[0:])),
			version: int16(binary.BigEndian.Uint16(head[2:])),
			addr:    c.addr,
		}
		c.mu.Lock()
		c.open[binary.BigEndian.Uint32(head[4:])] = s
		c.mu.Unlock()
		c.tap.mu.Lock()
		c.tap.seen = append(c.tap.seen, s)
		asked := c.tap.asked
		c.tap.mu.Unlock()
		if asked != nil {
			asked(s)
		}
	}
	return c.Conn.Write(p)
}

func (c *txnTapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for _, head := range c.answers.ended(p[:n]) {
		id := binary.BigEndian.Uint32(head[0:])
		c.mu.Lock()
		s := c.open[id]
		delete(c.open, id)
		c.mu.Unlock()
		c.tap.mu.Lock()
		answered := c.tap.answered
		c.tap.mu.Unlock()
		if answered != nil && answered(s) {
			c.Conn.Close()
			return 0, net.ErrClosed
		}
	}
	return n, err
}

// frameHeads follows one direction of a connection. It keeps the first bytes of a frame, not the rest.
type frameHeads struct {
	length, head []byte
	left         int // bytes of the frame that are still to come, once its length is complete
}

// ended takes what comes next, and returns the first bytes of each frame that is complete with it, at most eight.
func (f *frameHeads) ended(p []byte) (heads [][8]byte) {
	for len(p) > 0 {
		if n := min(4-len(f.length), len(p)); n > 0 {
			f.length, p = append(f.length, p[:n]...), p[n:]
			if len(f.length) == 4 {
				f.left = int(binary.BigEndian.Uint32(f.length))
			}
			continue
		}
		n := min(f.left, len(p))
		f.head = append(f.head, p[:min(n, 8-len(f.head))]...)
		p, f.left = p[n:], f.left-n
		if f.left == 0 {
			heads = append(heads, [8]byte(append(f.head, make([]byte, 8)...)))
			f.length, f.head = f.length[:0], f.head[:0]
		}
	}
	return heads
}
