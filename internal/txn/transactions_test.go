package txn

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// initialized is a harness whose Init is done, in a bubble.
func initialized(t *testing.T, change func(*TransactionsConfig), test func(*testing.T, *coordinatorHarness)) {
	synctest.Test(t, func(t *testing.T) {
		h := newCoordinatorHarness(t, change)
		if err := h.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.wantSeen(t, "FindCoordinator 1 tx", "InitProducerID v5 -1/-1")
		test(t, h)
	})
}

// begin begins a transaction with one partition in it.
func (h *coordinatorHarness) begin(t *testing.T, partitions ...int32) {
	t.Helper()
	if err := h.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range partitions {
		added := make(chan struct{})
		if !h.Add("t", p, func() { close(added) }) {
			<-added
		}
		h.Writing()
	}
}

// How often a request is tried: with sarama's constructors by Retry.Max, else until Transaction.Timeout is over. While the last
// transaction is still being ended no try counts, and there are short pauses.
func TestPatience(t *testing.T) {
	bySarama := func(cfg *TransactionsConfig) { cfg.MaxRetries = 2 }
	many := make([]sarama.KError, 10_000)
	for name, c := range map[string]struct {
		change func(*TransactionsConfig)
		code   sarama.KError
		tries  int
		lasts  time.Duration
	}{
		"sarama":           {bySarama, sarama.ErrConsumerCoordinatorNotAvailable, 3, 2 * time.Second},
		"New":              {nil, sarama.ErrConsumerCoordinatorNotAvailable, 61, time.Minute},
		"sarama, lost":     {bySarama, lost, 3, 2 * time.Second},
		"sarama, refused":  {bySarama, sarama.ErrProducerFenced, 1, 0},
		"New, concurrent":  {nil, sarama.ErrConcurrentTransactions, 0, time.Minute},
		"both, concurrent": {bySarama, sarama.ErrConcurrentTransactions, 0, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			initialized(t, c.change, func(t *testing.T, h *coordinatorHarness) {
				h.begin(t, 0)
				h.take()
				for i := range many {
					many[i] = c.code
				}
				h.answers(kmsg.EndTxn, many...)
				began := time.Now()
				err := h.Commit(t.Context())
				took := time.Since(began)
				if fatal := c.code == sarama.ErrProducerFenced; IsFatal(err) != fatal || errors.Is(err, flow.ErrOutcomeUnknown) == fatal {
					t.Error(err)
				}
				if took < c.lasts || took > c.lasts+time.Second {
					t.Errorf("it took %v of the bubble's time, want %v", took, c.lasts)
				}
				tries := 0
				for _, text := range h.take() {
					if text[0] == 'E' {
						tries++
					}
				}
				if c.tries > 0 && tries != c.tries || c.tries == 0 && (tries < 60 || tries > 3000) {
					t.Errorf("%d tries, want %d", tries, c.tries)
				}
			})
		})
	}
}

// A commit without an answer is repeated as it was, by the same call and the next: also if the broker that answers then has later
// versions.
func TestRepeatedCommit(t *testing.T) {
	initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
		h.begin(t, 0)
		h.take()
		h.highest = 3
		h.answers(kmsg.EndTxn, lost, lost, lost, sarama.ErrConcurrentTransactions)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := h.Commit(ctx); !errors.Is(err, flow.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errLost) {
			t.Error(err)
		}
		h.highest = 20
		if err := h.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		h.wantSeen(t,
			"EndTxn v3 true 7/0",
			"FindCoordinator 1 tx at 1s", "EndTxn v3 true 7/0 at 1s",
			"FindCoordinator 1 tx at 1.5s", "EndTxn v3 true 7/0 at 1.5s",
			"FindCoordinator 1 tx at 2.5s", "EndTxn v3 true 7/0 at 2.5s", "EndTxn v3 true 7/0 at 2.501s",
			"InitProducerID v5 7/0 at 2.501s")
	})
}

