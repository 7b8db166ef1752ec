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

// office gives out identities as the test says, and notes what the manager tells. The pause after the nth failure in a
// row is n seconds.
type office struct {
	*Manager
	answer func(ctx context.Context, n int) (kmsg.Response, error) // of the nth request, from 1 on

	mu      sync.Mutex
	started time.Time
	asked   []time.Duration // since the start
	pauses  []int
	changed []Identity // as it was when Changed was called
	failed  []error
}

func newOffice(answer func(ctx context.Context, n int) (kmsg.Response, error)) *office {
	o := &office{answer: answer, started: time.Now()}
	o.Manager = NewManager(Config{
		Ask: o.ask,
		Backoff: func(failures int) time.Duration {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.pauses = append(o.pauses, failures)
			return time.Duration(failures) * time.Second
		},
		Retriable: func(code sarama.KError) bool { return code == sarama.ErrOffsetsLoadInProgress },
		Changed: func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.changed = append(o.changed, o.Current())
		},
		Failed: func(err error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.failed = append(o.failed, err)
		},
	})
	return o
}

func (o *office) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	o.mu.Lock()
	o.asked = append(o.asked, time.Since(o.started))
	n := len(o.asked)
	o.mu.Unlock()
	if init, ok := req.(*kmsg.InitProducerIDRequest); !ok || init.ProducerID != -1 || init.ProducerEpoch != -1 || init.TransactionalID != nil {
		return nil, sarama.ErrInvalidRequest
	}
	return o.answer(ctx, n)
}

// told is what the manager told so far.
func (o *office) told() (asked []time.Duration, pauses []int, changed []Identity, failed []error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked), slices.Clone(o.pauses), slices.Clone(o.changed), slices.Clone(o.failed)
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

// one gives identity {id, epoch} to whoever asks.
func one(id int64, epoch int16) func(context.Context, int) (kmsg.Response, error) {
	return func(context.Context, int) (kmsg.Response, error) { return given(id, epoch) }
}

func TestStartAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(one(7, 0))
		defer o.Close()
		if o.Current() != None {
			t.Errorf("%v before Start", o.Current())
		}
		o.Start()
		o.Start() // it is being asked for, or there already
		synctest.Wait()
		o.Start()
		synctest.Wait()
		asked, _, changed, failed := o.told()
		if want := (Identity{ID: 7}); len(asked) != 1 || o.Current() != want || !slices.Equal(changed, []Identity{want}) || failed != nil {
			t.Errorf("asked %d times, current %v, changed %v, failed %v", len(asked), o.Current(), changed, failed)
		}
	})
}

// A broker that can't be reached and one that is not ready are asked again, after a pause that knows the failures.
func TestStartRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(func(_ context.Context, n int) (kmsg.Response, error) {
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
		defer o.Close()
		o.Start()
		time.Sleep(3 * time.Second) // of the bubble's clock: the second pause ends
		synctest.Wait()
		if o.Current() != None {
			t.Errorf("%v while brokers refuse", o.Current())
		}
		time.Sleep(time.Hour)
		asked, pauses, changed, failed := o.told()
		if want := []time.Duration{0, time.Second, 3 * time.Second, 6 * time.Second}; !slices.Equal(asked, want) {
			t.Errorf("asked at %v, want %v", asked, want)
		}
		if !slices.Equal(pauses, []int{1, 2, 3}) || len(changed) != 4 || o.Refusal() != nil || failed != nil || o.Current() != (Identity{9, 4}) {
			t.Errorf("pauses after failures %v, changed %v, failed %v, current %v", pauses, changed, failed, o.Current())
		}
	})
}

// A definite refusal is told once, and nobody is asked again, whatever is called later.
func TestFinalRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(func(context.Context, int) (kmsg.Response, error) {
			return refusal(sarama.ErrClusterAuthorizationFailed)
		})
		defer o.Close()
		o.Start()
		synctest.Wait()
		o.Start()
		o.Bump(None)
		time.Sleep(time.Hour)
		asked, pauses, changed, failed := o.told()
		if len(asked) != 1 || pauses != nil || changed != nil || o.Current() != None {
			t.Errorf("asked %d times, pauses %v, changed %v, current %v", len(asked), pauses, changed, o.Current())
		}
		if len(failed) != 1 || !errors.Is(failed[0], sarama.ErrClusterAuthorizationFailed) || !strings.Contains(failed[0].Error(), "producer id") {
			t.Errorf("failed: %v", failed)
		}
	})
}

