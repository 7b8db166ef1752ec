package telemetry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/telemetry/telemetrytest"
)

// cluster is the brokers that a Telemetry sees. Its time is that of the bubble.
type cluster struct {
	mu      sync.Mutex
	t       *Telemetry
	down    map[string]bool // dials fail
	old     map[string]bool // without the requests
	dials   []string
	conns   []*conn
	open    int
	subs    []*kmsg.GetTelemetrySubscriptionsRequest
	pushes  []*kmsg.PushTelemetryRequest
	at      []time.Duration // when pushes came, since began
	began   time.Time
	now     Snapshot
	silent  bool // requests have no answer
	sub     *kmsg.GetTelemetrySubscriptionsResponse
	onPush  func(n int) sarama.KError // the code for push n
	failing map[string]bool
}

func newCluster() *cluster {
	c := &cluster{down: map[string]bool{}, old: map[string]bool{}, failing: map[string]bool{}, began: time.Now(), sub: answer(nil)}
	c.t = New(Config{
		Bounds: bounds, Version: "v1", Timeout: 30 * time.Second,
		Failing: func(addr string) bool { return c.failing[addr] },
		Compress: func(codec int8, data []byte) ([]byte, bool) {
			return append([]byte("packed"), data...), codec == 3
		},
	})
	c.t.random = func() float64 { return 0.5 } // the first request after 1 s, the first push 10 s later
	c.t.state.wait = c.t.soon()
	return c
}

func (c *cluster) start() {
	c.t.Start(Source{
		Snapshot: func() Snapshot {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.now
		},
		Dial: c.dial,
	})
}

func (c *cluster) dial(_ context.Context, id int32, addr string) (Conn, error) {
	c.mu.Lock()
	c.dials = append(c.dials, addr)
	if c.down[addr] {
		c.mu.Unlock()
		return nil, errors.New("refused")
	}
	c.open++
	n := &conn{c: c, takes: !c.old[addr]}
	c.conns = append(c.conns, n)
	c.mu.Unlock()
	c.t.Learn(id, addr, n.takes) // as the dialer does
	return n, nil
}

// lose ends the open connections.
func (c *cluster) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.conns {
		n.err = errors.New("lost")
	}
}

type conn struct {
	c            *cluster
	takes        bool
	err          error // set under c.mu
	due, expired bool
	closed       bool
}

func (n *conn) Supports(...kmsg.Request) bool { return n.takes }
func (n *conn) Err() error {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.err
}
func (n *conn) RenewDue() bool    { n.c.mu.Lock(); defer n.c.mu.Unlock(); return n.due }
func (n *conn) SessionOver() bool { n.c.mu.Lock(); defer n.c.mu.Unlock(); return n.expired }
func (n *conn) Close() error {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if !n.closed {
		n.closed = true
		n.c.open--
	}
	return nil
}

func (n *conn) Request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	c := n.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.err != nil {
		return nil, n.err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	switch req := req.(type) {
	case *kmsg.GetTelemetrySubscriptionsRequest:
		c.subs = append(c.subs, req)
	case *kmsg.PushTelemetryRequest:
		c.pushes = append(c.pushes, req)
		c.at = append(c.at, time.Since(c.began))
	}
	if c.silent {
		c.mu.Unlock()
		<-ctx.Done()
		c.mu.Lock()
		return nil, ctx.Err()
	}
	if _, ok := req.(*kmsg.GetTelemetrySubscriptionsRequest); ok {
		resp := *c.sub
		return &resp, nil
	}
	resp := kmsg.NewPtrPushTelemetryResponse()
	if c.onPush != nil {
		resp.ErrorCode = int16(c.onPush(len(c.pushes)))
	}
	return resp, nil
}

func (c *cluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// counts are the dials, subscriptions and pushes so far.
func (c *cluster) counts() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%d dials, %d subscriptions, %d pushes, %d open", len(c.dials), len(c.subs), len(c.pushes), c.open)
}

func (c *cluster) want(t *testing.T, when, want string) {
	t.Helper()
	synctest.Wait()
	if got := c.counts(); got != want {
		t.Errorf("%s: %s, want %s", when, got, want)
	}
}

