package apitest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// Transact commits, or aborts if its function fails or panics.
func TestTransact(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		ctx := impatient(t)
		produce := func(tx sluice.Tx, prefix string) (want []string) {
			msgs, want := values(prefix, 4)
			for _, msg := range msgs {
				if err := tx.Produce(ctx, msg, nil); err != nil {
					t.Error(err)
				}
			}
			return want
		}
		var want []string
		if err := p.Transact(ctx, func(tx sluice.Tx) error {
			want = produce(tx, "good ")
			return tx.AddMessage(&sarama.ConsumerMessage{Topic: "t", Offset: 1}, sarama.NewConsumerGroupMetadata("g"))
		}); err != nil {
			t.Error(err)
		}
		failure := errors.New("the function's own")
		if err := p.Transact(ctx, func(tx sluice.Tx) error {
			produce(tx, "failed ")
			return failure
		}); err != failure {
			t.Error(err)
		}
		wantPanic(t, func() {
			_ = p.Transact(ctx, func(tx sluice.Tx) error {
				produce(tx, "panicked ")
				panic("the function's own")
			})
		})
		cancelled, cancel := context.WithCancel(ctx)
		err := p.Transact(cancelled, func(tx sluice.Tx) error {
			produce(tx, "cancelled ")
			cancel()
			return nil
		})
		wantError(t, err, causes(context.Canceled))
		wantError(t, p.Transact(cancelled, func(sluice.Tx) error { t.Error("called"); return nil }), causes(context.Canceled))
		failProduce(c, kerr.TransactionAbortable, 1)
		err = p.Transact(ctx, func(tx sluice.Tx) error { produce(tx, "abortable "); return nil })
		wantError(t, err, causes(sarama.KError(kerr.TransactionAbortable.Code)))
		if !sluice.IsTxnAbortable(err) || p.TxnStatus() != sarama.ProducerTxnFlagReady {
			t.Error(err, p.TxnStatus())
		}
		wantCommitted(t, c, want...)
	})
}

// Transact does not wait for what will be aborted anyway: here no broker takes it.
func TestTransactAbortsAtOnce(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Partitions: []int32{3}, Err: kerr.NotLeaderForPartition, Count: -1})
		p := newAsync(t, c, txnConfig(), sluice.WithDeliveryTimeout(time.Hour))
		failure := errors.New("the function's own")
		outcomes := make(chan error, 10)
		err := p.Transact(impatient(t), func(tx sluice.Tx) error {
			for i := range cap(outcomes) {
				err := tx.Produce(t.Context(), message(3, i), func(_ *sarama.ProducerMessage, err error) { outcomes <- err })
				if err != nil {
					t.Error(err)
				}
			}
			return failure
		})
		if err != failure {
			t.Error(err)
		}
		for range cap(outcomes) {
			wantError(t, receive(t, outcomes), causes(failure))
		}
		wantCommitted(t, c)
	})
}
