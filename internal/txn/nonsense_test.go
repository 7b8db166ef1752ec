package txn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// An id or epoch below 0 is no identity, whatever the error code says. It is asked for again.
func TestNegativeIdentity(t *testing.T) {
	for _, nonsense := range []Identity{{-1, -1}, {-1, 0}, {7, -1}, {-1 << 63, 3}} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(func(_ context.Context, n int) (kmsg.Response, error) {
				if n <= 2 {
					return given(nonsense.ID, nonsense.Epoch)
				}
				return given(9, 0)
			})
			defer h.Close()
			if err := h.StartAndWait(time.Second); err != nil {
				t.Error(err)
			}
			if r := h.Refusal(); h.Current() != None || r == nil || r.Final || !strings.Contains(r.Err.Error(), "InitProducerId answered with id ") {
				t.Errorf("%v: current %v, refusal %v", nonsense, h.Current(), r)
			}
			time.Sleep(time.Minute)
			asked, _, changed, _ := h.calls()
			if want := []Identity{None, None, {9, 0}}; !slices.Equal(changed, want) || len(asked) != 3 {
				t.Errorf("%v: asked at %v, identities %v, want %v", nonsense, asked, changed, want)
			}
		})
	}
}

// The same of a transactional producer.
func TestNegativeIdentityOfATransactionalProducer(t *testing.T) {
	for name, nonsense := range map[string]int{"passes": 2, "stays": 1000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newCoordinatorHarness(t, func(cfg *TransactionsConfig) { cfg.MaxRetries = 5 })
				h.leaveOut = map[kmsg.Key]int{kmsg.InitProducerID: nonsense}
				err := h.Init(t.Context())
				if name == "passes" {
					if err != nil || h.Current() != (Identity{7, 0}) {
						t.Errorf("%v, %v", h.Current(), err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), "InitProducerId answered with id -1, epoch 0") || h.Current() != None {
					t.Errorf("%v, %v", h.Current(), err)
				}
			})
		})
	}
}

// StartAndWait returns with the first try's end, or after its patience. Only what is final is an error.
func TestStartAndWait(t *testing.T) {
	for name, line := range map[string]struct {
		answer func(ctx context.Context, n int) (kmsg.Response, error)
		want   error
		took   time.Duration
		doing  string
	}{
		"granted": {one(7, 0), nil, 0, ""},
		"refused": {func(context.Context, int) (kmsg.Response, error) {
			return refusal(sarama.ErrClusterAuthorizationFailed)
		},
			sarama.ErrClusterAuthorizationFailed, 0, "not authorized"},
		"not ready": {func(context.Context, int) (kmsg.Response, error) { return refusal(sarama.ErrOffsetsLoadInProgress) },
			nil, 0, "no producer id: kafka server: The coordinator is still loading"},
		"unreachable": {func(context.Context, int) (kmsg.Response, error) { return nil, errors.New("no cable") },
			nil, 0, "no producer id: no cable"},
		"silent": {func(ctx context.Context, _ int) (kmsg.Response, error) { <-ctx.Done(); return nil, ctx.Err() },
			nil, 3 * time.Second, "waiting for a producer id"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(line.answer)
				defer h.Close()
				err := h.StartAndWait(3 * time.Second)
				if line.want == nil && err != nil || !errors.Is(err, line.want) {
					t.Errorf("%v, want %v", err, line.want)
				}
				if took := time.Since(h.started); took != line.took {
					t.Errorf("it took %v, want %v", took, line.took)
				}
				if line.doing != "" && !strings.Contains(h.Doing().Error(), line.doing) {
					t.Errorf("doing %v, want %q", h.Doing(), line.doing)
				}
			})
		})
	}
}