// The coordinator is looked up once, and again after a lost connection, NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE or
// COORDINATOR_LOAD_IN_PROGRESS. Connections are kept.
func TestCoordinatorsAreLookedUpAnew(t *testing.T) {
	for _, code := range []sarama.KError{
		lost, sarama.ErrNotCoordinatorForConsumer, sarama.ErrConsumerCoordinatorNotAvailable, sarama.ErrOffsetsLoadInProgress,
		sarama.ErrConcurrentTransactions,
	} {
		initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
			h.begin(t, 0)
			h.answers(kmsg.EndTxn, code)
			if err := h.Commit(t.Context()); err != nil {
				t.Error(err)
			}
			want := []string{"AddPartitionsToTxn v3 t[0]", "EndTxn v4 true 7/0", "FindCoordinator 1 tx at 1s", "EndTxn v4 true 7/0 at 1s"}
			switch code {
			case lost: // it may still come, and must not meet the next transaction
				want = append(want, "InitProducerID v5 7/0 at 1s")
			case sarama.ErrConcurrentTransactions:
				want = []string{"AddPartitionsToTxn v3 t[0]", "EndTxn v4 true 7/0", "EndTxn v4 true 7/0 at 1ms"}
			}
			h.wantSeen(t, want...)
			if h.dials != 1 {
				t.Errorf("after %v: %d dials", code, h.dials)
			}
		})
	}
}

// Offsets of two groups and three members: each set goes to its group's coordinator under its member. The last offset of a
// partition in a group counts.
func TestOffsetsByMember(t *testing.T) {
	for version, want := range map[int16][]string{
		1: {
			"AddOffsetsToTxn v4 g", "FindCoordinator 0 g", "TxnOffsetCommit v4 g/b/2 t/0=5 t/1=3",
			"AddOffsetsToTxn v4 other", "FindCoordinator 0 other", "TxnOffsetCommit v4 other//-1 t/0=9", "EndTxn v4 true 7/0",
		},
		2: {
			"FindCoordinator 0 g", "TxnOffsetCommit v5 g/b/2 t/0=5 t/1=3",
			"FindCoordinator 0 other", "TxnOffsetCommit v5 other//-1 t/0=9", "EndTxn v5 true 7/0",
		},
	} {
		initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
			h.version = version
			h.begin(t)
			add := func(m *sarama.ConsumerGroupMetadata, partition int32, offset int64) {
				err := h.AddOffsets(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Partition: partition, Offset: offset}}}, m)
				if err != nil {
					t.Fatal(err)
				}
			}
			a := &sarama.ConsumerGroupMetadata{GroupID: "g", MemberID: "a", GenerationID: 1}
			b := &sarama.ConsumerGroupMetadata{GroupID: "g", MemberID: "b", GenerationID: 2}
			add(a, 0, 4)
			add(b, 0, 5)
			add(b, 1, 3)
			add(sarama.NewConsumerGroupMetadata("other"), 0, 9)
			if err := h.Begin(t.Context()); !errors.Is(err, sarama.ErrTransitionNotAllowed) {
				t.Error(err) // and what was added stays
			}
			if err := h.Commit(t.Context()); err != nil {
				t.Error(err)
			}
			h.wantSeen(t, want...)
		})
	}
}

