package apitest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

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

// A topic that is forgotten within a transaction, after five minutes without a message, goes on with its sequence numbers; one that
// was forgotten between two transactions, too.
func TestTopicIsForgottenWithinATransaction(t *testing.T) {
	for version, v := range map[int]*kversion.Versions{1: kversion.V3_9_0(), 2: kversion.V4_1_0()} {
		inBubble(t, func(t *testing.T, vc *virtual) {
			if err := vc.CreateTopic("t", 4, nil); err != nil {
				t.Fatal(err)
			}
			conf := idempotent(vc.config())
			conf.Producer.Return.Successes = false
			conf.Producer.Transaction.ID = "tx"
			conf.Producer.Transaction.Timeout = 14 * time.Minute
			p := newAsync(t, vc.Cluster, conf)
			var want []string
			for i := range 3 {
				begin(t, p)
				for j := range 2 {
					msgs, w := values(fmt.Sprint(version, i, j, " "), 8)
					if err := p.SendMessages(msgs); err != nil {
						t.Fatal(err)
					}
					want = append(want, w...)
					time.Sleep(6 * time.Minute)
				}
				if err := p.CommitTxn(); err != nil {
					t.Fatal(err)
				}
				if i == 1 {
					time.Sleep(6 * time.Minute)
				}
			}
			wantCommittedBy(t, vc.Cluster, want, kgo.Dialer(vc.DialContext))
		}, kfake.MaxVersions(v))
	}
}

// A batch that is too large is split within its transaction. One with a record at fault fails it.
func TestDividedBatchesInATransaction(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, version int) {
		conf := txnConfig()
		conf.Producer.Flush.Frequency = 50 * time.Millisecond
		p := newAsync(t, c, conf)
		drainErrors(p)
		var want []string
		for i := range 10 {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge, Count: 1, When: func(r kmsg.Request) bool {
				pr := r.(*kmsg.ProduceRequest)
				return len(pr.Topics) == 1 && len(pr.Topics[0].Partitions) == 1 && len(pr.Topics[0].Partitions[0].Records) > 90
			}})
			if i%2 == 0 {
				c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 1})
			}
			begin(t, p)
			msgs, w := values(fmt.Sprint(i, " "), 64)
			p.InputBatch() <- msgs
			commit(t, p)
			want = append(want, w...)
			c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				return answerProduce(kreq, func(rp *kmsg.ProduceResponseTopicPartition) {
					rp.ErrorCode = kerr.InvalidRecord.Code
					er := kmsg.NewProduceResponseTopicPartitionErrorRecord()
					rp.ErrorRecords = append(rp.ErrorRecords, er)
				}), nil, true
			})
			begin(t, p)
			msgs, _ = values(fmt.Sprint("sift", i, " "), 64)
			p.InputBatch() <- msgs
			if err := p.CommitTxn(); !sluice.IsTxnAbortable(err) {
				t.Fatal(err)
			}
			abort(t, p)
		}
		wantCommitted(t, c, want...)
	})
}

// Callbacks may commit, and begin the next transaction.
func TestTransactionsFromCallbacks(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		done := make(chan struct{})
		n := 0
		var want []string
		var cb func(*sarama.ProducerMessage, error)
		cb = func(_ *sarama.ProducerMessage, err error) {
			if err != nil {
				t.Error(err)
			}
			if err := p.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Offset: int64(n)}}}, "g"); err != nil {
				t.Error(err)
			}
			if err := p.CommitTxn(); err != nil {
				t.Error(err)
			}
			n++
			if n == 20 {
				close(done)
				return
			}
			if err := p.BeginTxn(); err != nil {
				t.Error(err)
			}
			v := fmt.Sprint("cb", n)
			want = append(want, v)
			if err := p.Produce(context.Background(), &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(v)}, cb); err != nil {
				t.Error(err)
			}
		}
		begin(t, p)
		want = append(want, "cb0")
		if err := p.Produce(context.Background(), &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("cb0")}, cb); err != nil {
			t.Fatal(err)
		}
		wait(t, done, "the last callback")
		wantCommitted(t, c, want...)
	})
}

// Every call beside Close, CloseContext and each other ends.
func TestCloseBesideTransactions(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		for i := range 40 {
			conf := txnConfig()
			conf.Producer.Transaction.ID = fmt.Sprint("tx", i)
			p := newAsync(t, c, conf)
			drainErrors(p)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for {
						if err := p.BeginTxn(); errors.Is(err, sarama.ErrShuttingDown) {
							return
						}
						_ = p.Produce(context.Background(), message(0, 1), nil)
						_ = p.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Offset: 1}}}, "g")
						ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
						err := p.CommitTxnContext(ctx)
						cancel()
						if err != nil {
							_ = p.AbortTxn()
						}
					}
				})
			}
			time.Sleep(time.Duration(i) * time.Millisecond / 2)
			if i%2 == 0 {
				p.Close()
			} else {
				_ = p.CloseContext(soonDone(t, time.Duration(i%5)*time.Millisecond))
			}
			wg.Wait()
		}
	})
}