// total is the value of connection.creation.total in push i.
func (c *cluster) total(t *testing.T, i int) float64 {
	t.Helper()
	data, err := telemetrytest.Decode(c.pushes[i].Metrics)
	if err != nil {
		t.Fatal(err)
	}
	return data.Find(prefix + "connection.creation.total")[0].Value()
}

// bubble runs a test in a bubble, with a cluster whose Telemetry is closed at its end.
func bubble(t *testing.T, test func(t *testing.T, c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		defer func() {
			c.t.Close()
			if c.open != 0 {
				t.Errorf("%d connections are open after Close", c.open)
			}
		}()
		test(t, c)
	})
}

// TestNothingWithoutSupport: brokers without the requests cost neither a dial nor a goroutine.
func TestNothingWithoutSupport(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.t.Learn(-1, "a", false)
		c.start()
		c.t.Learn(1, "b", false)
		time.Sleep(time.Hour)
		c.want(t, "after an hour", "0 dials, 0 subscriptions, 0 pushes, 0 open")
		if c.t.alive {
			t.Error("there is a goroutine")
		}
	})
}

// TestPushes: each interval, over one connection, under one id, with what has happened since the last push that was taken.
func TestPushes(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.now.ConnectionsOpened = 3
		c.t.Learn(1, "a", true)
		c.want(t, "before Start", "0 dials, 0 subscriptions, 0 pushes, 0 open")
		c.start()
		time.Sleep(2 * time.Second)
		c.want(t, "after the first wait", "1 dials, 1 subscriptions, 0 pushes, 1 open")
		time.Sleep(10 * time.Second)
		c.want(t, "after the first interval", "1 dials, 1 subscriptions, 1 pushes, 1 open")
		c.set(func() { c.now.ConnectionsOpened = 4 })
		time.Sleep(10 * time.Second)
		c.set(func() {
			c.now.ConnectionsOpened, c.onPush = 9, func(int) sarama.KError { return sarama.ErrThrottlingQuotaExceeded }
		})
		time.Sleep(10 * time.Second)
		c.want(t, "after the third interval", "1 dials, 1 subscriptions, 3 pushes, 1 open")
		c.set(func() { c.onPush = nil })
		time.Sleep(20 * time.Second)
		c.want(t, "after the throttle", "1 dials, 2 subscriptions, 4 pushes, 1 open")
		if len(c.pushes) != 4 {
			t.FailNow()
		}
		for i, want := range []float64{3, 1, 5, 5} { // the third was not taken
			if got := c.total(t, i); got != want {
				t.Errorf("push %d has %v connections, want %v", i, got, want)
			}
			if p := c.pushes[i]; p.ClientInstanceID != id1 || p.SubscriptionID != 7 || p.Terminating {
				t.Errorf("push %d: %+v", i, p)
			}
		}
		if c.subs[0].ClientInstanceID != ([16]byte{}) || c.subs[1].ClientInstanceID != id1 {
			t.Errorf("subscriptions under %v and %v", c.subs[0].ClientInstanceID, c.subs[1].ClientInstanceID)
		}
		if apart := c.at[2] - c.at[1]; apart != 10*time.Second {
			t.Errorf("pushes are %v apart", apart)
		}
	})
}

// TestJitter: producers that are started together don't push together.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := map[time.Duration]bool{}
		var all []*cluster
		for range 20 {
			c := newCluster()
			c.t.random = rand.Float64
			c.t.state.wait = c.t.soon()
			c.t.Learn(1, "a", true)
			c.start()
			all = append(all, c)
		}
		time.Sleep(17 * time.Second)
		synctest.Wait()
		for _, c := range all {
			c.t.Close()
			if len(c.at) == 0 || c.at[0] < 5500*time.Millisecond || c.at[0] > 16500*time.Millisecond {
				t.Errorf("the first push came after %v", c.at)
				continue
			}
			at[c.at[0].Round(time.Millisecond)] = true
		}
		if len(at) < 10 {
			t.Errorf("20 producers pushed at %d moments", len(at))
		}
	})
}

