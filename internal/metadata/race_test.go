package metadata

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// cut closes all connections, as a broker that goes away does.
func (c *cluster) cut() {
	c.do(func() {
		for n := range c.conns {
			delete(c.conns, n)
			n.once.Do(func() { close(n.done) })
		}
	})
}

// All brokers were replaced, and packets to their old addresses are dropped: the seed is asked soon, not after a dial
// time-out for each of them. The next look-up has none to wait for.
func TestManyDeadAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("u", "v", "w", "x", "y")
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig()) // seed a:1
		c.do(func() { c.holes = []string{"u:1", "v:1", "w:1", "x:1", "y:1"} })
		c.cut()
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(time.Minute)
		if got := l.one(t); got.err != nil || got.at != 1250*time.Millisecond {
			t.Errorf("got %v after %v", got.err, got.at)
		}
		before := time.Since(c.born)
		s.Refresh("t")
		time.Sleep(time.Minute)
		if got := l.one(t); got.err != nil || got.at != before || c.open() != 1 {
			t.Errorf("got %v after %v, %d connections", got.err, got.at-before, c.open())
		}
	})
}

// The same at the start, where all are seeds.
func TestManyDeadSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.holes = []string{"u:1", "v:1", "w:1"}
		s := New(newConfig(), append(c.holes, "a:1"), c.dial)
		if err := s.Start(t.Context()); err != nil || time.Since(c.born) > 750*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(c.born), err)
		}
		s.Close()
	})
}

// One broker refuses the credentials while another one is dialled: that ends all tries.
func TestRefusedCredentialsEndTheOtherTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		refused := sarama.ErrSASLAuthenticationFailed
		c.holes, c.dead = []string{"u:1"}, map[string]error{"a:1": refused, "b:1": refused}
		s := New(newConfig(), []string{"u:1", "a:1", "b:1"}, c.dial)
		err := s.Start(t.Context())
		if !errors.Is(err, refused) || len(c.dialled()) > 2 || time.Since(c.born) > 250*time.Millisecond {
			t.Errorf("dials %v in %v: %v", c.dialled(), time.Since(c.born), err)
		}
	})
}

// The broker that the kept connection leads to was replaced by one of another cluster. Its answers are not believed, and
// others are asked. Brokers that tell no id are believed.
func TestAnswersOfAnotherClusterAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.topics["t"] = topic(1, 0, 1)
		c.id = map[string]string{"a:1": "own"}
		s := start(t, c, newConfig())
		c.do(func() { c.id["a:1"] = "other" })
		l := &listener{c: c}
		s.Watch("t", l.notify)
		synctest.Wait()
		if got, seen := l.one(t), c.seen(); got.err != nil || s.ClusterID() != "own" || seen[len(seen)-1].addr != "b:1" {
			t.Errorf("got %v, requests %v", got, seen)
		}
		c.do(func() { c.id["b:1"] = "other" })
		s.Refresh("t")
		time.Sleep(time.Minute)
		if got := l.one(t); !errors.Is(got.err, flow.ErrOtherCluster) {
			t.Errorf("got %v", got.err)
		}
	})
}

// With AllowAnyCluster they are believed.
func TestAnyCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["t"] = topic(1, 0, 1)
		c.id = map[string]string{"a:1": "own"}
		s := New(newConfig(), []string{"a:1"}, c.dial)
		s.AllowAnyCluster()
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c.do(func() { c.id["a:1"] = "other" })
		l := &listener{c: c}
		s.Watch("t", l.notify)
		synctest.Wait()
		if got := l.one(t); got.err != nil || s.ClusterID() != "" {
			t.Errorf("got %v, cluster %q", got, s.ClusterID())
		}
	})
}
