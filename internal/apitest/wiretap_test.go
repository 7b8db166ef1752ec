package apitest

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// wiretap is a dialer that listens to all connections, and knows which Produce requests are open: written, and neither
// answered nor given up with their connection. A broker can't tell, since it takes one request of a connection at a time.
type wiretap struct {
	mu       sync.Mutex
	open     map[int32]int // requests by partition
	pipeline int           // most requests that were open on one connection
	found    string        // the first partition with two
}

// tap has a producer's connections listened to.
func tap(conf *sarama.Config) *wiretap {
	w := &wiretap{open: map[int32]int{}}
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = w
	return w
}

// Dial implements proxy.Dialer.
func (w *wiretap) Dial(network, addr string) (net.Conn, error) {
	return w.DialContext(context.Background(), network, addr)
}

// DialContext implements proxy.ContextDialer.
func (w *wiretap) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &tapped{Conn: conn, tap: w, open: map[int32][]int32{}}, nil
}

type tapped struct {
	net.Conn
	tap               *wiretap
	requests, answers []byte            // what is incomplete; under tap.mu, as open is
	open              map[int32][]int32 // partitions by correlation id
}

func (c *tapped) Write(p []byte) (int, error) {
	c.tap.mu.Lock()
	c.requests = append(c.requests, p...)
	c.requests = frames(c.requests, c.requested)
	c.tap.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tap.mu.Lock()
	c.answers = append(c.answers, p[:n]...)
	c.answers = frames(c.answers, func(frame []byte) { c.closed(int32(binary.BigEndian.Uint32(frame))) })
	c.tap.mu.Unlock()
	return n, err
}

func (c *tapped) Close() error {
	c.tap.mu.Lock()
	for id := range c.open {
		c.closed(id)
	}
	c.tap.mu.Unlock()
	return c.Conn.Close()
}

// frames passes the complete frames on, without their length, and returns the rest.
func frames(p []byte, each func([]byte)) (rest []byte) {
	for len(p) >= 4 {
		end := 4 + int(binary.BigEndian.Uint32(p))
		if len(p) < end {
			break
		}
		each(p[4:end])
		p = p[end:]
	}
	return p
}

func (c *tapped) requested(frame []byte) {
	r := kbin.Reader{Src: frame}
	req := kmsg.RequestForKey(r.Int16())
	req.SetVersion(r.Int16())
	id := r.Int32()
	r.NullableString() // client id
	produce, ok := req.(*kmsg.ProduceRequest)
	if !ok {
		return
	}
	if req.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if err := req.ReadFrom(r.Src); err != nil {
		c.tap.found = err.Error()
	}
	for _, topic := range produce.Topics {
		for _, p := range topic.Partitions {
			c.open[id] = append(c.open[id], p.Partition)
			if c.tap.open[p.Partition]++; c.tap.open[p.Partition] > 1 && c.tap.found == "" {
				c.tap.found = fmt.Sprintf("partition %d has two requests open", p.Partition)
			}
		}
	}
	c.tap.pipeline = max(c.tap.pipeline, len(c.open))
}

func (c *tapped) closed(id int32) {
	for _, p := range c.open[id] {
		c.tap.open[p]--
	}
	delete(c.open, id)
}

// oneInFlight checks that no partition ever had two requests open.
func (w *wiretap) oneInFlight(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.found != "" {
		t.Error(w.found)
	}
}

// slow lets each Produce request take a while. The cluster must sleep out of order: in order it has a race when one
// request sleeps right after another.
func slow(t testing.TB, c *kfake.Cluster, latency time.Duration) {
	var requests sleepers
	t.Cleanup(requests.wait)
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		requests.enter()
		defer requests.leave()
		c.SleepControl(func() { time.Sleep(latency) })
		return nil, nil, false
	})
}