// TestOnlyWhatIsWanted: prefixes, temporality and compression are as the broker asks, and the last two may change.
func TestOnlyWhatIsWanted(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.sub = answer(func(r *kmsg.GetTelemetrySubscriptionsResponse) {
			r.RequestedMetrics = []string{"org.apache.kafka.producer.connection.creation.t", "other"}
			r.DeltaTemporality, r.AcceptedCompressionTypes = false, []int8{99, 3, 1}
		})
		c.now = Snapshot{ConnectionsOpened: 2}
		c.t.Learn(1, "a", true)
		c.start()
		time.Sleep(12 * time.Second)
		c.set(func() {
			c.now.QueueTime = timingOf(ms)
			c.sub = answer(func(r *kmsg.GetTelemetrySubscriptionsResponse) { r.SubscriptionID = 8 })
			c.onPush = func(n int) sarama.KError {
				if n == 2 {
					return errUnknownSubscription
				}
				return 0
			}
		})
		time.Sleep(30 * time.Second)
		synctest.Wait()
		p := c.pushes[0]
		if p.CompressionType != 3 || string(p.Metrics[:6]) != "packed" {
			t.Fatalf("codec %d", p.CompressionType)
		}
		data, err := telemetrytest.Decode(p.Metrics[6:])
		if err != nil || len(data.Metrics) != 1 || data.Metrics[0].Temporality != cumulativeTemporality || data.Version != "v1" {
			t.Errorf("%+v, %v", data, err)
		}
		if len(c.pushes) < 3 || len(c.subs) != 2 {
			t.Fatal(c.counts())
		}
		p = c.pushes[2]
		data, err = telemetrytest.Decode(p.Metrics)
		if err != nil || p.SubscriptionID != 8 || p.CompressionType != 0 || len(data.Metrics) != 4 || data.Metrics[0].Temporality != deltaTemporality {
			t.Errorf("%+v, %v", data, err)
		}
	})
}

// TestNothingWanted: a broker that takes metrics and has no subscription is asked each interval.
func TestNothingWanted(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.sub.RequestedMetrics = nil
		c.t.Learn(1, "a", true)
		c.start()
		time.Sleep(95 * time.Second)
		c.want(t, "after 95 s", "1 dials, 10 subscriptions, 0 pushes, 1 open")
	})
}

// TestCloseInEachState: the last push is sent if a subscription and a connection are there, and Close takes a second at most.
func TestCloseInEachState(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(c *cluster)
		last   bool
		takes  time.Duration
	}{
		{"not started", func(c *cluster) {}, false, 0},
		{"no broker", func(c *cluster) { c.start() }, false, 0},
		{"before the first request", func(c *cluster) { c.t.Learn(1, "a", true); c.start() }, false, 0},
		{"waiting for a subscription's answer", func(c *cluster) {
			c.silent = true
			c.t.Learn(1, "a", true)
			c.start()
			time.Sleep(2 * time.Second)
		}, false, 0},
		{"nothing wanted", func(c *cluster) {
			c.sub.RequestedMetrics = nil
			c.t.Learn(1, "a", true)
			c.start()
			time.Sleep(2 * time.Second)
		}, false, 0},
		{"before the first push", func(c *cluster) {
			c.t.Learn(1, "a", true)
			c.start()
			time.Sleep(2 * time.Second)
		}, true, 0},
		{"between pushes", func(c *cluster) {
			c.t.Learn(1, "a", true)
			c.start()
			time.Sleep(30 * time.Second)
		}, true, 0},
		{"waiting for a push's answer", func(c *cluster) {
			c.t.Learn(1, "a", true)
			c.start()
			time.Sleep(2 * time.Second)
			c.set(func() { c.silent = true })
			time.Sleep(18 * time.Second)
		}, true, time.Second},
		{"a broker that does not answer the last push", func(c *cluster) {
			c.t.Learn(1, "a", true)
			c.start()
			time.Sleep(2 * time.Second)
			c.set(func() { c.silent = true })
		}, true, time.Second},
		{"connection lost", func(c *cluster) {
			c.t.Learn(1, "a", true)
			c.start()
			time.Sleep(2 * time.Second)
			c.lose()
		}, false, 0},
		{"session over", func(c *cluster) {
			c.t.Learn(1, "a", true)
			c.start()
			time.Sleep(2 * time.Second)
			c.set(func() { c.conns[0].expired = true })
		}, false, 0},
		{"pushes are invalid", func(c *cluster) {
			c.onPush = func(int) sarama.KError { return sarama.ErrInvalidRecord }
			c.t.Learn(1, "a", true)
			c.start()
			time.Sleep(30 * time.Second)
		}, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, c *cluster) {
				tt.before(c)
				synctest.Wait()
				before := len(c.pushes)
				began := time.Now()
				c.t.Close()
				if took := time.Since(began); took != tt.takes {
					t.Errorf("Close took %v", took)
				}
				c.t.Learn(2, "b", true) // has no effect any more
				time.Sleep(time.Hour)
				var last []*kmsg.PushTelemetryRequest
				for _, p := range c.pushes[before:] {
					if p.Terminating {
						last = append(last, p)
					}
				}
				if len(last) != len(c.pushes)-before || len(last) > 1 || tt.last != (len(last) == 1) {
					t.Errorf("%d pushes, %d of them terminating; one wanted: %v", len(c.pushes)-before, len(last), tt.last)
				}
			})
		})
	}
}

