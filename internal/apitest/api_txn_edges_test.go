package apitest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

// An error of Transact's function ends no producer, whichever code it has: it may come from an admin client, or another producer.
// The transaction is aborted.
func TestTransactAbortsAfterAForeignCode(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		for _, foreign := range []error{sarama.ErrClusterAuthorizationFailed, sarama.ErrUnsupportedVersion, sarama.ErrProducerFenced} {
			err := p.Transact(impatient(t), func(tx sluice.Tx) error {
				if err := tx.Produce(context.Background(), message(0, 1), nil); err != nil {
					t.Error(err)
				}
				return foreign
			})
			if !errors.Is(err, foreign) {
				t.Error(err)
			}
			if status := p.TxnStatus(); status != sarama.ProducerTxnFlagReady {
				t.Fatalf("after %v the status is %v", foreign, status)
			}
		}
		wantCommitted(t, c)
	})
}

// A message that is refused because Close has begun is missing in its transaction, which is not committed.
func TestRefusedByCloseIsNotCommitted(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		drainErrors(p)
		gate := holdProduce(t, c, nil)
		begin(t, p)
		if err := p.Produce(context.Background(), message(0, 1), nil); err != nil {
			t.Fatal(err)
		}
		receive(t, gate.arrived)
		p.AsyncClose()
		var err error
		for ctx := impatient(t); err == nil && ctx.Err() == nil; {
			time.Sleep(time.Millisecond) // Close may need a moment
			err = p.Produce(context.Background(), message(1, 2), nil)
		}
		wantError(t, err, causes(sarama.ErrShuttingDown))
		committed := make(chan error, 1)
		go func() { committed <- p.CommitTxn() }()
		for p.TxnStatus() == sarama.ProducerTxnFlagInTransaction {
			time.Sleep(time.Millisecond)
		}
		gate.open()
		if err := receive(t, committed); err == nil {
			t.Error("committed without a message")
		}
		p.Close()
		wantCommitted(t, c)
	})
}
