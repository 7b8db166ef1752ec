package simtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// network is what the producer dials: each connection leads to a proxy before a broker of the cluster. It implements
// proxy.ContextDialer, which sarama's configuration has a place for.
type network struct {
	*run
	virtual kfake.VirtualNetwork

	mu      sync.Mutex
	dials   map[string]int // by address: a connection's faults depend on how many came before it
	conns   map[string]map[*clientConn]struct{}
	down    map[string]bool // refuses connections
	deaf    map[string]bool // accepts connections and answers nothing
	running sync.WaitGroup  // proxies
}

// latency is what everything takes at least: with none, a retry without back-off would never let time pass.
const latency = 100 * time.Microsecond

var errRefused = errors.New("simtest: connection refused")

func newNetwork(r *run) *network {
	return &network{
		run: r, dials: map[string]int{}, conns: map[string]map[*clientConn]struct{}{},
		down: map[string]bool{}, deaf: map[string]bool{},
	}
}

func (n *network) Dial(network, addr string) (net.Conn, error) {
	return n.DialContext(context.Background(), network, addr)
}

func (n *network) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	time.Sleep(latency)
	n.mu.Lock()
	n.dials[addr]++
	number := n.dials[addr]
	refused := n.down[addr]
	n.mu.Unlock()
	if refused {
		return nil, errRefused
	}
	backend, err := n.virtual.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	port := uint64(0)
	for _, c := range addr {
		port = port*31 + uint64(c)
	}
	c := &clientConn{
		Conn: ours, network: n, addr: addr, number: number,
		faults: rand.New(rand.NewPCG(n.seed, port<<20|uint64(number))),
		gone:   make(chan struct{}),
	}
	if n.sc.fragment {
		c.writeCuts = rand.New(rand.NewPCG(n.seed, port<<20|uint64(number)|1<<60))
		c.readCuts = rand.New(rand.NewPCG(n.seed, port<<20|uint64(number)|1<<61))
	}
	n.mu.Lock()
	if n.conns[addr] == nil {
		n.conns[addr] = map[*clientConn]struct{}{}
	}
	n.conns[addr][c] = struct{}{}
	n.mu.Unlock()
	n.running.Go(func() { newProxy(c, theirs, backend).run() })
	return c, nil
}

// cut ends the connections to a broker.
func (n *network) cut(addr string) {
	n.mu.Lock()
	var conns []*clientConn
	for c := range n.conns[addr] {
		conns = append(conns, c)
	}
	n.mu.Unlock()
	for _, c := range conns {
		c.lose()
	}
}

func (n *network) set(of map[string]bool, addr string, on bool) {
	n.mu.Lock()
	of[addr] = on
	n.mu.Unlock()
}

func (n *network) isDeaf(addr string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.deaf[addr]
}

// clientConn is the producer's end of a connection.
type clientConn struct {
	net.Conn
	network *network
	addr    string
	number  int
	faults  *rand.Rand // the proxy's goroutine's
	// Where set, what passes is cut into pieces. One for each direction, for each has its own goroutine.
	writeCuts, readCuts *rand.Rand

	lost atomic.Bool // it was closed by either side; set before the other can notice
	once sync.Once
	gone chan struct{} // closed after that
}

// lose ends the connection. The mark is set first: what the broker does from then on is late, and whatever the
// producer does about it comes after the mark.
func (c *clientConn) lose() {
	c.lost.Store(true)
	c.once.Do(func() {
		close(c.gone)
		n := c.network
		n.flight.lost(c)
		n.mu.Lock()
		delete(n.conns[c.addr], c)
		n.mu.Unlock()
	})
	c.Conn.Close()
}

func (c *clientConn) Close() error {
	c.lose()
	return nil
}

func (c *clientConn) Write(p []byte) (int, error) {
	if c.writeCuts == nil {
		return c.Conn.Write(p)
	}
	n := 0
	for n < len(p) {
		m, err := c.Conn.Write(p[n:min(len(p), n+1+c.writeCuts.IntN(200))])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (c *clientConn) Read(p []byte) (int, error) {
	if c.readCuts != nil && len(p) > 1 {
		p = p[:1+c.readCuts.IntN(min(len(p), 100))]
	}
	return c.Conn.Read(p)
}

// pause waits for d or for the end of the connection.
func (c *clientConn) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.gone:
	}
}
