//go:build unix

package integration

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// connections is a dialer that keeps the connections that are open, to cut them or to wait for their end.
type connections struct {
	mu   sync.Mutex
	open map[*connection]struct{}
	made int
}

// connection tells when its reader has met the end.
type connection struct {
	net.Conn
	all   *connections
	ended chan struct{}
	once  sync.Once
}

// through has the producer of conf dial through a dialer that is returned.
func through(conf *sarama.Config) *connections {
	all := &connections{open: make(map[*connection]struct{})}
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = all
	return all
}

func (all *connections) Dial(network, addr string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: conn, all: all, ended: make(chan struct{})}
	all.mu.Lock()
	defer all.mu.Unlock()
	all.open[c] = struct{}{}
	all.made++
	return c, nil
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.end()
	}
	return n, err
}

func (c *connection) Close() error {
	c.end()
	return c.Conn.Close()
}

func (c *connection) end() {
	c.once.Do(func() {
		c.all.mu.Lock()
		defer c.all.mu.Unlock()
		delete(c.all.open, c)
		close(c.ended)
	})
}

func (all *connections) list() (open []*connection, made int) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for c := range all.open {
		open = append(open, c)
	}
	return open, all.made
}

// cut ends every connection from the outside: the producer meets it when it reads or writes.
func (all *connections) cut() {
	open, _ := all.list()
	for _, c := range open {
		_ = c.Conn.Close() // the other end may have been faster
	}
}

// awaitIdle waits until every connection was closed by its broker.
func (all *connections) awaitIdle(ctx context.Context, t *testing.T) {
	t.Helper()
	open, _ := all.list()
	for _, c := range open {
		select {
		case <-c.ended:
		case <-ctx.Done():
			t.Fatalf("the broker does not close idle connections: %v", ctx.Err())
		}
	}
}
