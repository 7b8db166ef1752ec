package txn

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// harness answers a manager's requests as the test says, and records its calls. The pause after the nth failure in a row
// is n seconds.
type harness struct {
	*Manager
	answer func(ctx context.Context, n int) (kmsg.Response, error) // of the nth request, from 1 on

	mu      sync.Mutex
	started time.Time
	asked   []time.Duration // since the start
	pauses  []int
	changed []Identity // as it was when Changed was called
	refused []error    // the refusals that were there then
}

func newHarness(answer func(ctx context.Context, n int) (kmsg.Response, error)) *harness {
	h := &harness{answer: answer, started: time.Now()}
	h.Manager = NewManager(Config{
		Ask: h.ask,
		Backoff: func(failures int) time.Duration {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.pauses = append(h.pauses, failures)
			return time.Duration(failures) * time.Second
		},
		Changed: func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changed = append(h.changed, h.Current())
			if r := h.Refusal(); r != nil && r.Final {
				h.refused = append(h.refused, r.Err)
			}
		},
	})
	return h
}

func (h *harness) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	h.mu.Lock()
	h.asked = append(h.asked, time.Since(h.started))
	n := len(h.asked)
	h.mu.Unlock()
	if init, ok := req.(*kmsg.InitProducerIDRequest); !ok || init.ProducerID != -1 || init.ProducerEpoch != -1 || init.TransactionalID != nil {
		return nil, sarama.ErrInvalidRequest
	}
	return h.answer(ctx, n)
}

// calls are the manager's calls so far.
func (h *harness) calls() (asked []time.Duration, pauses []int, changed []Identity, refused []error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.asked), slices.Clone(h.pauses), slices.Clone(h.changed), slices.Clone(h.refused)
}

func given(id int64, epoch int16) (kmsg.Response, error) {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = id, epoch
	return resp, nil
}

func refusal(code sarama.KError) (kmsg.Response, error) {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ErrorCode = int16(code)
	return resp, nil
}

// one answers every request with the identity {id, epoch}.
func one(id int64, epoch int16) func(context.Context, int) (kmsg.Response, error) {
	return func(context.Context, int) (kmsg.Response, error) { return given(id, epoch) }
}

func TestStartAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(one(7, 0))
		defer h.Close()
		if h.Current() != None {
			t.Errorf("%v before Start", h.Current())
		}
		h.Start()
		h.Start() // one request is enough
		synctest.Wait()
		h.Start()
		synctest.Wait()
		asked, _, changed, failed := h.calls()
		if want := (Identity{ID: 7}); len(asked) != 1 || h.Current() != want || !slices.Equal(changed, []Identity{want}) || failed != nil {
			t.Errorf("asked %d times, current %v, changed %v, failed %v", len(asked), h.Current(), changed, failed)
		}
	})
}

// An unreachable broker, one that is not ready, and a wrong answer: the request is sent again after a growing pause.
func TestStartRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(func(_ context.Context, n int) (kmsg.Response, error) {
			switch n {
			case 1:
				return nil, errors.New("connection refused")
			case 2:
				return refusal(sarama.ErrOffsetsLoadInProgress)
			case 3:
				return kmsg.NewPtrMetadataResponse(), nil
			}
			return given(9, 4)
		})
		defer h.Close()
		h.Start()
		time.Sleep(3 * time.Second) // the second pause ends
		synctest.Wait()
		if h.Current() != None {
			t.Errorf("%v while brokers refuse", h.Current())
		}
		time.Sleep(time.Hour)
		asked, pauses, changed, failed := h.calls()
		if want := []time.Duration{0, time.Second, 3 * time.Second, 6 * time.Second}; !slices.Equal(asked, want) {
			t.Errorf("asked at %v, want %v", asked, want)
		}
		if !slices.Equal(pauses, []int{1, 2, 3}) || len(changed) != 4 || h.Refusal() != nil || failed != nil || h.Current() != (Identity{9, 4}) {
			t.Errorf("pauses after failures %v, changed %v, failed %v, current %v", pauses, changed, failed, h.Current())
		}
	})
}

// After a refusal nobody asks on their own. The next Start asks again, when the pause is over.
func TestRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(func(_ context.Context, n int) (kmsg.Response, error) {
			if n < 3 {
				return refusal(sarama.ErrClusterAuthorizationFailed)
			}
			return given(7, 0)
		})
		defer h.Close()
		h.Start()
		synctest.Wait()
		h.Bump(None)
		h.Renew(None)
		time.Sleep(time.Hour)
		if asked, _, _, refused := h.calls(); len(asked) != 1 || len(refused) != 1 || h.Current() != None ||
			!errors.Is(refused[0], sarama.ErrClusterAuthorizationFailed) || !strings.Contains(refused[0].Error(), "producer id") {
			t.Errorf("asked %v, refused %v, current %v", asked, refused, h.Current())
		}
		h.Start() // the pause is long over
		synctest.Wait()
		h.Start()
		h.Start()
		time.Sleep(time.Hour)
		asked, _, _, refused := h.calls()
		want := []time.Duration{0, time.Hour, time.Hour + 2*time.Second}
		if !slices.Equal(asked, want) || len(refused) != 2 || h.Current() != (Identity{ID: 7}) || h.Refusal() != nil {
			t.Errorf("asked at %v, want %v; refused %v, current %v", asked, want, refused, h.Current())
		}
	})
}

