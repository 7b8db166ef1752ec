package metadata

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestStartFindsBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "::1")
		s := start(t, c, newConfig())
		want := []Broker{{1, "a:1", "rack-a"}, {2, "[::1]:1", "rack-::1"}}
		if got := s.Brokers(); !slices.Equal(got, want) {
			t.Errorf("brokers are %v, want %v", got, want)
		}
		if b, ok := s.Broker(2); !ok || b != want[1] {
			t.Errorf("broker 2 is %v, %v", b, ok)
		}
		if _, ok := s.Broker(3); ok {
			t.Error("broker 3 exists")
		}
		if s.Requests() != 1 || c.request().Topics != nil || c.request().AllowAutoTopicCreation {
			t.Errorf("%d requests, the last one %+v; want one for all topics", s.Requests(), c.request())
		}
		if err := s.Start(t.Context()); err == nil {
			t.Error("a second Start succeeded")
		}
		s.Close()
		s.Close()
		if err := s.Start(t.Context()); !errors.Is(err, sarama.ErrClosedClient) {
			t.Errorf("Start after Close: %v", err)
		}
		if c.open() != 0 {
			t.Errorf("%d connections open after Close", c.open())
		}
	})
}

func TestStartErrorNamesEachSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		refusedA, refusedB := errors.New("a refuses"), errors.New("b refuses")
		c.dead = map[string]error{"a:1": refusedA, "b:1": refusedB}
		s := New(newConfig(), []string{"a:1", "b:1", "a:1"}, c.dial)
		err := s.Start(t.Context())
		for _, want := range []error{sarama.ErrOutOfBrokers, refusedA, refusedB} {
			if !errors.Is(err, want) {
				t.Errorf("error %q does not wrap %q", err, want)
			}
		}
		if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "seed broker b:1") {
			t.Errorf("error is %q", err)
		}
		// Two seeds (duplicates count once), one try and three retries, 250 ms apart.
		if took := time.Since(c.born); len(c.dialled()) != 8 || took != 750*time.Millisecond {
			t.Errorf("%d dials in %v", len(c.dialled()), took)
		}

		// Start may be called again, and succeeds once a broker is there.
		delete(c.dead, "b:1")
		c.brokers = []string{"x", "b"}
		if err := s.Start(t.Context()); err != nil {
			t.Error(err)
		}
		s.Close()
	})
}

func TestStartWithBackoffFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.dead["a:1"] = errors.New("down")
		conf := newConfig()
		conf.Metadata.Retry.Max = 2
		var retries []int
		conf.Metadata.Retry.BackoffFunc = func(n, limit int) time.Duration {
			if limit != 2 {
				t.Errorf("limit is %d", limit)
			}
			retries = append(retries, n)
			return time.Duration(n+1) * time.Second
		}
		err := New(conf, []string{"a:1"}, c.dial).Start(t.Context())
		if !errors.Is(err, sarama.ErrOutOfBrokers) || !slices.Equal(retries, []int{0, 1}) || time.Since(c.born) != 3*time.Second {
			t.Errorf("retries %v in %v: %v", retries, time.Since(c.born), err)
		}
	})
}

func TestStartWithoutSeeds(t *testing.T) {
	conf := newConfig()
	conf.Metadata.Retry.Max = 0
	err := New(conf, nil, nil).Start(t.Context())
	if !errors.Is(err, sarama.ErrOutOfBrokers) || !strings.Contains(err.Error(), "no addresses") {
		t.Error(err)
	}
}

func TestStartDoesNotRetryRefusedCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.dead = map[string]error{"a:1": sarama.ErrSASLAuthenticationFailed, "b:1": sarama.ErrSASLAuthenticationFailed}
		err := New(newConfig(), []string{"a:1", "b:1"}, c.dial).Start(t.Context())
		if !errors.Is(err, sarama.ErrSASLAuthenticationFailed) || !errors.Is(err, sarama.ErrOutOfBrokers) || len(c.dialled()) != 1 {
			t.Errorf("%d dials: %v", len(c.dialled()), err)
		}
	})
}

