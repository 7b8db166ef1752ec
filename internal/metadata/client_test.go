package metadata

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestASilentBrokerCostsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig())
		c.do(func() { c.silent["a:1"] = true })
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(time.Minute)
		// The bootstrap's connection leads to a. It is silent for a second, then b or c is asked beside it.
		if got := l.one(t); got.err != nil || got.at != time.Second {
			t.Errorf("got %v after %v", got.err, got.at)
		}
		second := c.seen()[1].addr
		if second == "a:1" {
			t.Error("a was asked twice")
		}
		// From then on that connection is used.
		for epoch := range int32(5) {
			c.do(func() { c.topics["t"] = topic(1, epoch+1, 1) })
			s.Refresh("t")
			time.Sleep(time.Second)
		}
		for _, a := range c.seen()[1:] {
			if a.addr != second {
				t.Errorf("asked %s, want %s", a.addr, second)
			}
		}
		if len(l.take()) != 5 || len(c.dialled()) != 2 {
			t.Errorf("dials: %v", c.dialled())
		}
		// When that broker fails too, the one that never failed is asked, not a.
		c.do(func() { c.silent[second] = true })
		s.Refresh("t")
		time.Sleep(time.Minute)
		if seen := c.seen(); l.one(t).err != nil || seen[len(seen)-1].addr == "a:1" {
			t.Errorf("requests: %v", seen)
		}
	})
}

// A broker marked as unresponsive is not asked first, even if the kept connection leads to it.
func TestUnresponsiveBrokerIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig())
		c.do(func() { c.silent["a:1"] = true })
		l := &listener{c: c}
		s.MarkUnresponsive("a:1", true)
		s.Watch("t", l.notify)
		synctest.Wait()
		if got := l.one(t); got.err != nil || got.at != 0 {
			t.Errorf("got %v after %v", got.err, got.at)
		}
		// The same if it is marked during a round.
		asked := c.seen()[len(c.seen())-1].addr
		c.do(func() { c.silent[asked] = true })
		s.Refresh("t")
		time.Sleep(time.Second)
		s.MarkUnresponsive(asked, true)
		time.Sleep(time.Minute)
		if got := l.one(t); got.err != nil {
			t.Errorf("got %v", got.err)
		}
	})
}

// The only broker is asked over a new connection as well, when the kept one has been silent for a second: that may have been
// dropped on its way. Both answers are waited for.
func TestSilentConnectionToTheOnlyBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig())
		c.do(func() { c.silent["a:1"] = true })
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(time.Second / 2)
		c.do(func() { c.silent["a:1"] = false }) // of the next connection
		time.Sleep(time.Minute)
		if got := l.one(t); got.err != nil || got.at != time.Second || len(c.dialled()) != 2 || c.open() != 1 {
			t.Errorf("got %v after %v, dials %v, %d connections", got.err, got.at, c.dialled(), c.open())
		}
	})
}

// A produce request timed out: whatever has dropped its connection may have dropped the look-ups' one, too, unless an answer
// came over that meanwhile. A connection that was lost says nothing of the kind.
func TestSilenceElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		silent bool
		quiet  time.Duration // since the last answer
		dials  int
	}{
		"silent":              {true, readTimeout, 2},
		"answered since then": {true, readTimeout - time.Second, 1},
		"lost":                {false, readTimeout, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a", "b", "c")
				c.topics["t"] = topic(1, 0, 1)
				s := start(t, c, newConfig())
				time.Sleep(test.quiet)
				s.MarkUnresponsive("b:1", test.silent)
				l := &listener{c: c}
				s.Watch("t", l.notify)
				synctest.Wait()
				dials := c.dialled()
				if got := l.one(t); got.err != nil || len(dials) != test.dials || slices.Contains(dials, "b:1") {
					t.Errorf("got %v, dials %v", got.err, dials)
				}
			})
		})
	}
}

func TestMetadataTimeoutLeavesTimeForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.topics["t"] = topic(1, 0, 1)
		conf := newConfig()
		conf.Metadata.Timeout = 8 * time.Second
		s := start(t, c, conf)
		c.do(func() { c.silent["a:1"] = true })
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(time.Minute)
		if got := l.one(t); got.err != nil || got.at != time.Second {
			t.Errorf("got %v after %v", got.err, got.at)
		}
	})
}