// An id that is of no more use is replaced, once however many report it.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(func(_ context.Context, n int) (kmsg.Response, error) { return given(int64(n), 0) })
		defer h.Close()
		h.Renew(None)
		h.Start()
		synctest.Wait()
		first := h.Current()
		h.Renew(Identity{ID: 1, Epoch: 1})
		if h.Current() != first {
			t.Errorf("%v after a renewal of another identity", h.Current())
		}
		h.Renew(first)
		if h.Current() != None {
			t.Errorf("%v while another id is asked for", h.Current())
		}
		synctest.Wait()
		h.Renew(first)
		h.Bump(first)
		synctest.Wait()
		if asked, _, _, _ := h.calls(); len(asked) != 2 || h.Current() != (Identity{ID: 2}) {
			t.Errorf("asked %d times, current %v", len(asked), h.Current())
		}
	})
}

// If two partition producers report the same lost state, only the first raises the epoch. No broker is asked.
func TestBump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(one(7, 3))
		defer h.Close()
		h.Bump(None) // there is no epoch yet
		h.Start()
		synctest.Wait()
		first := h.Current()
		h.Bump(first)
		second := Identity{ID: 7, Epoch: 4}
		if h.Current() != second {
			t.Fatalf("%v after %v", h.Current(), first)
		}
		h.Bump(first)
		h.Bump(Identity{ID: 6, Epoch: 4})
		h.Bump(Identity{ID: 7, Epoch: 5})
		if h.Current() != second {
			t.Errorf("%v after bumps of other identities than %v", h.Current(), second)
		}
		h.Bump(second)
		if want := (Identity{ID: 7, Epoch: 5}); h.Current() != want {
			t.Errorf("%v, want %v", h.Current(), want)
		}
		synctest.Wait()
		if asked, _, changed, _ := h.calls(); len(asked) != 1 || len(changed) != 1 {
			t.Errorf("asked %d times, changed %v: a bump asks no broker and calls no Changed", len(asked), changed)
		}
	})
}

// After epoch 32767 there is no identity until a broker has given another id.
func TestBumpOfTheLastEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		h := newHarness(func(_ context.Context, n int) (kmsg.Response, error) {
			if n == 1 {
				return given(7, math.MaxInt16-1)
			}
			<-open
			return given(8, 0)
		})
		defer h.Close()
		h.Start()
		synctest.Wait()
		h.Bump(h.Current())
		last := Identity{ID: 7, Epoch: math.MaxInt16}
		if h.Current() != last {
			t.Fatalf("%v, want %v", h.Current(), last)
		}
		h.Bump(last)
		if h.Current() != None {
			t.Errorf("%v after the last epoch", h.Current())
		}
		h.Bump(last)
		h.Bump(None)
		synctest.Wait()
		if asked, _, changed, _ := h.calls(); len(asked) != 2 || len(changed) != 1 || h.Current() != None {
			t.Errorf("asked %d times, changed %v, current %v while a broker is asked", len(asked), changed, h.Current())
		}
		close(open)
		synctest.Wait()
		want := Identity{ID: 8}
		asked, _, changed, _ := h.calls()
		if len(asked) != 2 || h.Current() != want || len(changed) != 2 || changed[1] != want {
			t.Errorf("asked %d times, changed %v, current %v", len(asked), changed, h.Current())
		}
		h.Bump(want) // the new id has epochs of its own
		if h.Current() != (Identity{ID: 8, Epoch: 1}) {
			t.Errorf("%v after a bump of the new id", h.Current())
		}
	})
}

// Close returns at once, whether an answer is awaited or a pause runs. Nothing is called or asked afterwards.
func TestClose(t *testing.T) {
	for name, answer := range map[string]func(context.Context, int) (kmsg.Response, error){
		"while asking": func(ctx context.Context, _ int) (kmsg.Response, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		},
		"while backing off": func(context.Context, int) (kmsg.Response, error) { return nil, errors.New("connection refused") },
		"with an identity":  one(7, math.MaxInt16),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(answer)
				h.Start()
				synctest.Wait()
				_, _, before, _ := h.calls()
				h.Close()
				h.Close()
				h.Start()
				h.Bump(h.Current())
				asked, _, changed, failed := h.calls()
				if now := time.Since(h.started); now != 0 || len(asked) != 1 || len(changed) != len(before) || failed != nil {
					t.Errorf("closed after %v, asked %d times, changed %v, failed %v", now, len(asked), changed, failed)
				}
			})
		})
	}
	t.Run("without a start", func(t *testing.T) { newHarness(nil).Close() })
}

// Many goroutines read and bump. Each sees identities in their order only, and an id is asked for once each time that the
// epochs are used up.
func TestManagerConcurrentSafe(t *testing.T) {
	const raisers, ids, from = 8, 5, math.MaxInt16 - 20
	var enough atomic.Bool
	changed := make(chan struct{}, ids+1)
	var asked atomic.Int64
	m := NewManager(Config{
		Ask: func(context.Context, kmsg.Request) (kmsg.Response, error) {
			n := asked.Add(1)
			if n > ids {
				enough.Store(true)
			}
			return given(n, from)
		},
		Changed: func() { changed <- struct{}{} },
	})
	m.Start()
	var mu sync.Mutex
	seen := make(map[Identity]bool)
	var wg sync.WaitGroup
	for range raisers {
		wg.Go(func() {
			var last Identity
			for !enough.Load() {
				now := m.Current()
				if !now.Known() {
					runtime.Gosched()
					continue
				}
				if now.ID < last.ID || now.ID == last.ID && now.Epoch < last.Epoch {
					t.Errorf("%v after %v", now, last)
				}
				last = now
				mu.Lock()
				seen[now] = true
				mu.Unlock()
				m.Bump(now)
			}
		})
	}
	wg.Wait()
	for range ids + 1 {
		<-changed
	}
	m.Close()
	for id := range seen {
		if id.Epoch < from || id.ID > ids+1 {
			t.Errorf("%v was never given", id)
		}
	}
	if asked.Load() != ids+1 {
		t.Errorf("asked %d times for %d ids", asked.Load(), ids+1)
	}
}
