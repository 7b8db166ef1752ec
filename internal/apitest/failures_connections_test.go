package apitest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// countingDialer counts the dials to each address, and can swallow them: then they end only with their context.
type countingDialer struct {
	*virtual
	mu        sync.Mutex
	dials     map[string]int
	swallowed map[string]bool
}

// countDials has a producer's connections made by the result.
func (v *virtual) countDials(conf *sarama.Config) *countingDialer {
	d := &countingDialer{virtual: v, dials: map[string]int{}, swallowed: map[string]bool{}}
	conf.Net.Proxy.Dialer = d
	return d
}

// DialContext implements proxy.ContextDialer.
func (d *countingDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	d.mu.Lock()
	d.dials[addr]++
	swallow := d.swallowed[addr]
	d.mu.Unlock()
	if swallow {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return d.virtual.DialContext(ctx, network, addr)
}

func (d *countingDialer) swallow(addr string, swallow bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.swallowed[addr] = swallow
}

func (d *countingDialer) count() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dials := range d.dials {
		n += dials
	}
	return n
}

// refuseFor lets all batches of partition 0 be refused for a while, from now on.
func refuseFor(c *kfake.Cluster, d time.Duration, err *kerr.Error) (requests func() int) {
	var mu sync.Mutex
	n, start := 0, time.Now()
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		n++
		if time.Since(start) > d {
			return nil, nil, false
		}
		return answerProduce(kreq, func(p *kmsg.ProduceResponseTopicPartition) { p.ErrorCode = err.Code }), nil, true
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// What is refused for two seconds is sent again and again, over the one connection that there is: no try costs a dial,
// which with TLS and SASL is a handshake and a login. Only the look-ups go to another broker now and then.
func TestRetriesKeepTheConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Retry.Max = 1000
		conf.Producer.Retry.Backoff = 50 * time.Millisecond
		d := v.countDials(conf)
		p := newAsync(t, v.Cluster, conf, sluice.WithMetricsPush(false))
		send(p, message(0, 0))
		successes(t, p, 1)
		dials := d.count()
		requests := refuseFor(v.Cluster, 2*time.Second, kerr.NotEnoughReplicas)
		send(p, message(0, 1))
		successes(t, p, 1)
		if more := d.count() - dials; more > 5 || requests() < 30 {
			t.Errorf("%d dials for %d tries, want those of a few look-ups", more, requests())
		}
		wantQuickClose(t, p)
	}, kfake.SeedTopics(1, "t"))
}

// A leader that moves away and back within half a minute is met over the same connection.
func TestConnectionOutlivesItsPartitions(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		d := v.countDials(conf)
		p := newAsync(t, v.Cluster, conf, sluice.WithMetricsPush(false)) // which has a connection of its own
		move(t, v.Cluster, 0, 0)
		number := 0
		deliver := func() {
			send(p, message(0, number))
			number++
			successes(t, p, 1)
		}
		deliver()
		move(t, v.Cluster, 0, 1)
		deliver()
		dials := d.count()
		for range 4 {
			time.Sleep(20 * time.Second)
			leader := int32(number % 2)
			move(t, v.Cluster, 0, leader)
			deliver()
		}
		if more := d.count() - dials; more > 0 {
			t.Errorf("%d dials to brokers that were left 20 s before, want none", more)
		}
		wantQuickClose(t, p)
	}, kfake.SeedTopics(1, "t"))
}

// wantQuickClose closes a producer that has nothing to deliver. Connections that nobody uses are no reason to wait.
func wantQuickClose(t *testing.T, p *sluice.Producer) {
	t.Helper()
	start := time.Now()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("Close took %v", took)
	}
}

// silence lets a broker answer no Produce request until that is set to false.
func silence(c *kfake.Cluster, node int32) *atomic.Bool {
	var silent atomic.Bool
	silent.Store(true)
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return nil, nil, silent.Load() && c.CurrentNode() == node
	})
	return &silent
}

