package txn

import (
	"errors"
	"testing"
	"time"
)

// A message that its caller could not send fails its transaction, and no later one: the stages are told before AbortTxn can
// clear the failure. Otherwise they would refuse the messages of the next transaction, and CommitTxn would know nothing of it.
func TestLateFailure(t *testing.T) {
	entered, begun := make(chan struct{}), make(chan struct{})
	var h *coordinatorHarness
	h = newCoordinatorHarness(t, func(cfg *TransactionsConfig) {
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
