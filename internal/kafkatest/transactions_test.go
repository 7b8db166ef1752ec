//go:build unix

package kafkatest

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const transactionVersion = "transaction.version"

func TestFeatureIsFormattedAndRaised(t *testing.T) {
	c := Start(t, 1, Feature(transactionVersion, 0))
	if got := c.FeatureLevel(t, 0, transactionVersion); got != 0 {
		t.Errorf("formatted with %s %d, want 0", transactionVersion, got)
	}
	c.RaiseFeature(t, transactionVersion, 2)
	if got := c.FeatureLevel(t, 0, transactionVersion); got != 2 {
		t.Errorf("raised to %s %d, want 2", transactionVersion, got)
	}
	if err := c.raiseFeature(testContext(t), transactionVersion, 99); !errors.Is(err, kerr.InvalidUpdateVersion) {
		t.Errorf("raised to 99: error %v, want %v", err, kerr.InvalidUpdateVersion)
	}
	if got := kafka.Get(t).FeatureLevel(t, 0, transactionVersion); got != 2 {
		t.Errorf("formatted without a level, %s is %d, want 2", transactionVersion, got)
	}
}

// The admin's view of a transaction, from its first message until its end is written.
func TestTransactionStates(t *testing.T) {
	c := kafka.Get(t)
	const id = "states"
	topic := c.NewTopic(t, 1, nil)
	if got := c.TransactionState(t, id); got != "" {
		t.Errorf("an id that was never used is %q", got)
	}
	cl := newClient(t, c, kgo.TransactionalID(id))
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if got := c.TransactionState(t, id); got != Ongoing {
			t.Errorf("%q after a message, want %q", got, Ongoing)
		}
		if got := c.OpenTransactions(t); !slices.Equal(got, []string{id}) {
			t.Errorf("open: %q, want this one", got)
		}
		if err := cl.EndTransaction(testContext(t), end); err != nil {
			t.Fatal(err)
		}
		want := "CompleteAbort"
		if end == kgo.TryCommit {
			want = "CompleteCommit"
		}
		c.AwaitTransactionState(t, id, want)
		if got := c.OpenTransactions(t); len(got) > 0 {
			t.Errorf("open: %q, want none", got)
		}
	}
	if got := c.TransactionCoordinator(t, id); got != 0 {
		t.Errorf("coordinated by node %d", got)
	}
	if got := c.GroupCoordinator(t, "a group"); got != 0 {
		t.Errorf("a group is coordinated by node %d", got)
	}
}
