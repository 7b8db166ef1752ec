package txn

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/metadata"
)

// sessionConn answers a request when it is told to.
type sessionConn struct {
	renew, over, closed bool
	answer              chan struct{}
	asked               int
}

func (c *sessionConn) RequestBetween(ctx context.Context, req kmsg.Request, _, _ int16) (kmsg.Response, error) {
	c.asked++
	<-c.answer
	return req.ResponseKind(), nil
}
func (c *sessionConn) Err() error        { return nil }
func (c *sessionConn) SessionOver() bool { return c.over }
func (c *sessionConn) RenewDue() bool    { return c.renew }
func (c *sessionConn) Close() error      { c.closed = true; return nil }

// While a session ends, requests go on over the old connection until the next one is there, and the old one is closed with its
// last answer.
func TestCoordinatorSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conns []*sessionConn
		login := make(chan struct{}, 1)
		login <- struct{}{}
		c := NewCoordinators(CoordinatorsConfig{
			Timeout: 1 << 40,
			Dial: func(context.Context, metadata.Broker) (Conn, error) {
				<-login
				conns = append(conns, &sessionConn{answer: make(chan struct{}, 10)})
				return conns[len(conns)-1], nil
			},
		})
		key := coordinatorKey{ofTransaction, "x"}
		c.known[key] = metadata.Broker{ID: 1, Addr: "a:1"}
		var open sync.WaitGroup
		ask := func() {
			open.Go(func() {
				if _, _, err := c.request(t.Context(), key, kmsg.NewPtrEndTxnRequest(), 0, 3); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		ask()
		conns[0].renew = true
		ask() // begins the next connection, whose login takes long
		if len(conns) != 1 || conns[0].asked != 2 {
			t.Fatalf("%d connections, %d requests over the first", len(conns), conns[0].asked)
		}
		login <- struct{}{}
		synctest.Wait()
		ask()
		if len(conns) != 2 || conns[1].asked != 1 || conns[0].closed {
			t.Fatalf("%d connections, the first is closed: %t", len(conns), conns[0].closed)
		}
		conns[0].answer <- struct{}{}
		synctest.Wait()
		if conns[0].closed {
			t.Error("closed with a request open")
		}
		conns[0].answer <- struct{}{}
		conns[1].answer <- struct{}{}
		open.Wait()
		if !conns[0].closed || conns[1].closed {
			t.Errorf("closed: %t, %t", conns[0].closed, conns[1].closed)
		}
		conns[1].over = true
		login <- struct{}{}
		conns[1].answer <- struct{}{}
		open.Go(func() { _, _, _ = c.request(t.Context(), key, kmsg.NewPtrEndTxnRequest(), 0, 3) })
		synctest.Wait()
		if len(conns) != 3 || !conns[1].closed || conns[2].asked != 1 {
			t.Errorf("%d connections; the second is closed: %t", len(conns), conns[1].closed)
		}
		conns[2].answer <- struct{}{}
		open.Wait()
		c.close()
	})
}