func TestStartPassesOverBadAnswers(t *testing.T) {
	for name, answer := range map[string]*kmsg.MetadataResponse{
		"without brokers": kmsg.NewPtrMetadataResponse(),
		"with an error":   &kmsg.MetadataResponse{ErrorCode: int16(ErrRebootstrapRequired), Brokers: make([]kmsg.MetadataResponseBroker, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a")
				tries := 0
				c.answer = func(a *asked) (*kmsg.MetadataResponse, error) {
					if tries++; tries == 1 {
						return answer, nil
					}
					return &kmsg.MetadataResponse{Brokers: make([]kmsg.MetadataResponseBroker, 1)}, nil
				}
				s := New(newConfig(), []string{"a:1", "b:1"}, c.dial)
				if err := s.Start(t.Context()); err != nil || len(slices.Compact(c.dialled())) != 2 {
					t.Errorf("dials %v: %v", c.dialled(), err)
				}
				s.Close()
			})
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	for name, scene := range map[string]func(*cluster){
		"in a request": func(c *cluster) { c.silent["a:1"] = true },
		"in a pause":   func(c *cluster) { c.dead["a:1"] = errors.New("down") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a")
				scene(c)
				cause := errors.New("enough")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(100*time.Millisecond, func() { cancel(cause) })
				err := New(newConfig(), []string{"a:1"}, c.dial).Start(ctx)
				if !errors.Is(err, cause) || !errors.Is(err, sarama.ErrOutOfBrokers) || time.Since(c.born) != 100*time.Millisecond {
					t.Errorf("after %v: %v", time.Since(c.born), err)
				}
				if c.open() != 0 {
					t.Error("a connection is left open")
				}
			})
		})
	}
}

func TestStartIsBoundedByMetadataTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.silent = map[string]bool{"a:1": true, "b:1": true}
		conf := newConfig()
		conf.Metadata.Timeout = 10 * time.Second
		err := New(conf, []string{"a:1", "b:1"}, c.dial).Start(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Metadata.Timeout") {
			t.Error(err)
		}
		// The first silent broker does not keep the second from being asked.
		if took := time.Since(c.born); took != 10*time.Second || len(c.dialled()) != 2 || c.log[1].at != time.Second {
			t.Errorf("took %v, log %v", took, c.log)
		}
	})
}

func TestCloseEndsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.silent["a:1"] = true
		s := New(newConfig(), []string{"a:1"}, c.dial)
		var starting sync.WaitGroup
		var err error
		starting.Go(func() { err = s.Start(t.Context()) })
		synctest.Wait()
		s.Close()
		starting.Wait()
		if !errors.Is(err, sarama.ErrClosedClient) || time.Since(c.born) != 0 || c.open() != 0 {
			t.Errorf("after %v, %d connections open: %v", time.Since(c.born), c.open(), err)
		}
	})
}

func TestCloseWithoutStart(t *testing.T) {
	s := New(newConfig(), []string{"a:1"}, nil)
	s.Watch("t", func(*Topic, error) { t.Error("listener called") })
	s.Refresh("t")
	s.Close()
	if s.Topic("t") != nil || len(s.Brokers()) != 0 {
		t.Error("a service that never started has topics or brokers")
	}
}

// withPanicHandler sets sarama.PanicHandler for a test, and returns what it gets. Read that after the goroutines have ended.
func withPanicHandler(t *testing.T) *[]any {
	var got []any
	var mu sync.Mutex
	before := sarama.PanicHandler
	sarama.PanicHandler = func(p any) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, p)
	}
	t.Cleanup(func() { sarama.PanicHandler = before })
	return &got
}

func TestPanicsOfUserCodeGoToThePanicHandler(t *testing.T) {
	got := withPanicHandler(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.dead["b:1"] = errors.New("down")
		conf := newConfig()
		conf.Metadata.Retry.Max = 1
		conf.Metadata.Retry.BackoffFunc = func(int, int) time.Duration { panic("back-off") }
		s := New(conf, []string{"a:1"}, func(context.Context, int32, string) (Conn, error) { panic("dialer") })
		err := s.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), "panicked") || !errors.Is(err, sarama.ErrOutOfBrokers) {
			t.Error(err)
		}
		// Retry.Backoff counts when BackoffFunc panics.
		if want := []any{"dialer", "back-off", "dialer"}; !slices.Equal(*got, want) || time.Since(c.born) != 250*time.Millisecond {
			t.Errorf("handler got %v, want %v, after %v", *got, want, time.Since(c.born))
		}
		s.Close()
	})
}

// If Close comes while the bootstrap waits for its answer, nothing is left running either.
func TestCloseBesideASuccessfulStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		s := New(newConfig(), []string{"a:1"}, c.dial)
		var closing sync.WaitGroup
		c.answer = func(*asked) (*kmsg.MetadataResponse, error) {
			closing.Go(s.Close)
			synctest.Wait()
			return &kmsg.MetadataResponse{Brokers: make([]kmsg.MetadataResponseBroker, 1)}, nil
		}
		if err := s.Start(t.Context()); !errors.Is(err, sarama.ErrClosedClient) {
			t.Error(err)
		}
		closing.Wait()
		if c.open() != 0 {
			t.Error("a connection is left open")
		}
	})
}