// Partitions that come while a request is under way go together in the next one; each is told once, and added once.
func TestAdditionsGather(t *testing.T) {
	initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
		if err := h.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.answers(kmsg.AddPartitionsToTxn, sarama.ErrConcurrentTransactions, sarama.ErrConcurrentTransactions)
		told := make(map[int32]int)
		var mu sync.Mutex
		add := func(partition int32) bool {
			return h.Add("t", partition, func() { mu.Lock(); defer mu.Unlock(); told[partition]++ })
		}
		add(0)
		synctest.Wait()
		add(1)
		add(2)
		synctest.Wait()
		time.Sleep(time.Second)
		for p := range int32(3) {
			if !add(p) || told[p] != 1 {
				t.Errorf("partition %d: told %d times", p, told[p])
			}
		}
		h.wantSeen(t, "AddPartitionsToTxn v3 t[0]", "AddPartitionsToTxn v3 t[0] at 1ms", "AddPartitionsToTxn v3 t[0] at 3ms",
			"AddPartitionsToTxn v3 t[1 2] at 3ms")
		if err := h.Commit(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// An addition that is refused fails the transaction, and nobody is told. One without an answer is aborted in doubt: nothing may be
// open (INVALID_TXN_STATE), and the next transaction has another epoch.
func TestAdditionsFail(t *testing.T) {
	for code, want := range map[sarama.KError][]string{
		sarama.ErrTopicAuthorizationFailed: {"AddPartitionsToTxn v3 t[0]"},
		lost: {"AddPartitionsToTxn v3 t[0]", "FindCoordinator 1 tx at 1s", "AddPartitionsToTxn v3 t[0] at 1s",
			"FindCoordinator 1 tx at 1s", "EndTxn v4 false 7/0 at 1s", "InitProducerID v5 7/0 at 1s"},
	} {
		initialized(t, func(cfg *TransactionsConfig) { cfg.MaxRetries = 1 }, func(t *testing.T, h *coordinatorHarness) {
			if err := h.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.answers(kmsg.AddPartitionsToTxn, code, code)
			h.Add("t", 0, func() { t.Error("told") })
			time.Sleep(10 * time.Second)
			cause := error(code)
			if code == lost {
				cause = errLost
				h.answers(kmsg.EndTxn, sarama.ErrInvalidTxnState)
			}
			if err := h.Commit(t.Context()); !IsAbortable(err) || !errors.Is(err, cause) || !errors.Is(h.failure(), cause) {
				t.Errorf("%v, failed %v", err, h.failure())
			}
			h.mu.Lock()
			h.began = h.began.Add(9 * time.Second)
			h.mu.Unlock()
			if err := h.Abort(t.Context()); err != nil || h.failure() != nil {
				t.Errorf("%v, failed %v", err, h.failure())
			}
			h.wantSeen(t, want...)
		})
	}
}

// While the markers of the last transaction are written, the coordinator fences the EndTxn of the epoch that it has given with
// them. So PRODUCER_FENCED is asked about again, where something of the transaction was refused because the last one was still being
// ended. It is the last word otherwise, and if it stays. A producer that was fenced must not send InitProducerId: the coordinator
// would end the newer producer's open transaction for it.
func TestEndTxnWhileTheLastStillEnds(t *testing.T) {
	fenced := make([]sarama.KError, 10_000)
	for i := range fenced {
		fenced[i] = sarama.ErrProducerFenced
	}
	for name, c := range map[string]struct {
		version int16
		last    time.Duration // ago the last one was ended
		early   bool
		codes   []sarama.KError
		fatal   bool
		lasts   time.Duration
	}{
		"it ends":         {2, time.Hour, true, fenced[:3], false, 7 * time.Millisecond},
		"it never ends":   {2, time.Hour, true, fenced, true, markersTime},
		"it has ended":    {2, time.Hour, false, fenced, true, 0},
		"just before":     {2, time.Millisecond, false, fenced[:3], false, 7 * time.Millisecond},
		"fenced since":    {2, 2 * time.Second, false, fenced, true, 3 * time.Second},
		"before KIP-890":  {1, time.Millisecond, true, fenced, true, 0},
		"a newer one has": {2, time.Millisecond, true, []sarama.KError{sarama.ErrInvalidProducerIDMapping}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
				h.version = c.version
				h.begin(t, 0)
				if err := h.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.last)
				h.begin(t, 0)
				if c.early {
					h.LastStillEnds()
				}
				h.take()
				h.answers(kmsg.EndTxn, c.codes...)
				began := time.Now()
				err := h.Abort(t.Context())
				if took := time.Since(began); took < c.lasts-50*time.Millisecond || took > c.lasts+time.Second || IsFatal(err) != c.fatal {
					t.Errorf("after %v: %v", took, err)
				}
				for _, text := range h.take() {
					if text[0] == 'I' {
						t.Error(text)
					}
				}
			})
		})
	}
}

// Version 2: sequence numbers begin again under the epoch that EndTxn gives, and the first batch waits until the markers of the last
// transaction's end should be written.
func TestVersion2(t *testing.T) {
	initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
		h.version = 2
		h.begin(t, 0)
		if err := h.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		h.wantSeen(t, "EndTxn v5 true 7/0")
		if want := (Identity{7, 1}); h.Current() != want {
			t.Errorf("%v", h.Current())
		}
		ended := time.Now()
		h.begin(t, 0)
		if waited := time.Since(ended); waited != afterEndTxn {
			t.Errorf("the next batch waited for %v", waited)
		}
		if err := h.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		began := time.Now()
		h.begin(t, 0)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("a batch waited for %v, long after the last transaction", waited)
		}
	})
}

