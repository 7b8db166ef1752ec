package apitest

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// sessions is a dialer whose connections are closed on what is written after their SASL session has ended, as brokers do
// (KIP-368). kfake does not.
type sessions struct {
	*virtual
	lifetime time.Duration
	slow     time.Duration // how long each dial takes
	dials    atomic.Int32
	late     atomic.Int32 // writes after the end
}

// DialContext implements proxy.ContextDialer.
func (s *sessions) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	s.dials.Add(1)
	select {
	case <-time.After(s.slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	conn, err := s.virtual.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &sessionConn{Conn: conn, sessions: s, began: time.Now()}, nil
}

type sessionConn struct {
	net.Conn
	sessions *sessions
	began    time.Time
}

func (c *sessionConn) Write(p []byte) (int, error) {
	if time.Since(c.began) > c.sessions.lifetime {
		c.sessions.late.Add(1)
		c.Conn.Close()
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// A SASL session ends while a request waits to be written: for the window of open requests, or for the end of a throttle
// (KIP-219). It goes over a new connection. The broker would close the old one on it, and it would be in doubt.
func TestSessionEndsWhileARequestWaits(t *testing.T) {
	for _, throttled := range []bool{false, true} {
		for _, isIdempotent := range []bool{false, true} {
			t.Run(fmt.Sprintf("throttled %t idempotent %t", throttled, isIdempotent), func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) {
					move(t, v.Cluster, 0, 0)
					move(t, v.Cluster, 1, 0)
					conf := v.saslConfig()
					conf.Producer.Retry.Max = 0
					conf.Net.MaxOpenRequests = 1
					if isIdempotent {
						idempotent(conf)
						conf.Producer.Retry.Max = 1
					}
					s := &sessions{virtual: v, lifetime: 100 * time.Second}
					conf.Net.Proxy.Dialer = s
					p := newAsync(t, v.Cluster, conf, sluice.WithMaxInFlightPerPartition(1))
					send(p, messages(2, 2)...)
					successes(t, p, 2)

					time.Sleep(84 * time.Second) // the connection is to be replaced after 85 to 95 s
					var asleep sleepers
					t.Cleanup(asleep.wait)
					written := int64(4)
					v.Cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
						if throttled {
							written-- // the answer is ours, not the cluster's
							resp := answerProduce(kreq, func(*kmsg.ProduceResponseTopicPartition) {})
							resp.ThrottleMillis = 20_000
							return resp, nil, true
						}
						asleep.enter()
						defer asleep.leave()
						v.Cluster.SleepControl(func() { time.Sleep(20 * time.Second) })
						return nil, nil, false
					})
					send(p, message(0, 2))
					time.Sleep(100 * time.Millisecond)
					send(p, message(1, 3))
					successes(t, p, 2)
					if n := s.late.Load(); n > 0 {
						t.Errorf("%d requests after the session's end", n)
					}
					v.wantDelivered(t, written)
					wantQuickClose(t, p)
				}, withLogin(kfake.SeedTopics(2, "t"),
					kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "100000"}))...)
			})
		}
	}
}

// Dials take seconds, and sessions end all the time: no message waits for one, none fails with Retry.Max 0, and none is written
// after a session's end.
func TestSessionsAreRenewedMeanwhile(t *testing.T) {
	for _, isIdempotent := range []bool{false, true} {
		t.Run(fmt.Sprintf("idempotent %t", isIdempotent), func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := v.saslConfig()
				conf.Producer.Retry.Max = 0
				if isIdempotent {
					idempotent(conf)
					conf.Producer.Retry.Max = 1
				}
				s := &sessions{virtual: v, lifetime: 100 * time.Second}
				conf.Net.Proxy.Dialer = s
				p := newAsync(t, v.Cluster, conf)
				send(p, message(0, 0))
				successes(t, p, 1)
				s.slow = 2 * time.Second
				s.dials.Store(0)
				const messages = 1000 // for 500 s
				for i := range messages {
					began := time.Now()
					send(p, message(0, i+1))
					successes(t, p, 1)
					if took := time.Since(began); took > 100*time.Millisecond {
						t.Errorf("message %d took %v", i, took)
					}
					time.Sleep(500 * time.Millisecond)
				}
				if n := s.dials.Load(); n < 5 || n > 7 || s.late.Load() > 0 {
					t.Errorf("%d dials, %d requests after a session's end", n, s.late.Load())
				}
				v.wantDelivered(t, messages+1)
				wantQuickClose(t, p)
			}, withLogin(virtualBrokers(1), kfake.SeedTopics(1, "t"),
				kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "100000"}))...)
		})
	}
}
