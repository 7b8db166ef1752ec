package metadata

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A broker that lags behind the cluster must not answer every look-up: the next try asks another one. b lags.
func TestALaggingBrokerIsNotAskedAgain(t *testing.T) {
	for name, lagging := range map[string]kmsg.MetadataResponseTopic{
		"unknown topic":            refused(sarama.ErrUnknownTopicOrPartition),
		"leader not available":     refused(sarama.ErrLeaderNotAvailable),
		"partition without leader": topic(1, 5, -1),
		"no partitions":            topic(1, 5),
		"old epoch":                topic(1, 4, 1),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a", "b")
				c.topics["t"] = topic(1, 6, 2)
				s := startAt(t, c, newConfig(), "b:1")
				l := &listener{c: c}
				if name == "old epoch" {
					c.do(func() { c.topics["t"] = topic(1, 5, 1) })
					s.Watch("t", l.notify)
					time.Sleep(time.Second)
					c.do(func() { c.topics["t"] = topic(1, 6, 2) })
				}
				c.do(func() { c.stale = map[string]kmsg.MetadataResponseTopic{"t": lagging} })
				s.Watch("t", l.notify)
				time.Sleep(time.Second)
				s.Refresh("t") // a partition without a leader asks again
				time.Sleep(time.Second)
				calls := l.take()
				if got := calls[len(calls)-1]; got.err != nil || describe(got.topic) != "1: 0=2@6" {
					t.Errorf("got %s, %v", describe(got.topic), got.err)
				}
				if n := len(c.dialled()); n != 2 {
					t.Errorf("%d dials, want one more than the bootstrap's", n)
				}
			})
		})
	}
}

// The leader refused a message, but metadata name it again, with the same epoch: the second such answer leads to another
// broker.
func TestAnUnchangedAnswerLeadsToAnotherBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.topics["t"] = topic(1, 5, 1)
		s := startAt(t, c, newConfig(), "b:1")
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(time.Second)
		c.do(func() {
			c.stale = map[string]kmsg.MetadataResponseTopic{"t": topic(1, 5, 1)}
			c.topics["t"] = topic(1, 6, 2)
		})
		for range 3 {
			s.Refresh("t")
			time.Sleep(time.Second)
		}
		calls := l.take()
		if got := calls[len(calls)-1]; describe(got.topic) != "1: 0=2@6" {
			t.Errorf("got %s", describe(got.topic))
		}
	})
}

// A topic that does not exist costs a few connections, not one for each try; and none is given up for a broker that can't
// be reached.
func TestATopicThatDoesNotExistCostsFewDials(t *testing.T) {
	for name, holes := range map[string][]string{"all answer": nil, "others are out of reach": {"b:1", "c:1"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a", "b", "c")
				conf := newConfig()
				conf.Metadata.Retry.Max = 79
				s := start(t, c, conf)
				c.do(func() { c.holes = holes })
				l := &listener{c: c}
				s.Watch("gone", l.notify)
				time.Sleep(5 * time.Minute)
				if got := l.one(t); got.err == nil {
					t.Error("found")
				}
				dials := c.dialled()
				if len(dials) > 14 || c.open() != 1 {
					t.Errorf("%d dials for 80 tries, %d connections", len(dials), c.open())
				}
				if holes != nil && slices.Contains(dials[1:], "a:1") {
					t.Errorf("the good connection was given up: %v", dials)
				}
			})
		})
	}
}