// TestCloseCountsNothingTwice: a push whose answer Close does not wait for was sent, and the last one goes over the same connection.
func TestCloseCountsNothingTwice(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.now.ConnectionsOpened = 3
		c.t.Learn(1, "a", true)
		c.start()
		time.Sleep(2 * time.Second)
		c.set(func() { c.silent = true })
		time.Sleep(18 * time.Second)
		c.set(func() { c.now.ConnectionsOpened = 5 })
		c.t.Close()
		if len(c.pushes) != 2 {
			t.Fatalf("%d pushes", len(c.pushes))
		}
		for i, want := range []float64{3, 2} {
			if got := c.total(t, i); got != want {
				t.Errorf("push %d has %v connections, want %v", i, got, want)
			}
		}
	})
}

// TestSilentBroker: each request waits for the time-out, on another connection, and the connections are closed.
func TestSilentBroker(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.silent = true
		c.t.Learn(1, "a", true)
		c.start()
		time.Sleep(22 * time.Minute)
		c.want(t, "after 22 minutes", "4 dials, 4 subscriptions, 0 pushes, 0 open") // every 5:30
		c.set(func() { c.silent = false })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(c.pushes) == 0 {
			t.Error("it pushes nothing")
		}
	})
}

// TestInvalid: after such an answer nothing is sent any more, whoever is dialled.
func TestInvalid(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.onPush = func(int) sarama.KError { return sarama.ErrInvalidRecord }
		c.t.Learn(1, "a", true)
		c.start()
		time.Sleep(time.Hour)
		c.t.Learn(2, "b", true)
		time.Sleep(time.Hour)
		c.want(t, "after two hours", "1 dials, 1 subscriptions, 1 pushes, 0 open")
		if c.t.alive {
			t.Error("there is a goroutine")
		}
	})
}

// TestRollingUpgrade: the cluster gains the requests, loses them, and gains them again. The client instance id stays.
func TestRollingUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.old["a"], c.old["b"] = true, true
		c.t.Learn(1, "a", false)
		c.t.Learn(2, "b", false)
		c.start()
		time.Sleep(time.Minute)
		c.want(t, "old cluster", "0 dials, 0 subscriptions, 0 pushes, 0 open")

		c.set(func() { c.old["a"] = false })
		c.t.Learn(1, "a", true) // the producer has dialled it anew
		time.Sleep(20 * time.Second)
		c.want(t, "one broker is new", "1 dials, 1 subscriptions, 1 pushes, 1 open")

		c.set(func() { c.old["a"] = true })
		c.lose()
		time.Sleep(time.Minute)
		c.want(t, "it is old again", "2 dials, 1 subscriptions, 1 pushes, 0 open")
		if c.t.alive {
			t.Error("there is a goroutine")
		}

		c.set(func() { c.old["b"] = false })
		c.t.Learn(2, "b", true)
		time.Sleep(20 * time.Second)
		c.want(t, "the other one is new", "3 dials, 2 subscriptions, 2 pushes, 1 open")
		if c.subs[1].ClientInstanceID != id1 {
			t.Error("another client instance id")
		}
	})
}

