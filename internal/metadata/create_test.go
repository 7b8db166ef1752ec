package metadata

import (
	"testing"
	"testing/synctest"
	"time"
)

// Only the look-up that a message waits for may create a topic. A refresh that shares its round has a request of its own.
func TestOnlyAwaitedTopicsAreCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["old"], c.topics["new"] = topic(1, 0, 1), topic(2, 0, 1)
		conf := newConfig()
		conf.Metadata.RefreshFrequency = time.Minute
		s := start(t, c, conf)
		l := &listener{c: c}
		last := func(topics string, creates bool) {
			t.Helper()
			synctest.Wait()
			seen := c.seen()
			if a := seen[len(seen)-1]; a.topics != topics || c.request().AllowAutoTopicCreation != creates {
				t.Errorf("asked for %q, may create: %t; want %q, %t", a.topics, c.request().AllowAutoTopicCreation, topics, creates)
			}
		}
		s.Watch("old", l.notify)
		last("old", true)
		s.Refresh("old")
		time.Sleep(time.Second)
		last("old", false)
		c.do(func() { c.delay = time.Second })
		s.Refresh("old")
		synctest.Wait() // a round is under way: the next two share the one after it
		s.RefreshOrCreate("old")
		s.Refresh("old") // the other waits all the same
		time.Sleep(3 * time.Second)
		c.do(func() { c.delay = 0 })
		last("old", true)
		time.Sleep(time.Minute)
		last("old", false)

		before, calls := len(c.seen()), len(l.take())
		s.Refresh("old")
		s.Watch("new", l.notify)
		last("old", false)
		seen := c.seen()[before:]
		if len(seen) != 2 || seen[0].topics != "new" || seen[0].at != seen[1].at || len(l.take()) != 2 {
			t.Errorf("requests %v after %d calls, want one for each topic in the same round", seen, calls)
		}
	})
}

// What is not watched any more is not looked up any more, and not known any more when it is watched again.
func TestUnwatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["kept"], c.topics["gone"], c.topics["late"] = topic(1, 0, 1), topic(2, 0, 1), topic(3, 0, 1)
		s := start(t, c, newConfig())
		l := &listener{c: c}
		for _, name := range []string{"kept", "gone"} {
			s.Watch(name, l.notify)
		}
		synctest.Wait()
		s.Unwatch("gone")
		s.Unwatch("never watched")
		c.do(func() { c.delay = time.Second })
		s.Watch("late", l.notify)
		time.Sleep(500 * time.Millisecond)
		s.Unwatch("late") // its look-up is under way
		time.Sleep(time.Second)
		if calls := l.take(); len(calls) != 2 {
			t.Errorf("%d calls, want one for each of the first two", len(calls))
		}
		before := len(c.seen())
		s.Refresh("gone")
		time.Sleep(time.Hour)
		for _, a := range c.seen()[before:] {
			if a.topics != "kept" {
				t.Errorf("asked for %q", a.topics)
			}
		}
		if s.Topic("kept") == nil || s.Topic("gone") != nil || s.Topic("late") != nil {
			t.Error("one topic is kept, and no other")
		}
		if s.Answered("gone") != 0 || len(s.requests.answered) != 1 {
			t.Errorf("answered: %v", s.requests.answered)
		}
		l.take()
		c.do(func() { c.topics["kept"] = topic(4, 0, 1) })
		s.Unwatch("kept")
		s.Watch("kept", l.notify)
		time.Sleep(2 * time.Second)
		if got := l.one(t); got.err != nil || got.topic.ID[0] != 4 {
			t.Errorf("got %s, %v", describe(got.topic), got.err)
		}
	})
}
