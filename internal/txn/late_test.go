package txn

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// A message that its caller could not send fails its transaction, and no later one: the stages are told before AbortTxn can
// clear the failure. Otherwise they would refuse the messages of the next transaction, and CommitTxn would know nothing of it.
func TestLateFailure(t *testing.T) {
	entered, begun := make(chan struct{}), make(chan struct{})
	h := newCoordinatorHarness(t, func(cfg *TransactionsConfig) {
		fail := cfg.Fail
		cfg.Fail = func(cause error) {
			close(entered)
			select {
			case <-begun:
				t.Error("the next transaction has begun before the stages know that the last one has failed")
			case <-time.After(50 * time.Millisecond):
			}
			fail(cause)
		}
	})
	if err := h.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.begin(t, 0)
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		h.MessageFailed(errors.New("too large"))
	}()
	<-entered
	if err := h.Abort(t.Context()); err != nil {
		t.Error(err)
	}
	if err := h.Begin(t.Context()); err != nil {
		t.Error(err)
	}
	close(begun)
	<-failed
	if err := h.failure(); err != nil {
		t.Errorf("the stages refuse messages of an open transaction: %v", err)
	}
	if err := h.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}

// A transaction is given up with a code from elsewhere that would be fatal in an answer. A message that fails for that is no such
// answer: the producer goes on.
func TestForeignCodeIsNotFatal(t *testing.T) {
	h := newCoordinatorHarness(t, nil)
	if err := h.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.begin(t, 0)
	h.GiveUp(sarama.ErrClusterAuthorizationFailed)
	h.MessageFailed(fmt.Errorf("topic t: %w", h.failure()))
	if err := h.Abort(t.Context()); err != nil {
		t.Error(err)
	}
	if status := h.Status(); status != sarama.ProducerTxnFlagReady {
		t.Errorf("the status is %v", status)
	}
	// An answer with that code still is.
	h.begin(t, 0)
	h.MessageFailed(fmt.Errorf("topic t: %w", sarama.ErrClusterAuthorizationFailed))
	if status := h.Status(); status&sarama.ProducerTxnFlagFatalError == 0 {
		t.Errorf("the status is %v", status)
	}
}

// An answer that leaves out a partition of the request grants nothing: the request is sent again.
func TestIncompleteAnswers(t *testing.T) {
	for version, key := range map[int16]kmsg.Key{1: kmsg.AddPartitionsToTxn, 2: kmsg.TxnOffsetCommit} {
		initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
			h.version = version
			h.leaveOut = map[kmsg.Key]int{key: 1}
			if err := h.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.take()
			if version == 1 {
				added := make(chan struct{})
				if h.Add("t", 0, func() { close(added) }) {
					t.Error("added before it was asked for")
				}
				<-added
				h.wantSeen(t, "AddPartitionsToTxn v3 t[0]", "FindCoordinator 1 tx at 1s", "AddPartitionsToTxn v3 t[0] at 1s")
				return
			}
			err := h.AddOffsets(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Offset: 5}}}, sarama.NewConsumerGroupMetadata("g"))
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Commit(t.Context()); err != nil {
				t.Error(err)
			}
			h.wantSeen(t, "FindCoordinator 0 g", "TxnOffsetCommit v5 g//-1 t/0=5", "FindCoordinator 0 g at 1s",
				"TxnOffsetCommit v5 g//-1 t/0=5 at 1s", "EndTxn v5 true 7/0 at 1s")
		})
	}
}

// Offsets are copied as they are added, their metadata too.
func TestMetadataIsCopied(t *testing.T) {
	h := newCoordinatorHarness(t, nil)
	if err := h.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.begin(t)
	metadata := "as it was added"
	err := h.AddOffsets(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Offset: 5, Metadata: &metadata}}}, sarama.NewConsumerGroupMetadata("g"))
	if err != nil {
		t.Fatal(err)
	}
	metadata = "used for something else"
	var sent string
	h.answer = func(req kmsg.Request) (sarama.KError, error) {
		if commit, ok := req.(*kmsg.TxnOffsetCommitRequest); ok {
			sent = *commit.Topics[0].Partitions[0].Metadata
		}
		return 0, nil
	}
	if err := h.Commit(t.Context()); err != nil || sent != "as it was added" {
		t.Errorf("%v, sent %q", err, sent)
	}
}

// Version 1: a TxnOffsetCommit without an answer may be done after the transaction is aborted. The next one has another epoch, or it
// would commit these offsets.
func TestLateOffsets(t *testing.T) {
	initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
		h.begin(t)
		err := h.AddOffsets(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Offset: 5}}}, sarama.NewConsumerGroupMetadata("g"))
		if err != nil {
			t.Fatal(err)
		}
		h.answers(kmsg.TxnOffsetCommit, lost, lost)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := h.Commit(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, flow.ErrOutcomeUnknown) {
			t.Error(err)
		}
		h.take()
		if err := h.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		h.wantSeen(t, "EndTxn v4 false 7/0", "InitProducerID v5 7/0")
	})
}

// A refusal of EndTxn that leaves only AbortTxn does not say that the transaction is aborted: the next one begins under another
// epoch, which the coordinator gives when nothing is open.
func TestRefusedAbort(t *testing.T) {
	initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
		h.version = 2
		h.begin(t, 0)
		h.take()
		h.answers(kmsg.EndTxn, errTransactionAbortable)
		if err := h.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		h.wantSeen(t, "EndTxn v5 false 7/0", "InitProducerID v5 7/0")
	})
}

// Before Kafka 2.5 a coordinator can't check a member (TxnOffsetCommit v3, KIP-447): offsets of one are not sent there unchecked.
// Those of a group alone are.
func TestMemberNeedsItsCheck(t *testing.T) {
	for _, m := range []*sarama.ConsumerGroupMetadata{
		{GroupID: "g", MemberID: "a", GenerationID: 1}, sarama.NewConsumerGroupMetadata("g"),
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newCoordinatorHarness(t, nil)
			h.highest = 2
			if err := h.Init(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.begin(t)
			if err := h.AddOffsets(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Offset: 5}}}, m); err != nil {
				t.Fatal(err)
			}
			if err := h.Commit(t.Context()); (err == nil) != (m.MemberID == "") {
				t.Errorf("member %q: %v", m.MemberID, err)
			}
		})
	}
}

// A request whose context has ended before it is sent is not in doubt.
func TestEndedBeforeItIsSent(t *testing.T) {
	initialized(t, nil, func(t *testing.T, h *coordinatorHarness) {
		h.begin(t, 0)
		ctx, cancel := context.WithCancel(t.Context())
		h.cfg.Drain = func(context.Context) error { cancel(); return nil } // as the last message gets its outcome
		h.take()
		err := h.Commit(ctx)
		if !errors.Is(err, context.Canceled) || errors.Is(err, flow.ErrOutcomeUnknown) {
			t.Error(err)
		}
		h.wantSeen(t)
	})
}
