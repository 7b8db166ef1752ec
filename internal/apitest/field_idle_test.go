package apitest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

// firewall is a dialer whose connections can be dropped all at once, as a firewall does with idle ones: what is written to
// them is gone, nothing comes back, and nobody is told. New ones work.
type firewall struct {
	*virtual
	mu    sync.Mutex
	tries map[string]int // dials by address, refused ones included
	flows []*flowConn
}

// behindFirewall has a producer's connections made by the result.
func (v *virtual) behindFirewall(conf *sarama.Config) *firewall {
	f := &firewall{virtual: v, tries: map[string]int{}}
	conf.Net.Proxy.Dialer = f
	return f
}

// DialContext implements proxy.ContextDialer.
func (f *firewall) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	f.mu.Lock()
	f.tries[addr]++
	f.mu.Unlock()
	conn, err := f.virtual.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &flowConn{Conn: conn}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flows = append(f.flows, c)
	return c, nil
}

// drop drops all connections that are open now.
func (f *firewall) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.flows {
		c.mu.Lock()
		c.dropped = true
		c.mu.Unlock()
	}
}

// cut closes all connections, and returns how often addr was dialled so far.
func (f *firewall) cut(addr string) (tries int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.flows {
		c.Conn.Close()
	}
	return f.tries[addr]
}

// dials is how many connections were made so far.
func (f *firewall) dials() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.flows)
}

// open is how many of them the producer has not closed.
func (f *firewall) open() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.flows {
		c.mu.Lock()
		if !c.closed {
			n++
		}
		c.mu.Unlock()
	}
	return n
}

type flowConn struct {
	net.Conn
	mu              sync.Mutex
	dropped, closed bool
}

func (c *flowConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	dropped := c.dropped
	c.mu.Unlock()
	if dropped {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *flowConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Conn.Close()
}

// A message on a connection that was dropped silently costs one read time-out: the look-up behind it does not go over a
// connection that was dropped with it.
func TestSilentConnectionsCostOneReadTimeout(t *testing.T) {
	for _, brokers := range []int{1, 3} {
		for _, numbered := range []bool{false, true} {
			for _, seed := range []string{"127.0.0.1:1", "localhost:1"} {
				t.Run(fmt.Sprintf("brokers %d idempotent %t seed %s", brokers, numbered, seed), func(t *testing.T) {
					inBubble(t, func(t *testing.T, v *virtual) {
						conf := v.config()
						conf.Net.ReadTimeout = 5 * time.Second
						if numbered {
							idempotent(conf)
						}
						f := v.behindFirewall(conf)
						p, err := sluice.New([]string{seed}, conf, sluice.WithMetricsPush(false))
						if err != nil {
							t.Fatal(err)
						}
						closeAfter(t, p)
						for partition := range int32(3) {
							move(t, v.Cluster, partition, partition%int32(brokers))
						}
						send(p, messages(3, 3)...)
						successes(t, p, 3)
						time.Sleep(4 * time.Minute)
						f.drop()
						begin := time.Now()
						for i := range 3 {
							send(p, message(int32(i), 3+i))
						}
						successes(t, p, 3)
						if took := time.Since(begin); took > conf.Net.ReadTimeout+conf.Net.ReadTimeout/10 {
							t.Errorf("delivered after %v, want one read time-out of %v", took, conf.Net.ReadTimeout)
						}
						v.wantInOrder(t, 6)
						wantQuickClose(t, p)
					}, virtualBrokers(brokers), kfake.SeedTopics(3, "t"))
				})
			}
		}
	}
}

// The same for a topic that is new: its look-up meets one silent connection, and its first message another one.
func TestSilentConnectionsAndANewTopic(t *testing.T) {
	for _, brokers := range []int{1, 3} {
		t.Run(fmt.Sprintf("brokers %d", brokers), func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := v.config()
				conf.Net.ReadTimeout = 5 * time.Second
				conf.Metadata.Full = false
				f := v.behindFirewall(conf)
				p := newAsync(t, v.Cluster, conf, sluice.WithMetricsPush(false))
				send(p, messages(3, 3)...)
				successes(t, p, 3)
				time.Sleep(4 * time.Minute)
				f.drop()
				begin := time.Now()
				send(p, &sarama.ProducerMessage{Topic: "other"})
				successes(t, p, 1)
				if took := time.Since(begin); took > conf.Net.ReadTimeout+1500*time.Millisecond {
					t.Errorf("delivered after %v, want one read time-out of %v and a second", took, conf.Net.ReadTimeout)
				}
				wantQuickClose(t, p)
			}, virtualBrokers(brokers), kfake.SeedTopics(3, "t"), kfake.SeedTopics(1, "other"))
		})
	}
}