// The cluster's version is asked for between transactions, and not at each; where it has changed, the next begins under another
// epoch, and not before: the version is fixed at Begin.
func TestVersionIsRaised(t *testing.T) {
	asked := 0
	initialized(t, func(cfg *TransactionsConfig) {
		cfg.RefreshVersion = func(context.Context, Conn) error { asked++; return nil }
	}, func(t *testing.T, h *coordinatorHarness) {
		for range 10 {
			h.begin(t, 0)
			if err := h.Commit(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		if asked != 2 {
			t.Errorf("asked %d times in 10 s", asked)
		}
		h.begin(t, 0)
		h.take()
		h.version = 2
		if err := h.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		h.begin(t, 0)
		if err := h.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		h.wantSeen(t, "EndTxn v4 true 7/0", "InitProducerID v5 7/0", "EndTxn v5 true 7/1 at 2ms")
	})
}

// An epoch that can't be had after an abort is asked for by BeginTxn.
func TestInitIsPostponed(t *testing.T) {
	initialized(t, func(cfg *TransactionsConfig) { cfg.MaxRetries = 0 }, func(t *testing.T, h *coordinatorHarness) {
		h.begin(t, 0)
		h.MessageFailed(errors.New("a message"))
		h.answers(kmsg.InitProducerID, sarama.ErrConsumerCoordinatorNotAvailable, sarama.ErrConsumerCoordinatorNotAvailable)
		if err := h.Abort(t.Context()); err != nil || h.Status() != sarama.ProducerTxnFlagInitializing {
			t.Error(err, h.Status())
		}
		if err := h.Begin(t.Context()); !errors.Is(err, sarama.ErrConsumerCoordinatorNotAvailable) {
			t.Error(err)
		}
		if err := h.Begin(t.Context()); err != nil || h.Current() != (Identity{7, 1}) {
			t.Error(err, h.Current())
		}
	})
}

// A broker before Kafka 2.5 raises no epochs: after a failed transaction the producer can't go on. After a good one it does.
func TestOldCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newCoordinatorHarness(t, nil)
		h.highest = 2
		if err := h.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			h.begin(t, 0)
			if err := h.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		}
		h.begin(t, 0)
		h.MessageFailed(errors.New("a message"))
		if err := h.Abort(t.Context()); !IsFatal(err) {
			t.Error(err)
		}
	})
}

// Calls take turns, and end with their contexts. After Stop and Close they fail at once.
func TestCallsTakeTurns(t *testing.T) {
	initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
		h.begin(t, 0)
		h.hold = make(chan struct{})
		committed := make(chan error)
		go func() { committed <- h.Commit(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Abort(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cause := errors.New("closed in a hurry")
		h.Stop(cause)
		if err := <-committed; !errors.Is(err, cause) {
			t.Error(err)
		}
		for _, err := range []error{h.Begin(t.Context()), h.Commit(t.Context()), h.Abort(t.Context())} {
			if !errors.Is(err, sarama.ErrShuttingDown) {
				t.Error(err)
			}
		}
	})
}

// Users' calls and the stages' run side by side.
func TestTransactionsConcurrentSafe(t *testing.T) {
	h := newCoordinatorHarness(t, func(cfg *TransactionsConfig) {
		cfg.Backoff = func(int) time.Duration { return time.Millisecond }
	})
	if err := h.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := int32(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				h.Add("t", n%8, func() {})
				h.Writing()
				h.Open()
				h.Current()
				h.Status()
				if i == 0 && n%50 == 0 {
					h.MessageFailed(errors.New("a message"))
				}
			}
		})
	}
	for range 200 {
		if err := h.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		_ = h.AddOffsets(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Offset: 1}}}, sarama.NewConsumerGroupMetadata("g"))
		if err := h.Commit(t.Context()); err != nil {
			if err := h.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	wg.Wait()
}
