package wire

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

// dialerFunc is a proxy.ContextDialer.
type dialerFunc func(ctx context.Context) (net.Conn, error)

func (f dialerFunc) Dial(string, string) (net.Conn, error) { return f(context.Background()) }
func (f dialerFunc) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return f(ctx)
}

// The step of a dial is told by its address, with the error of the dial before it.
func TestDoingOfADial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unplugged := errors.New("unplugged")
		conf := sarama.NewConfig()
		conf.Net.Proxy.Enable, conf.Net.DialTimeout = true, time.Minute
		fails := true
		conf.Net.Proxy.Dialer = dialerFunc(func(ctx context.Context) (net.Conn, error) {
			if fails {
				return nil, unplugged
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		d := NewDialer(conf, 1)
		want := func(text string, cause error) {
			t.Helper()
			err := d.Doing("b:1")
			if text == "" && err != nil || text != "" && (err == nil || err.Error() != text) || !errors.Is(err, cause) {
				t.Errorf("%v, want %q", err, text)
			}
		}
		want("", nil)
		_, _ = d.Dial(t.Context(), 2, "b:1")
		want("waiting for the next dial: connecting to broker b:1: unplugged", unplugged)
		if err := d.Doing("another:1"); err != nil {
			t.Error(err)
		}

		fails = false
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _, _ = d.Dial(ctx, 2, "b:1") }()
		time.Sleep(time.Second)
		synctest.Wait()
		first := d.Doing("b:1").Error()
		time.Sleep(10 * time.Second)
		if second := d.Doing("b:1").Error(); first == second {
			t.Errorf("%q after 1s and after 11s", second)
		}
		if err := d.Doing("b:1"); !errors.Is(err, unplugged) {
			t.Error(err)
		}
		cancel()
		<-ended
	})
}

// A new connection has nothing to wait for.
func TestDoingOfAConnection(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := newConn(ours, ours, "b:1", NewDialer(sarama.NewConfig(), 1), versions{}, session{}, newConnMetrics(sarama.NewConfig().MetricRegistry, 2))
	go c.read()
	if err := c.Doing("broker 2 (b:1)"); err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	c.throttledUntil = time.Now().Add(time.Hour)
	c.open.push(openRequest{sent: time.Now().Add(-time.Minute), produce: nil, call: &call{answer: make(chan callAnswer, 1)}})
	c.mu.Unlock()
	if err := c.Doing("broker 2 (b:1)"); err == nil || err.Error() != "broker 2 (b:1) has not answered for 1m0s; throttled by broker 2 (b:1) for another 1h0m0s" {
		t.Error(err)
	}
	c.Close()
	if err := c.Doing("broker 2 (b:1)"); err != nil {
		t.Error(err)
	}
}