// A partition fails whose leader is the broker that would be asked. If that was deposed and does not know it, it would name
// itself: so another one is asked at once. One that was right all the same costs one dial, not one for each failure.
func TestALeaderIsNotAskedAboutItself(t *testing.T) {
	for name, deposed := range map[string]bool{"deposed": true, "still the leader": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a", "b")
				c.topics["t"] = topic(1, 5, 2)
				s := startAt(t, c, newConfig(), "b:1")
				l := &listener{c: c}
				s.Watch("t", l.notify)
				time.Sleep(time.Second)
				want := "1: 0=2@5"
				if deposed {
					want = "1: 0=1@6"
					c.do(func() {
						c.stale = map[string]kmsg.MetadataResponseTopic{"t": topic(1, 5, 2)}
						c.topics["t"] = topic(1, 6, 1)
					})
				}
				l.take()
				s.RefreshLeader("t", 0, true, true)
				time.Sleep(time.Second)
				if got := l.one(t); describe(got.topic) != want {
					t.Errorf("got %s, want %s", describe(got.topic), want)
				}
				const more = 40
				for range more {
					s.RefreshLeader("t", 0, true, true)
					time.Sleep(time.Second)
				}
				if n := len(c.dialled()); n > more/2 {
					t.Errorf("%d dials for %d failures", n, more)
				}
			})
		})
	}
}

// Nor is it asked over a new connection, where the old one was closed meanwhile.
func TestALeaderIsNotAskedAboutItselfAnew(t *testing.T) {
	for range 20 { // brokers are asked in random order
		synctest.Test(t, func(t *testing.T) {
			c := newCluster("a", "b", "c")
			c.topics["t"] = topic(1, 5, 2)
			s := start(t, c, newConfig())
			defer s.Close()
			l := &listener{c: c}
			s.Watch("t", l.notify)
			time.Sleep(time.Second)
			l.take()
			for n := range c.conns {
				_ = n.Close()
			}
			c.do(func() {
				c.stale = map[string]kmsg.MetadataResponseTopic{"t": topic(1, 5, 2)}
				c.topics["t"] = topic(1, 6, 1)
			})
			s.RefreshLeader("t", 0, true, true)
			time.Sleep(time.Second)
			if got := l.one(t); describe(got.topic) != "1: 0=1@6" {
				t.Errorf("got %s", describe(got.topic))
			}
		})
	}
}

// A partition has had no leader for long, so useless answers are nothing new. When another one fails, its look-up is not
// left to the broker that lags behind.
func TestANewTroubleLeadsToAnotherBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.topics["t"] = topic(1, 5, 1, -1)
		c.holes = []string{"a:1"}
		s := startAt(t, c, newConfig(), "b:1")
		l := &listener{c: c}
		s.Watch("t", l.notify)
		for range 20 {
			time.Sleep(time.Second)
			s.RefreshLeader("t", 1, false, true)
		}
		time.Sleep(time.Second)
		c.do(func() {
			c.holes = nil
			c.stale = map[string]kmsg.MetadataResponseTopic{"t": topic(1, 5, 1, -1)}
			c.topics["t"] = topic(1, 6, 2, -1)
		})
		s.RefreshLeader("t", 0, true, true)
		time.Sleep(time.Second)
		s.RefreshLeader("t", 0, false, true)
		time.Sleep(time.Second)
		calls := l.take()
		if got := calls[len(calls)-1]; describe(got.topic) != "1: 0=2@6 1=-1@6" {
			t.Errorf("got %s", describe(got.topic))
		}
	})
}

// Without a back-off, useless look-ups are no storm.
func TestUselessLookUpsHaveAPause(t *testing.T) {
	for name, dead := range map[string]bool{"unknown topic": false, "no broker": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a")
				conf := newConfig()
				conf.Metadata.Retry.Backoff = 0
				conf.Metadata.Retry.Max = 5000
				s := start(t, c, conf)
				if dead {
					s.MarkUnresponsive("a:1", false) // closes the connection
					c.do(func() { c.dead["a:1"] = errors.New("refused") })
				}
				s.Watch("gone", func(*Topic, error) {})
				time.Sleep(time.Second)
				if n := len(c.seen()) + len(c.dialled()); n < 50 || n > 150 {
					t.Errorf("%d requests and dials in a second", n)
				}
			})
		})
	}
}
