package metadata

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestWatchResolvesATopicAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.topics["t"] = topic(7, 3, 1, -1, 2)
		s := start(t, c, newConfig())
		if s.Topic("t") != nil {
			t.Error("a topic is known that nobody asked for")
		}
		l := &listener{c: c}
		s.Watch("t", l.notify)
		synctest.Wait()
		got := l.one(t)
		// One partition has no leader. The topic is resolved all the same.
		if got.err != nil || describe(got.topic) != "7: 0=1@3 1=-1@3 2=2@3" || got.topic != s.Topic("t") {
			t.Errorf("got %s, %v", describe(got.topic), got.err)
		}
		if seen := c.seen(); len(seen) != 1 || seen[0].at != 0 || s.Requests() != 2 || !c.request().AllowAutoTopicCreation {
			t.Errorf("requests: %v", seen)
		}
		if len(c.dialled()) != 1 {
			t.Errorf("the connection was not used again: dials %v", c.dialled())
		}
	})
}

func TestWatchWithoutAutoTopicCreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		conf := newConfig()
		conf.Metadata.AllowAutoTopicCreation = false
		s := start(t, c, conf)
		s.Watch("t", func(*Topic, error) {})
		synctest.Wait()
		if len(c.request().Topics) != 1 || c.request().AllowAutoTopicCreation {
			t.Errorf("request was %+v", c.request())
		}
	})
}

// A failing look-up is retried, unless retries are useless. Other topics do not wait for it.
func TestWatchOfTopicsThatFail(t *testing.T) {
	for _, tt := range []struct {
		answer kmsg.MetadataResponseTopic
		want   error
		after  time.Duration
	}{
		{refused(sarama.ErrUnknownTopicOrPartition), sarama.ErrUnknownTopicOrPartition, 750 * time.Millisecond},
		{refused(sarama.ErrLeaderNotAvailable), sarama.ErrLeaderNotAvailable, 750 * time.Millisecond},
		{refused(sarama.ErrInvalidReplicationFactor), sarama.ErrInvalidReplicationFactor, 750 * time.Millisecond},
		{topic(1, 0), sarama.ErrIncompleteResponse, 750 * time.Millisecond}, // no partitions
		{refused(sarama.ErrInvalidTopic), sarama.ErrInvalidTopic, 0},
		{refused(sarama.ErrTopicAuthorizationFailed), sarama.ErrTopicAuthorizationFailed, 0},
		{refused(sarama.ErrClusterAuthorizationFailed), sarama.ErrClusterAuthorizationFailed, 0},
	} {
		t.Run(tt.want.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a")
				c.topics["bad"], c.topics["good"] = tt.answer, topic(1, 0, 1)
				s := start(t, c, newConfig())
				bad, good := &listener{c: c}, &listener{c: c}
				s.Watch("bad", bad.notify)
				s.Watch("good", good.notify)
				time.Sleep(time.Minute)
				if got := good.one(t); got.at != 0 || got.err != nil {
					t.Errorf("the good topic got %v after %v", got.err, got.at)
				}
				got := bad.one(t)
				if !errors.Is(got.err, tt.want) || got.topic != nil || got.at != tt.after {
					t.Errorf("got %v after %v, want %v after %v", got.err, got.at, tt.want, tt.after)
				}
			})
		})
	}
}

func TestWatchOfATopicThatIsCreatedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		s := start(t, c, newConfig())
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(400 * time.Millisecond)
		if calls := l.take(); len(calls) != 0 {
			t.Errorf("got the error of a try that is retried: %v", calls)
		}
		c.do(func() { c.topics["t"] = topic(1, 0, 1) })
		time.Sleep(time.Minute)
		if got := l.one(t); got.err != nil || got.at != 500*time.Millisecond {
			t.Errorf("got %v after %v", got.err, got.at)
		}
	})
}

func TestTransportErrorsAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig())
		broken := errors.New("connection reset")
		c.do(func() { c.answer = func(*asked) (*kmsg.MetadataResponse, error) { return nil, broken } })
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(time.Minute)
		got := l.one(t)
		if !errors.Is(got.err, sarama.ErrOutOfBrokers) || !errors.Is(got.err, broken) || got.at != 750*time.Millisecond {
			t.Errorf("got %v after %v", got.err, got.at)
		}

		// A failing look-up keeps what is known of a topic.
		c.do(func() { c.answer = nil })
		s.Refresh("t")
		time.Sleep(time.Minute)
		known := l.one(t)
		if known.err != nil {
			t.Fatal(known.err)
		}
		c.do(func() { c.answer = func(*asked) (*kmsg.MetadataResponse, error) { return nil, broken } })
		s.Refresh("t")
		time.Sleep(time.Minute)
		if got := l.one(t); !errors.Is(got.err, broken) || got.topic != known.topic || s.Topic("t") != known.topic {
			t.Errorf("got %s, %v", describe(got.topic), got.err)
		}
		if len(s.Brokers()) != 2 {
			t.Errorf("brokers are forgotten: %v", s.Brokers())
		}
	})
}

func TestRefusedCredentialsEndALookUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		s := start(t, c, newConfig())
		c.do(func() {
			c.answer = func(*asked) (*kmsg.MetadataResponse, error) { return nil, errors.New("session expired") }
			c.dead["a:1"] = sarama.ErrSASLAuthenticationFailed
		})
		l := &listener{c: c}
		s.Watch("t", l.notify)
		synctest.Wait()
		if got := l.one(t); !errors.Is(got.err, sarama.ErrSASLAuthenticationFailed) || got.at != 0 {
			t.Errorf("got %v after %v", got.err, got.at)
		}
	})
}

func TestMetadataTimeoutEndsALookUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		conf := newConfig()
		conf.Metadata.Timeout = 600 * time.Millisecond
		s := start(t, c, conf)
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(time.Minute)
		// Tries at 0, 250 and 500 ms; the next one would be too late.
		if got := l.one(t); !errors.Is(got.err, sarama.ErrUnknownTopicOrPartition) || got.at != 500*time.Millisecond {
			t.Errorf("got %v after %v", got.err, got.at)
		}
		c.do(func() { c.silent["a:1"] = true })
		s.Refresh("t")
		asked := time.Since(c.born)
		time.Sleep(time.Minute)
		if got := l.one(t); !errors.Is(got.err, context.DeadlineExceeded) || got.at-asked != 600*time.Millisecond {
			t.Errorf("got %v after %v", got.err, got.at-asked)
		}
	})
}

func TestRefreshesAreSharedAndSpacedConcurrentSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		s := start(t, c, newConfig())
		var listeners []*listener
		var names []string
		for i := range 10 {
			names = append(names, fmt.Sprintf("t%d", i))
			c.do(func() { c.topics[names[i]] = topic(byte(i), 0, 1) })
			listeners = append(listeners, &listener{c: c})
			s.Watch(names[i], listeners[i].notify)
		}
		synctest.Wait()
		before := s.Requests()
		for _, l := range listeners {
			l.take()
		}
		var callers sync.WaitGroup
		for i := range 1000 {
			callers.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				s.Refresh(names[i%len(names)])
			})
		}
		callers.Wait()
		time.Sleep(time.Minute)
		// A thousand calls in one second, rounds 250 ms apart.
		if n := s.Requests() - before; n < 4 || n > 5 {
			t.Errorf("%d requests", n)
		}
		var last time.Duration
		for _, a := range c.seen()[before-1:] {
			if a.at-last < 250*time.Millisecond {
				t.Errorf("requests at %v and %v", last, a.at)
			}
			last = a.at
		}
		for i, l := range listeners {
			if calls := l.take(); len(calls) == 0 || calls[len(calls)-1].at < 990*time.Millisecond {
				t.Errorf("%s: the last call of Refresh was not answered: %v", names[i], calls)
			}
		}
	})
}

func TestRefreshDuringARoundGoesIntoTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig())
		c.do(func() { c.delay = time.Second })
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(500 * time.Millisecond)
		s.Refresh("t")
		s.Refresh("t")
		time.Sleep(time.Minute)
		calls := l.take()
		if len(calls) != 2 || calls[0].at != time.Second || calls[1].at != 2250*time.Millisecond {
			t.Errorf("got %v", calls)
		}
		if len(calls) == 2 && calls[0].topic != calls[1].topic {
			t.Error("nothing changed, but the pointer did")
		}
	})
}

func TestRefreshDoesNotHastenARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		conf := newConfig()
		conf.Metadata.Retry.BackoffFunc = func(retries, _ int) time.Duration {
			return time.Duration(retries) * time.Second // no spacing between rounds
		}
		s := start(t, c, conf)
		l := &listener{c: c}
		s.Watch("t", l.notify)
		for range 100 {
			time.Sleep(10 * time.Millisecond)
			s.Refresh("t")
		}
		time.Sleep(1500 * time.Millisecond)
		// Tries at 0, at once, 1 s and 3 s later.
		var at []time.Duration
		for _, a := range c.seen() {
			at = append(at, a.at)
		}
		if want := "[0s 0s 1s]"; fmt.Sprint(at) != want {
			t.Errorf("requests at %v, want %s", at, want)
		}
	})
}

func TestANewTopicIsNotHeldUpByTheSpacing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["old"], c.topics["new"] = topic(1, 0, 1), topic(2, 0, 1)
		s := start(t, c, newConfig())
		failing, fresh := &listener{c: c}, &listener{c: c}
		s.Watch("failing", failing.notify)
		time.Sleep(100 * time.Millisecond)
		s.Watch("new", fresh.notify)
		synctest.Wait()
		if got := fresh.one(t); got.at != 100*time.Millisecond {
			t.Errorf("got after %v", got.at)
		}
		// Rounds for other topics use up no retries.
		time.Sleep(time.Minute)
		if seen := c.seen(); len(seen) != 5 || seen[1].topics != "new" {
			t.Errorf("requests: %v", seen)
		}
	})
}

func TestRefreshAndUpdateLeaderOfTopicsThatNobodyWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig())
		s.Refresh("t")
		s.UpdateLeader("t", [16]byte{1}, 0, 2, 1, &Broker{ID: 2, Addr: "b:1"})
		time.Sleep(time.Minute)
		if s.Requests() != 1 || s.Topic("t") != nil || len(s.Brokers()) != 1 {
			t.Errorf("%d requests, topic %v, brokers %v", s.Requests(), s.Topic("t"), s.Brokers())
		}
	})
}

// A listener that is set during a round gets the result of the next round.
func TestWatchAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig())
		first, second := &listener{c: c}, &listener{c: c}
		c.do(func() { c.delay = 900 * time.Millisecond }) // after a second the broker is asked over a new connection, too
		s.Watch("t", first.notify)
		time.Sleep(500 * time.Millisecond) // in the middle of the round
		s.Watch("t", second.notify)
		time.Sleep(time.Minute)
		if calls := first.take(); len(calls) != 0 {
			t.Errorf("the first listener got %v", calls)
		}
		if got := second.one(t); got.err != nil || got.topic == nil {
			t.Errorf("the second listener got %v", got)
		}
		if n := s.Requests(); n != 3 {
			t.Errorf("%d requests, want the bootstrap and one for each listener", n)
		}
	})
}

func TestRefreshFrequencyFindsNewPartitionsAndLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.topics["t"], c.topics["u"] = topic(1, 0, 1), topic(2, 0, 1)
		conf := newConfig()
		conf.Metadata.RefreshFrequency = time.Minute
		s := start(t, c, conf)
		l, other := &listener{c: c}, &listener{c: c}
		s.Watch("t", l.notify)
		s.Watch("u", other.notify)
		synctest.Wait()
		l.one(t)
		unchanged := other.one(t)
		c.do(func() { c.topics["t"] = topic(1, 1, 2, 1) })
		time.Sleep(90 * time.Second)
		if got := l.one(t); got.at != time.Minute || describe(got.topic) != "1: 0=2@1 1=1@1" {
			t.Errorf("got %s after %v", describe(got.topic), got.at)
		}
		if got := other.one(t); got.topic != unchanged.topic {
			t.Error("the other topic did not change, but its pointer did")
		}
		if seen := c.seen(); seen[len(seen)-1].topics != "t,u" {
			t.Errorf("the last request was for %q, want both topics in one", seen[len(seen)-1].topics)
		}
		time.Sleep(10 * time.Minute)
		if calls := l.take(); len(calls) != 10 {
			t.Errorf("got %d times in 10 minutes", len(calls))
		}
	})
}

func TestNoRefreshFrequency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["t"] = topic(1, 0, 1)
		conf := newConfig()
		conf.Metadata.RefreshFrequency = 0
		s := start(t, c, conf)
		s.Watch("t", func(*Topic, error) {})
		time.Sleep(24 * time.Hour)
		if s.Requests() != 2 {
			t.Errorf("%d requests", s.Requests())
		}
	})
}

func TestUpdateLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.topics["t"] = topic(1, 5, 1, 1)
		s := start(t, c, newConfig())
		l := &listener{c: c}
		s.Watch("t", l.notify)
		synctest.Wait()
		l.one(t)
		id := [16]byte{1}

		c.do(func() { c.silent["a:1"], c.silent["b:1"] = true, true })
		s.Refresh("t") // a look-up that hangs must not delay UpdateLeader
		time.Sleep(time.Second)
		s.UpdateLeader("t", id, 0, 2, 5, nil)                         // known already
		s.UpdateLeader("t", id, 0, 9, 6, nil)                         // no address
		s.UpdateLeader("t", [16]byte{2}, 0, 2, 6, nil)                // another topic
		s.UpdateLeader("t", id, 0, 9, 6, &Broker{ID: 9, Addr: "n:1"}) // taken
		s.UpdateLeader("t", [16]byte{}, 1, 2, 7, nil)                 // taken
		s.UpdateLeader("t", id, 0, 1, 6, nil)                         // late
		synctest.Wait()
		calls := l.take() // one or two: the look-up goroutine may run between the two that are taken
		got := calls[len(calls)-1]
		if got.err != nil || got.at != time.Second || describe(got.topic) != "1: 0=9@6 1=2@7" || got.topic != s.Topic("t") {
			t.Errorf("got %s, %v after %v", describe(got.topic), got.err, got.at)
		}
		if b, ok := s.Broker(9); !ok || b.Addr != "n:1" || len(s.Brokers()) != 3 {
			t.Errorf("brokers are %v", s.Brokers())
		}

		// Then the round asks another broker, whose metadata is older.
		time.Sleep(time.Minute)
		if got := l.one(t); got.err != nil || describe(got.topic) != "1: 0=9@6 1=2@7" {
			t.Errorf("got %s, %v", describe(got.topic), got.err)
		}
		if b, ok := s.Broker(9); !ok || b.Addr != "n:1" {
			t.Errorf("the new leader's address is lost: %v", s.Brokers())
		}

		// Newer metadata counts. Broker 9, which it lacks and which leads nothing, is dropped.
		c.do(func() { c.topics["t"] = topic(1, 8, 2, 2) })
		s.Refresh("t")
		time.Sleep(time.Minute)
		if got := l.one(t); describe(got.topic) != "1: 0=2@8 1=2@8" || len(s.Brokers()) != 2 {
			t.Errorf("got %s, brokers %v", describe(got.topic), s.Brokers())
		}
	})
}

func TestListenersMayCallTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["t"], c.topics["u"] = topic(1, 0, 1), topic(2, 0, 1)
		s := start(t, c, newConfig())
		l := &listener{c: c}
		var once sync.Once // each look-up calls the listener again, perhaps before "u" is known
		s.Watch("t", func(*Topic, error) {
			s.Refresh("t")
			s.UpdateLeader("t", [16]byte{}, 0, 1, 1, nil)
			once.Do(func() { s.Watch("u", l.notify) })
		})
		time.Sleep(time.Minute)
		if got := l.one(t); got.topic == nil || got.topic.Name != "u" {
			t.Errorf("got %v", got)
		}
	})
}

func TestEachLookUpHasAllItsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		s := start(t, c, newConfig())
		l := &listener{c: c}
		s.Watch("t", l.notify)
		time.Sleep(300 * time.Millisecond) // two tries
		c.do(func() { c.topics["t"] = topic(1, 0, 1) })
		time.Sleep(time.Minute)
		if got := l.one(t); got.err != nil {
			t.Fatal(got.err)
		}
		for range 2 {
			c.do(func() { delete(c.topics, "t") })
			before := s.Requests()
			s.Refresh("t")
			time.Sleep(time.Minute)
			if got := l.one(t); !errors.Is(got.err, sarama.ErrUnknownTopicOrPartition) || s.Requests()-before != 4 {
				t.Errorf("got %v after %d requests", got.err, s.Requests()-before)
			}
		}
	})
}

func TestWatchOfAKnownTopicIsSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.topics["t"] = topic(1, 0, 1)
		s := start(t, c, newConfig())
		first, second := &listener{c: c}, &listener{c: c}
		s.Watch("t", first.notify)
		synctest.Wait()
		s.Watch("t", second.notify)
		time.Sleep(time.Minute)
		if first.one(t).at != 0 || second.one(t).at != 250*time.Millisecond {
			t.Error("the second look-up was not spaced")
		}
	})
}
