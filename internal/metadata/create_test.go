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
		s.RefreshOrCreate("old")
		s.Refresh("old") // the other waits all the same
		time.Sleep(time.Second)
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
