package metadata

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

// With Metadata.Full the bootstrap asks for all topics. A topic without errors needs no look-up then.
func TestFullMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.full = true
		c.topics["good"] = topic(1, 4, 1, 2)
		c.topics["leaderless"] = topic(2, 0, 1, -1)
		c.topics["led from nowhere"] = topic(3, 0, 1, 9)
		c.topics["refused"] = refused(sarama.ErrTopicAuthorizationFailed)
		c.topics["empty"] = topic(5, 0)
		s := start(t, c, newConfig())

		l := &listener{c: c}
		s.Watch("good", l.notify)
		synctest.Wait()
		got := l.one(t)
		if got.err != nil || got.at != 0 || describe(got.topic) != "1: 0=1@4 1=2@4" || got.topic != s.Topic("good") {
			t.Errorf("got %s, %v", describe(got.topic), got.err)
		}
		if s.Requests() != 1 {
			t.Errorf("%d requests, want the bootstrap alone", s.Requests())
		}

		for _, name := range []string{"leaderless", "led from nowhere", "refused", "empty"} {
			if s.Topic(name) != nil {
				t.Errorf("%q is known already", name)
			}
			before := s.Requests()
			s.Watch(name, func(*Topic, error) {})
			synctest.Wait()
			if s.Requests() != before+1 {
				t.Errorf("%q was not looked up", name)
			}
		}

		// From then on it is like any other topic.
		c.do(func() { c.topics["good"] = topic(1, 5, 2, 2) })
		s.Refresh("good")
		time.Sleep(time.Minute)
		if got := l.one(t); got.err != nil || describe(got.topic) != "1: 0=2@5 1=2@5" {
			t.Errorf("got %s, %v", describe(got.topic), got.err)
		}
	})
}

// A second listener of a topic starts a look-up, even if the bootstrap answered the topic.
func TestFullMetadataWatchedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.full = true
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig())
		s.Watch("t", func(*Topic, error) {})
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(time.Minute)
		if got := l.one(t); got.err != nil || s.Requests() != 2 {
			t.Errorf("got %v after %d requests", got.err, s.Requests())
		}
	})
}

// The bootstrap's answer for a topic is not used once it is older than RefreshFrequency.
func TestFullMetadataGetsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.full = true
		c.topics["early"], c.topics["late"], c.topics["never"] = topic(1, 0, 1), topic(2, 0, 1), topic(3, 0, 1)
		conf := newConfig()
		conf.Metadata.RefreshFrequency = time.Minute
		s := start(t, c, conf)
		early, late := &listener{c: c}, &listener{c: c}
		s.Watch("early", early.notify)
		time.Sleep(59 * time.Second)
		if s.Topic("late") == nil || s.Topic("never") == nil {
			t.Error("the bootstrap's topics are gone too early")
		}
		c.do(func() { c.silent["a:1"] = true }) // the periodic refresh takes its time
		time.Sleep(2 * time.Second)
		if s.Topic("early") == nil || s.Topic("late") != nil || s.Topic("never") != nil {
			t.Error("after RefreshFrequency only the watched topic should be known")
		}
		c.do(func() {
			c.silent["a:1"] = false
			c.topics["late"] = topic(2, 1, 2)
		})
		s.Watch("late", late.notify)
		time.Sleep(time.Minute)
		if calls := late.take(); len(calls) == 0 || describe(calls[0].topic) != "2: 0=2@1" {
			t.Errorf("got %v", calls)
		}
		for _, a := range c.seen() {
			if a.topics == "never" {
				t.Errorf("asked for %q at %v", a.topics, a.at)
			}
		}
	})
}

func TestFullMetadataWithoutRefreshFrequency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.full = true
		c.topics["t"] = topic(1, 0, 1)
		conf := newConfig()
		conf.Metadata.RefreshFrequency = 0
		s := start(t, c, conf)
		time.Sleep(24 * time.Hour)
		l := &listener{c: c}
		s.Watch("t", l.notify)
		synctest.Wait()
		if got := l.one(t); got.err != nil || s.Requests() != 1 {
			t.Errorf("got %v after %d requests", got.err, s.Requests())
		}
	})
}

// Without Metadata.Full the bootstrap asks for the brokers alone.
func TestWithoutFullMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.full = true
		c.topics["t"] = topic(1, 0, 1)
		conf := newConfig()
		conf.Metadata.Full = false
		s := start(t, c, conf)
		if req := c.request(); req.Topics == nil || len(req.Topics) > 0 || req.AllowAutoTopicCreation || s.Topic("t") != nil {
			t.Errorf("the first request was %+v", req)
		}
		l := &listener{c: c}
		s.Watch("t", l.notify)
		synctest.Wait()
		if got := l.one(t); got.err != nil || s.Requests() != 2 {
			t.Errorf("got %v after %d requests", got.err, s.Requests())
		}
	})
}

// With Metadata.Full a refused topic does not fail Start.
func TestFullMetadataWithRefusedTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.full = true
		c.topics["t"] = refused(sarama.ErrTopicAuthorizationFailed)
		s := start(t, c, newConfig())
		l := &listener{c: c}
		s.Watch("t", l.notify)
		synctest.Wait()
		if got := l.one(t); !errors.Is(got.err, sarama.ErrTopicAuthorizationFailed) {
			t.Errorf("got %v", got.err)
		}
	})
}