// Two partition producers find out about the same lost state: the epoch is raised by the first alone, without a broker.
func TestBump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(one(7, 3))
		defer o.Close()
		o.Bump(None) // before there is anything to raise
		o.Start()
		synctest.Wait()
		first := o.Current()
		o.Bump(first)
		second := Identity{ID: 7, Epoch: 4}
		if o.Current() != second {
			t.Fatalf("%v after %v", o.Current(), first)
		}
		o.Bump(first)
		o.Bump(Identity{ID: 6, Epoch: 4})
		o.Bump(Identity{ID: 7, Epoch: 5})
		if o.Current() != second {
			t.Errorf("%v raised by who had another identity than %v", o.Current(), second)
		}
		o.Bump(second)
		if want := (Identity{ID: 7, Epoch: 5}); o.Current() != want {
			t.Errorf("%v, want %v", o.Current(), want)
		}
		synctest.Wait()
		if asked, _, changed, _ := o.told(); len(asked) != 1 || len(changed) != 1 {
			t.Errorf("asked %d times, changed %v: a bump needs no broker, and who bumps goes on by itself", len(asked), changed)
		}
	})
}

// After epoch 32767 there is no next: until a broker has given another id, there is none.
func TestBumpOfTheLastEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		o := newOffice(func(_ context.Context, n int) (kmsg.Response, error) {
			if n == 1 {
				return given(7, math.MaxInt16-1)
			}
			<-open
			return given(8, 0)
		})
		defer o.Close()
		o.Start()
		synctest.Wait()
		o.Bump(o.Current())
		last := Identity{ID: 7, Epoch: math.MaxInt16}
		if o.Current() != last {
			t.Fatalf("%v, want %v", o.Current(), last)
		}
		o.Bump(last)
		if o.Current() != None {
			t.Errorf("%v after the last epoch", o.Current())
		}
		o.Bump(last)
		o.Bump(None)
		synctest.Wait()
		if asked, _, changed, _ := o.told(); len(asked) != 2 || len(changed) != 1 || o.Current() != None {
			t.Errorf("asked %d times, changed %v, current %v while a broker is asked", len(asked), changed, o.Current())
		}
		close(open)
		synctest.Wait()
		want := Identity{ID: 8}
		asked, _, changed, _ := o.told()
		if len(asked) != 2 || o.Current() != want || len(changed) != 2 || changed[1] != want {
			t.Errorf("asked %d times, changed %v, current %v", len(asked), changed, o.Current())
		}
		o.Bump(want) // the new id's epochs are raised like the first one's
		if o.Current() != (Identity{ID: 8, Epoch: 1}) {
			t.Errorf("%v after a bump of the new id", o.Current())
		}
	})
}

// Close ends at once, in an answer that does not come and in a pause; nothing is told then, and nothing asked after it.
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
				o := newOffice(answer)
				o.Start()
				synctest.Wait()
				_, _, before, _ := o.told()
				o.Close()
				o.Close()
				o.Start()
				o.Bump(o.Current())
				asked, _, changed, failed := o.told()
				if now := time.Since(o.started); now != 0 || len(asked) != 1 || len(changed) != len(before) || failed != nil {
					t.Errorf("closed after %v, asked %d times, changed %v, failed %v", now, len(asked), changed, failed)
				}
			})
		})
	}
	t.Run("without a start", func(t *testing.T) { newOffice(nil).Close() })
}

// Partitions read and raise at once: nobody ever sees an identity after a later one, and an id is asked for once each time that
// the epochs are used up.
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
			t.Errorf("%v was given by nobody", id)
		}
	}
	if asked.Load() != ids+1 {
		t.Errorf("asked %d times for %d ids", asked.Load(), ids+1)
	}
}