// Connections that nothing was sent over for the idle time are closed, all of them. The next messages are delivered as if
// nothing had happened: at once, over new ones, though a firewall has dropped the old ones. With acks 0 they would be lost,
// or would wait for a look-up.
func TestIdleConnectionsAreClosed(t *testing.T) {
	for _, acks := range []sarama.RequiredAcks{sarama.NoResponse, sarama.WaitForLocal, sarama.WaitForAll} {
		t.Run(fmt.Sprintf("acks %d", acks), func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := v.config()
				conf.Producer.RequiredAcks = acks
				conf.Producer.Retry.Max = 0
				f := v.behindFirewall(conf)
				move(t, v.Cluster, 0, 0)
				move(t, v.Cluster, 1, 1)
				p := newAsync(t, v.Cluster, conf, sluice.WithConnectionsMaxIdle(time.Minute), sluice.WithMetricsPush(false))
				number := 0
				deliver := func() {
					t.Helper()
					for partition := range int32(2) {
						send(p, message(partition, number))
						number++
					}
					successes(t, p, 2)
				}
				deliver()
				for range 4 { // in use: each stays
					time.Sleep(50 * time.Second)
					dials := f.dials()
					deliver()
					if more := f.dials() - dials; more > 0 {
						t.Errorf("%d dials for connections that are in use", more)
					}
				}
				lookUps := metadataRequests(v.Cluster, "t")
				for range 3 {
					time.Sleep(time.Minute)
					synctest.Wait()
					if n := f.open(); n > 0 {
						t.Errorf("%d connections are open", n)
					}
					f.drop()
					begin, dials := time.Now(), f.dials()
					deliver()
					if took := time.Since(begin); took > 10*time.Millisecond || f.dials()-dials != 2 {
						t.Errorf("delivered after %v and %d dials", took, f.dials()-dials)
					}
				}
				time.Sleep(time.Second)
				if n := lookUps.Load(); n > 0 {
					t.Errorf("%d look-ups because we closed a connection", n)
				}
				v.wantInOrder(t, number)
				wantQuickClose(t, p)
			}, virtualBrokers(2), kfake.SeedTopics(2, "t"))
		})
	}
}

// The connection of the look-ups is closed too, by default after 9 minutes, and dialled anew for the next one. A negative
// idle time keeps it.
func TestIdleConnectionOfLookUps(t *testing.T) {
	for idle, open := range map[time.Duration]int{0: 0, -1: 1} {
		inBubble(t, func(t *testing.T, v *virtual) {
			conf := v.config()
			f := v.behindFirewall(conf)
			opts := []sluice.Option{sluice.WithMetricsPush(false)}
			if idle != 0 {
				opts = append(opts, sluice.WithConnectionsMaxIdle(idle))
			}
			conf.Metadata.RefreshFrequency = time.Hour
			p := newAsync(t, v.Cluster, conf, opts...)
			time.Sleep(sluice.DefaultConnectionsMaxIdle - time.Second)
			synctest.Wait()
			if n := f.open(); n != 1 {
				t.Errorf("%d connections before the idle time is over", n)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := f.open(); n != open {
				t.Errorf("%d connections after 9 minutes, want %d", n, open)
			}
			send(p, message(0, 0))
			successes(t, p, 1)
			wantQuickClose(t, p)
		}, kfake.SeedTopics(1, "t"))
	}
	_, err := sluice.New([]string{"a:1"}, testConfig(), sluice.WithConnectionsMaxIdle(0))
	wantError(t, err, nil, "WithConnectionsMaxIdle(0)")
	if _, wrong := errors.AsType[sarama.ConfigurationError](err); !wrong {
		t.Errorf("%T", err)
	}
}
