package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A delayed answer waits up to longestDelay. A connection whose answers are swallowed is cut after up to longestHold:
	// clients' own time-outs are longer, and would make up most of a run.
	longestDelay = 300 * time.Millisecond
	longestHold  = time.Second
	proxyBuffer  = 64 << 10
)

// faultRates are the shares of requests and answers that meet a fault, each 0 to 1.
type faultRates struct {
	Cut     float64 `json:"cut"`     // of requests and answers: the connection ends somewhere in the middle of it
	Delay   float64 `json:"delay"`   // of answers: held back, and all behind it
	Swallow float64 `json:"swallow"` // of answers: dropped with all that follow, while requests go on; then the connection ends
}

func defaultFaultRates() faultRates { return faultRates{Cut: 0.02, Delay: 0.05, Swallow: 0.02} }

func (r faultRates) String() string {
	var parts []string
	for _, p := range r.named() {
		if *p.rate > 0 {
			parts = append(parts, fmt.Sprintf("%s=%v%%", p.name, *p.rate*100))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ",")
}

type namedRate struct {
	name string
	rate *float64
}

func (r *faultRates) named() []namedRate {
	return []namedRate{{"cut", &r.Cut}, {"delay", &r.Delay}, {"swallow", &r.Swallow}}
}

// parseFaultRates reads "cut=2%,delay=0.1,swallow". A kind without a rate has its default; one that is not named is off.
func parseFaultRates(text string) (faultRates, error) {
	var rates faultRates
	if text == "none" {
		return rates, nil
	}
	defaults := defaultFaultRates()
	for part := range strings.SplitSeq(text, ",") {
		name, value, given := strings.Cut(strings.TrimSpace(part), "=")
		known := false
		for i, p := range rates.named() {
			if p.name != name {
				continue
			}
			known = true
			*p.rate = *defaults.named()[i].rate
			if !given {
				break
			}
			share, percent := strings.CutSuffix(value, "%")
			rate, err := strconv.ParseFloat(share, 64)
			if percent {
				rate /= 100
			}
			if err != nil || !(rate >= 0 && rate <= 1) {
				return rates, fmt.Errorf("%s=%s is not a share such as 0.01 or 1%%", name, value)
			}
			*p.rate = rate
		}
		if !known {
			return rates, fmt.Errorf("%q is not one of cut, delay, swallow, none", name)
		}
	}
	return rates, nil
}

// A faultProxy stands between a client and its brokers: the client dials through it. Each connection is two real ones, one
// to the proxy and one from there to the broker, so that the client meets what a network does. It parses no more of what
// passes than where a request or an answer ends, or a TLS record.
//
// The seed decides which request or answer of which connection meets a fault. All methods may be called concurrently.
type faultProxy struct {
	rates   faultRates
	seed    uint64
	timeout time.Duration // of a dial

	active   atomic.Bool // faults happen
	accepted atomic.Uint64
	counts   proxyCounts

	mu     sync.Mutex
	closed bool
	open   map[*proxied]struct{}
	wg     sync.WaitGroup
}

// proxyCounts are what happened.
type proxyCounts struct{ connections, answers, cut, delayed, swallowed atomic.Int64 }

func newFaultProxy(rates faultRates, seed uint64, dialTimeout time.Duration) *faultProxy {
	return &faultProxy{rates: rates, seed: seed, timeout: dialTimeout, open: map[*proxied]struct{}{}}
}

// start begins the faults: a client that is being made may not survive them, and is not what is tried here.
func (p *faultProxy) start() { p.active.Store(true) }

// heal ends them.
func (p *faultProxy) heal() { p.active.Store(false) }

func (p *faultProxy) Dial(network, addr string) (net.Conn, error) {
	return p.DialContext(context.Background(), network, addr)
}

// DialContext connects to a broker, with the proxy in between.
func (p *faultProxy) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	broker, err := (&net.Dialer{Timeout: p.timeout}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	client, inner, err := connectedPair(ctx)
	if err != nil {
		broker.Close()
		return nil, err
	}
	number := p.accepted.Add(1)
	c := &proxied{proxy: p, client: inner, broker: broker, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		inner.Close()
		broker.Close()
		client.Close()
		return nil, net.ErrClosed
	}
	p.open[c] = struct{}{}
	p.counts.connections.Add(1)
	p.wg.Go(func() { c.requests(rand.New(rand.NewPCG(p.seed, 2*number))) })
	p.wg.Go(func() { c.answers(rand.New(rand.NewPCG(p.seed, 2*number+1))) })
	return client, nil
}

// close ends all connections, and returns when their goroutines have ended.
func (p *faultProxy) close() {
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		c.end()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// connectedPair returns the two ends of a connection inside this process.
func connectedPair(ctx context.Context) (client, inner net.Conn, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "localhost:0")
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	if client, err = (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String()); err != nil {
		return nil, nil, err
	}
	for {
		// The kernel has the connection already, so this does not wait.
		if inner, err = listener.Accept(); err != nil {
			client.Close()
			return nil, nil, err
		}
		if inner.RemoteAddr().String() == client.LocalAddr().String() {
			return client, inner, nil
		}
		inner.Close() // some other process's
	}
}

// proxied is one connection through the proxy. One goroutine passes requests, one passes answers.
type proxied struct {
	proxy  *faultProxy
	client net.Conn
	broker net.Conn
	once   sync.Once
	done   chan struct{} // closed by end
}

func (c *proxied) end() {
	c.once.Do(func() {
		close(c.done)
		c.client.Close()
		c.broker.Close()
	})
}

// gone ends the connection, and forgets it.
func (c *proxied) gone() {
	c.end()
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	delete(c.proxy.open, c)
}

// cut ends the connection. Half of the clients are told by a reset, half by an orderly end.
func (c *proxied) cut(random *rand.Rand) {
	if tcp, ok := c.client.(*net.TCPConn); ok && random.IntN(2) == 0 {
		_ = tcp.SetLinger(0) // it is about to be closed
	}
	c.end()
}

// requests passes what the client sends until the connection ends or is cut.
func (c *proxied) requests(random *rand.Rand) {
	defer c.gone()
	from, to := bufio.NewReaderSize(c.client, proxyBuffer), newPlainWriter(c.broker)
	for {
		length, err := frameLength(from)
		if err != nil {
			return
		}
		// Whatever is switched on, each frame draws the same numbers.
		draw, share := random.Float64(), random.Float64()
		if draw < c.proxy.rates.Cut && c.proxy.active.Load() {
			c.proxy.counts.cut.Add(1)
			_, _ = io.CopyN(to, from, int64(share*float64(length)))
			c.cut(random)
			return
		}
		if _, err := io.CopyN(to, from, length); err != nil {
			return
		}
	}
}

// answers passes what the broker answers until the connection ends or is cut.
func (c *proxied) answers(random *rand.Rand) {
	defer c.gone()
	from, to := bufio.NewReaderSize(c.broker, proxyBuffer), newPlainWriter(c.client)
	for {
		length, err := frameLength(from)
		if err != nil {
			return
		}
		c.proxy.counts.answers.Add(1)
		draw, share := random.Float64(), random.Float64()
		rates := c.proxy.rates
		switch {
		case !c.proxy.active.Load():
		case draw < rates.Cut:
			c.proxy.counts.cut.Add(1)
			_, _ = io.CopyN(to, from, int64(share*float64(length)))
			c.cut(random)
			return
		case draw < rates.Cut+rates.Swallow:
			c.proxy.counts.swallowed.Add(1)
			timer := time.AfterFunc(time.Duration(share*float64(longestHold)), func() { c.cut(random) })
			_, _ = io.Copy(newPlainWriter(io.Discard), from)
			timer.Stop()
			return
		case draw < rates.Cut+rates.Swallow+rates.Delay:
			c.proxy.counts.delayed.Add(1)
			timer := time.NewTimer(time.Duration(share * float64(longestDelay)))
			select {
			case <-timer.C:
			case <-c.done:
				timer.Stop()
				return
			}
		}
		if _, err := io.CopyN(to, from, length); err != nil {
			return
		}
	}
}

// frameLength waits for the next frame, and returns its length with its header. A frame of Kafka's begins with four bytes of
// length, whose first is zero below 16 MiB; a TLS record with a type, 20 to 24.
func frameLength(r *bufio.Reader) (int64, error) {
	head, err := r.Peek(4)
	if err != nil {
		return 0, err
	}
	if head[0] >= 20 && head[0] <= 24 {
		if head, err = r.Peek(5); err != nil {
			return 0, err
		}
		return 5 + int64(binary.BigEndian.Uint16(head[3:])), nil
	}
	length := int64(int32(binary.BigEndian.Uint32(head)))
	if length < 0 {
		return 0, errors.New("not a frame of Kafka's")
	}
	return 4 + length, nil
}

// plainWriter hides what else a connection can do: io.Copy would ask it to read by itself, with a buffer each time.
type plainWriter struct{ io.Writer }

func newPlainWriter(w io.Writer) io.Writer { return plainWriter{w} }