func TestSeedsAreTheLastResort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("x", "y")
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig()) // seed a:1 knows x and y only
		down := errors.New("down")
		c.do(func() {
			c.dead = map[string]error{"x:1": down, "y:1": down}
			for n := range c.conns {
				delete(c.conns, n)
				n.once.Do(func() { close(n.done) }) // the broker closed it
			}
		})
		l := &listener{c: c}
		s.Watch("t", l.notify)
		synctest.Wait()
		if got := l.one(t); got.err != nil || got.at != 0 {
			t.Errorf("got %v after %v", got.err, got.at)
		}
		if order := strings.Join(c.dialled(), " "); order != "a:1 x:1 y:1 a:1" && order != "a:1 y:1 x:1 a:1" {
			t.Errorf("dials: %s", order)
		}
	})
}

// REBOOTSTRAP_REQUIRED (KIP-1102): the seeds are asked, not the known brokers.
func TestRebootstrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("x", "y")
		s := start(t, c, newConfig())
		seedAsked := false
		c.do(func() {
			c.answer = func(a *asked) (*kmsg.MetadataResponse, error) {
				if a.addr == "a:1" && seedAsked {
					return &kmsg.MetadataResponse{Brokers: make([]kmsg.MetadataResponseBroker, 1)}, nil
				}
				seedAsked = true
				return &kmsg.MetadataResponse{ErrorCode: int16(ErrRebootstrapRequired)}, nil
			}
		})
		s.Watch("t", func(*Topic, error) {})
		synctest.Wait()
		if order := strings.Join(c.dialled(), " "); order != "a:1 a:1" {
			t.Errorf("dials: %s", order)
		}
	})
}

// If the broker closed an idle connection, it is dialled again and asked, whether the close was noticed or not.
func TestAClosedConnectionIsRedialled(t *testing.T) {
	for _, noticed := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster("a")
			c.topics["t"] = topic(1, 0, 1)
			s := start(t, c, newConfig())
			c.do(func() {
				for n := range c.conns {
					if noticed {
						delete(c.conns, n)
						n.once.Do(func() { close(n.done) })
						continue
					}
					c.answer = func(*asked) (*kmsg.MetadataResponse, error) {
						c.do(func() { c.answer = nil })
						return nil, errors.New("broken pipe")
					}
				}
			})
			l := &listener{c: c}
			s.Watch("t", l.notify)
			synctest.Wait()
			if got := l.one(t); got.err != nil || got.at != 0 || len(c.dialled()) != 2 {
				t.Errorf("noticed %v: got %v after %v, dials %v", noticed, got.err, got.at, c.dialled())
			}
		})
	}
}

// A broker that lags behind the cluster is not asked again if there are others.
func TestAStaleBrokerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.topics["t"] = topic(1, 5, 1)
		s := startAt(t, c, newConfig(), "b:1")
		l := &listener{c: c}
		s.Watch("t", l.notify)
		synctest.Wait()
		l.one(t)
		c.do(func() {
			c.stale = map[string]kmsg.MetadataResponseTopic{"t": topic(1, 4, 2)}
			c.topics["t"] = topic(1, 6, 2)
		})
		s.Refresh("t")
		time.Sleep(time.Second)
		if got := l.one(t); describe(got.topic) != "1: 0=1@5" {
			t.Errorf("got %s", describe(got.topic))
		}
		s.Refresh("t")
		time.Sleep(time.Second)
		if got := l.one(t); describe(got.topic) != "1: 0=2@6" {
			t.Errorf("got %s", describe(got.topic))
		}
	})
}

func TestCloseAtAnyMomentConcurrentSafe(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster("a", "b")
			c.topics["t"] = topic(1, 0, 1)
			c.delay = time.Duration(rand.IntN(3)) * 100 * time.Millisecond
			c.silent["a:1"] = rand.IntN(2) == 0
			conf := newConfig()
			conf.Metadata.RefreshFrequency = 700 * time.Millisecond
			s := New(conf, []string{"a:1", "b:1"}, c.dial)
			var closed atomic.Bool
			var running sync.WaitGroup
			running.Go(func() { _ = s.Start(t.Context()) }) // fails if Close was first
			for _, name := range []string{"t", "unknown"} {
				running.Go(func() {
					s.Watch(name, func(*Topic, error) {
						if closed.Load() {
							t.Error("a listener was called after Close")
						}
					})
					for range 20 {
						time.Sleep(50 * time.Millisecond)
						s.Refresh(name)
						s.UpdateLeader(name, [16]byte{}, 0, 2, rand.Int32N(100), nil)
					}
				})
			}
			time.Sleep(rand.N(1200 * time.Millisecond))
			before := time.Now()
			s.Close()
			closed.Store(true)
			if took := time.Since(before); took != 0 {
				t.Errorf("Close took %v", took)
			}
			running.Wait()
			if c.open() != 0 {
				t.Errorf("%d connections are open after Close", c.open())
			}
		})
	}
}

func TestAConnectionIsReplacedBeforeItsSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["t"] = topic(1, 0, 1)
		c.session = time.Hour
		s := start(t, c, newConfig())
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(59 * time.Minute)
		if len(c.dialled()) != 1 {
			t.Errorf("%d dials in the session's time", len(c.dialled()))
		}
		time.Sleep(2 * time.Minute)
		if len(c.dialled()) != 2 || c.open() != 1 {
			t.Errorf("%d dials after the session's time, %d connections", len(c.dialled()), c.open())
		}
		for _, got := range l.take() {
			if got.err != nil {
				t.Error(got.err)
			}
		}
	})
}

func TestCandidates(t *testing.T) {
	known := map[int32]Broker{1: {ID: 1, Addr: "a:1"}, 2: {ID: 2, Addr: "b:1"}, 3: {ID: 3, Addr: "c:1"}}
	now := time.Now()
	order := func(f *client) string {
		var addrs []string
		for _, c := range f.candidates(known) {
			addrs = append(addrs, c.addr)
		}
		return strings.Join(addrs, " ")
	}

	t.Run("least recently failed first", func(t *testing.T) {
		f := &client{seeds: []string{"s:1", "r:1", "b:1"}, failedAt: map[string]time.Time{
			"a:1": now, "b:1": now.Add(-time.Minute), "s:1": now, "left:1": now,
		}}
		for range 20 {
			if got := order(f); got != "c:1 b:1 a:1 r:1 s:1" {
				t.Fatalf("order is %s", got)
			}
		}
		if _, ok := f.failedAt["left:1"]; ok || len(f.failedAt) != 3 {
			t.Errorf("failures of brokers that left are kept: %v", f.failedAt)
		}
	})
	t.Run("shuffled", func(t *testing.T) {
		seen := map[string]bool{}
		f := &client{seeds: []string{"s:1", "r:1"}, failedAt: map[string]time.Time{}}
		for len(seen) < 12 { // 3! by 2!; a fixed order never gets there
			seen[order(f)] = true
		}
	})
}

// A failure is remembered until the broker answers again.
func TestFailuresAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		f := &client{dial: c.dial, seeds: []string{"a:1"}, requests: new(atomic.Int64), failedAt: map[string]time.Time{}}
		defer f.disconnect()
		ask := func(timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			_, err := f.ask(ctx, newRequest(nil, false), nil)
			return err
		}
		c.silent["a:1"] = true
		if err := ask(time.Second); !errors.Is(err, context.DeadlineExceeded) || len(f.failedAt) != 1 {
			t.Errorf("failed are %v: %v", f.failedAt, err)
		}
		c.silent["a:1"] = false
		if err := ask(time.Second); err != nil || len(f.failedAt) != 0 {
			t.Errorf("failed are %v: %v", f.failedAt, err)
		}
	})
}

// Of 20,000 brokers a request is tried at a few, each time at others, and at every seed.
func TestCandidatesAreBounded(t *testing.T) {
	known := map[int32]Broker{}
	for id := range int32(20_000) {
		known[id] = Broker{ID: id, Addr: fmt.Sprintf("dead-%d:1", id)}
	}
	c := &client{seeds: []string{"a:1", "b:1"}, failedAt: map[string]time.Time{}}
	tried := map[string]bool{}
	for round := range 10 {
		all := c.candidates(known)
		if len(all) != MostCandidates+2 || all[MostCandidates].id != -1 || all[MostCandidates+1].id != -1 {
			t.Fatalf("round %d: %d candidates", round, len(all))
		}
		for _, to := range all[:MostCandidates] {
			if tried[to.addr] {
				t.Errorf("round %d: %s has failed, and others have not been tried", round, to)
			}
			tried[to.addr] = true
			c.failedAt[to.addr] = time.Now()
		}
	}
}