// A broker stops answering, and its address swallows what dials it. A partition that another broker leads by then goes on at
// once, though its batch stands in a request that waits for the dial. That of a partition that stays, in the same request,
// waits on, and is delivered when the broker is back: for that nothing counts as an attempt.
func TestDeadBrokerHoldsNoPartitionThatHasMoved(t *testing.T) {
	for name, idempotent := range map[string]bool{"idempotent": true, "not idempotent": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				for p := range int32(3) {
					move(t, v.Cluster, p, 0)
				}
				conf := v.config()
				conf.Producer.Idempotent = idempotent
				conf.Producer.RequiredAcks = sarama.WaitForAll
				conf.Producer.Retry.Max = 1
				conf.Producer.Flush.Frequency = 10 * time.Millisecond // what is sent together goes together
				conf.Net.MaxOpenRequests = 1
				conf.Net.ReadTimeout = time.Second
				conf.Net.DialTimeout = 15 * time.Second
				conf.Metadata.RefreshFrequency = 500 * time.Millisecond
				d := v.countDials(conf)
				p := newAsync(t, v.Cluster, conf, sluice.WithMaxInFlightPerPartition(1))
				send(p, messages(3, 3)...)
				successes(t, p, 3)

				dead := v.ListenAddrs()[0]
				silent := silence(v.Cluster, 0)
				d.swallow(dead, true)
				send(p, message(0, 3)) // written, and never answered: the connection is lost after a second
				time.Sleep(500 * time.Millisecond)
				send(p, message(1, 4), message(2, 5)) // one request, which waits for the connection, then for the dial
				time.Sleep(2500 * time.Millisecond)
				for _, moved := range []int32{1, 0} { // the latter was sent again, and waits too
					start := time.Now()
					move(t, v.Cluster, moved, 1)
					if got := successes(t, p, 1); got[0].Partition != moved {
						t.Errorf("partition %d was delivered, want %d", got[0].Partition, moved)
					}
					if took := time.Since(start); took > 2*time.Second {
						t.Errorf("partition %d went on %v after its leader had moved", moved, took)
					}
				}

				silent.Store(false)
				d.swallow(dead, false)
				if got := successes(t, p, 1); got[0].Partition != 2 {
					t.Errorf("partition %d was delivered, want 2", got[0].Partition)
				}
				wantQuickClose(t, p)
				if n := logged(v.Cluster, "t"); n != 6 {
					t.Errorf("the log holds %d records, want 6", n)
				}
			}, kfake.SeedTopics(3, "t"))
		})
	}
}

// A SASL session ends while a request is open, and later than its answer comes, or earlier: the connection is replaced
// when that has been answered, and not before. Nothing fails, and nothing is written twice.
func TestSessionsEndLoseNothing(t *testing.T) {
	for name, latency := range map[string]time.Duration{"answered in time": 10 * time.Second, "answered late": 25 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				move(t, v.Cluster, 0, 0)
				move(t, v.Cluster, 1, 0)
				conf := v.config()
				conf.ApiVersionsRequest = false // a sarama.Broker holds a mutex while it asks
				conf.Version = sarama.V3_6_0_0
				conf.Net.SASL.Enable = true
				conf.Net.SASL.User, conf.Net.SASL.Password = "user", "secret"
				conf.Producer.Retry.Max = 0
				d := v.countDials(conf)
				p := newAsync(t, v.Cluster, conf)
				send(p, message(0, 0))
				successes(t, p, 1)
				dials := d.count()

				time.Sleep(84 * time.Second)
				var first sleepers
				t.Cleanup(first.wait)
				v.Cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
					first.enter()
					defer first.leave()
					v.Cluster.SleepControl(func() { time.Sleep(latency) })
					return nil, nil, false
				})
				send(p, message(0, 1))
				time.Sleep(15 * time.Second) // after 98 % of the session
				send(p, message(1, 2))
				synctest.Wait()
				if n := d.count() - dials; n > 0 && latency > 15*time.Second {
					t.Error("another connection is there before the old one's request is answered")
				}
				successes(t, p, 2)
				if d.count() == dials {
					t.Error("the connection was not replaced")
				}
				wantQuickClose(t, p)
				if n := logged(v.Cluster, "t"); n != 3 {
					t.Errorf("the log holds %d records, want 3", n)
				}
			}, kfake.SeedTopics(2, "t"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"),
				kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "100000"}))
		})
	}
}
