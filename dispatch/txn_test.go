package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/flow/flowtest"
)

func transactional(cfg *harnessConfig) { cfg.txn = true }

// Which messages belong to a transaction: those whose send began after BeginTxn, and ended before EndTxn. All others are
// refused, also those that still waited in an input.
func TestMessagesOfATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, transactional)
		refused := func(n int, when string) {
			t.Helper()
			for range n {
				if err := h.failure(); !errors.Is(err, sarama.ErrTransactionNotReady) {
					t.Errorf("%s: %v", when, err)
				}
			}
		}
		accepted := func(want ...int) {
			t.Helper()
			var got []int
			for len(got) < len(want) {
				r := h.report()
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				for _, msg := range r.Messages {
					got = append(got, flowtest.Number(msg))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("delivered %v, want %v", got, want)
			}
		}
		h.Input <- numbered(1, 0)
		refused(1, "before the first transaction")

		// The dispatcher may be slow: these three wait in the inputs when BeginTxn comes.
		h.Input <- numbered(2, 0)
		h.InputBatch <- []*sarama.ProducerMessage{numbered(3, 0)}
		direct(t, h, flow.Record{Msg: numbered(4, 0)})
		if err := h.BeginTxn(t.Context()); err != nil {
			t.Fatal(err)
		}
		refused(3, "sent before BeginTxn")

		h.brokers.hold()
		h.Input <- numbered(5, 0)
		synctest.Wait()
		h.Input <- numbered(6, 0)
		ended := h.EndTxn(t.Context())
		h.Input <- numbered(7, 0)
		refused(1, "sent after EndTxn")
		synctest.Wait()
		select {
		case <-ended:
			t.Error("EndTxn does not wait for outcomes")
		default:
		}
		h.brokers.resume()
		h.brokers.decide(nil)
		<-ended
		accepted(5, 6)
	})
}

// Senders that are blocked at a full Input when BeginTxn comes are before it, too.
func TestBeginTxnFreesBlockedSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(cfg *harnessConfig) { cfg.txn, cfg.ChannelBufferSize, cfg.memory = true, 1, 4096 })
		h.deps.Budget.Force(4096) // so that the dispatcher waits for memory, with its first refusal
		var senders sync.WaitGroup
		for i := range 20 {
			senders.Go(func() { h.Input <- numbered(i, 0) })
		}
		synctest.Wait()
		began := make(chan error)
		go func() { began <- h.BeginTxn(context.Background()) }()
		synctest.Wait()
		h.deps.Budget.Release(4096)
		for range 20 {
			if err := h.failure(); !errors.Is(err, sarama.ErrTransactionNotReady) {
				t.Error(err)
			}
		}
		if err := <-began; err != nil {
			t.Error(err)
		}
		senders.Wait()
	})
}

// A transaction that has failed lets fail what is not being sent, and refuses what comes later, with the cause.
func TestFailedTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, transactional)
		if err := h.BeginTxn(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.brokers.hold()
		h.Input <- numbered(1, 0)
		synctest.Wait()
		cause := errors.New("the first cause")
		h.deps.FailTxn(cause)
		h.deps.FailTxn(errors.New("a later cause"))
		if err := h.failure(); !errors.Is(err, cause) {
			t.Error(err)
		}
		h.Input <- numbered(2, 0)
		if err := h.failure(); !errors.Is(err, sarama.ErrTransactionNotReady) || !errors.Is(err, cause) {
			t.Error(err)
		}
		h.brokers.resume()
		h.brokers.decide(nil)
		<-h.EndTxn(t.Context())
		h.deps.ClearTxn()
		if err := h.BeginTxn(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.Input <- numbered(3, 0)
		if r := h.report(); r.Err != nil || flowtest.Number(r.Messages[0]) != 3 {
			t.Errorf("report %+v: want the next transaction's message delivered", r)
		}
	})
}