// TestOtherBroker: when a broker is gone, another one that takes metrics gets them, those that can be reached first.
func TestOtherBroker(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.t.Learn(1, "a", true)
		c.start()
		time.Sleep(20 * time.Second)
		c.t.Learn(2, "b", true)
		c.t.Learn(3, "c", true)
		c.set(func() { c.down["a"], c.failing["a"], c.failing["b"] = true, true, true })
		c.lose()
		time.Sleep(10 * time.Second)
		c.want(t, "c takes over", "2 dials, 1 subscriptions, 2 pushes, 1 open")
		if c.dials[1] != "c" {
			t.Errorf("dialled %v", c.dials)
		}
		c.set(func() { c.down["b"], c.down["c"], c.failing["c"] = true, true, true })
		c.lose()
		time.Sleep(10 * time.Second)
		c.want(t, "none can be reached", "5 dials, 1 subscriptions, 2 pushes, 0 open")
		c.set(func() { clear(c.down) })
		time.Sleep(10 * time.Second)
		c.want(t, "all can be reached", "6 dials, 1 subscriptions, 3 pushes, 1 open")
	})
}

// TestRenewed: a connection whose SASL session ends, or whose certificates have changed, is replaced.
func TestRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.t.Learn(1, "a", true)
		c.start()
		time.Sleep(20 * time.Second)
		c.set(func() { c.conns[0].due = true })
		time.Sleep(10 * time.Second)
		c.want(t, "after the renewal", "2 dials, 1 subscriptions, 2 pushes, 1 open")
	})
}

// TestManyBrokers: the memory does not grow with the brokers that there ever were.
func TestManyBrokers(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		for i := range 1000 {
			c.t.Learn(int32(i), fmt.Sprint("broker-", i), true)
		}
		if n := len(c.t.brokers); n != mostBrokers || c.t.brokers[0].addr != "broker-999" {
			t.Errorf("%d brokers, first %v", n, c.t.brokers[0])
		}
		c.t.Learn(-1, "broker-999", true)
		if c.t.brokers[0].id != 999 || len(c.t.brokers) != mostBrokers {
			t.Errorf("%v", c.t.brokers)
		}
	})
}

// TestPanic: a dial that panics fails, and the next one may work.
func TestPanic(t *testing.T) {
	defer func(handler func(any)) { sarama.PanicHandler = handler }(sarama.PanicHandler)
	bubble(t, func(t *testing.T, c *cluster) {
		panics := 0
		sarama.PanicHandler = func(any) { panics++ }
		c.t.Learn(1, "a", true)
		first := true
		c.t.Start(Source{Snapshot: func() Snapshot { return Snapshot{} }, Dial: func(ctx context.Context, id int32, addr string) (Conn, error) {
			if first {
				first = false
				panic("dial")
			}
			return c.dial(ctx, id, addr)
		}})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if panics != 1 || len(c.pushes) == 0 {
			t.Errorf("%d panics, %s", panics, c.counts())
		}
	})
}

// TestNil: a Telemetry that is switched off.
func TestNil(t *testing.T) {
	var none *Telemetry
	none.Learn(1, "a", true)
	none.Start(Source{})
	none.Close()
}

// TestConcurrentSafe: Learn, Start and Close from any goroutine.
func TestConcurrentSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 20 {
					c.t.Learn(int32(j%3), fmt.Sprint(j%3), (i+j)%3 > 0)
					if i == 0 && j == 5 {
						c.start() // once
					}
					time.Sleep(time.Duration(i+1) * 100 * time.Millisecond)
				}
				c.t.Close()
			})
		}
		all.Wait()
		if c.open != 0 {
			t.Errorf("%d connections are open", c.open)
		}
	})
}
