package apitest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// A Commit whose context ends while messages are under way has committed nothing, and says so; it can go on, or be aborted.
func TestCommitIsCutShort(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		var want []string
		for _, goOn := range []bool{true, false} {
			gate := holdProduce(t, c, nil)
			begin(t, p)
			msgs, values := values(fmt.Sprint(goOn, " "), 4)
			send(p, msgs...)
			err := p.CommitTxnContext(soonDone(t, 20*time.Millisecond))
			wantError(t, err, causes(context.DeadlineExceeded), "not committed yet")
			if errors.Is(err, sluice.ErrOutcomeUnknown) || sluice.IsTxnAbortable(err) || sluice.IsTxnFatal(err) {
				t.Error(err)
			}
			_, _, err = p.SendMessage(message(0, 1))
			wantError(t, err, causes(sarama.ErrTransactionNotReady))
			gate.open()
			if goOn {
				commit(t, p)
				want = append(want, values...)
			} else {
				abort(t, p)
			}
		}
		wantCommitted(t, c, want...)
	})
}

// EndTxn is lost, before it was done or after: the same request is sent again until there is an answer.
func TestEndTxnIsRepeated(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		for _, ctxEnds := range []bool{false, true} {
			p := newAsync(t, c, txnConfig())
			requests := watchTxn(c)
			lost := 0
			c.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if lost++; lost <= 4 {
					return nil, errors.New("connection lost"), true
				}
				return nil, nil, false
			})
			begin(t, p)
			msgs, _ := values("m", 4)
			send(p, msgs...)
			if ctxEnds {
				c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.FindCoordinator}, Err: kerr.CoordinatorNotAvailable, Count: 200})
				err := p.CommitTxnContext(soonDone(t, 50*time.Millisecond))
				wantError(t, err, causes(sluice.ErrOutcomeUnknown, context.DeadlineExceeded))
				wantError(t, p.BeginTxn(), causes(sarama.ErrTransitionNotAllowed))
			}
			commit(t, p)
			ends := requests.take("EndTxn")
			if len(ends) != 5 || len(slices.Compact(ends)) != 1 {
				t.Errorf("%q: want the same request, and five times", ends)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		wantCommitted(t, c, "m0", "m1", "m2", "m3", "m0", "m1", "m2", "m3")
	})
}

// AbortTxn gives a commit without an answer up: it initialises the producer id anew, and says that the outcome is unknown.
func TestAbortOfAnUnansweredCommit(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		begin(t, p)
		msgs, _ := values("m", 4)
		send(p, msgs...)
		var lose atomic.Bool
		lose.Store(true)
		c.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			if lose.Load() && kreq.(*kmsg.EndTxnRequest).Commit {
				return nil, errors.New("connection lost"), true
			}
			return nil, nil, false
		})
		wantError(t, p.CommitTxnContext(soonDone(t, 50*time.Millisecond)), causes(sluice.ErrOutcomeUnknown))
		requests := watchTxn(c)
		wantError(t, p.AbortTxnContext(impatient(t)), causes(sluice.ErrOutcomeUnknown))
		if seen := requests.take("InitProducerID"); len(seen) != 1 || strings.HasSuffix(seen[0], "epoch -1") {
			t.Errorf("%q", seen)
		}
		if p.TxnStatus() != sarama.ProducerTxnFlagReady {
			t.Error(p.TxnStatus())
		}
		lose.Store(false)
		begin(t, p)
		msgs, want := values("next ", 4)
		send(p, msgs...)
		commit(t, p)
		wantCommitted(t, c, want...)
	})
}

// CONCURRENT_TRANSACTIONS, from any request, is no failure: it is waited out.
func TestConcurrentTransactions(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		for name, contract := range map[string]bool{"New": false, "NewAsyncProducer": true} {
			for _, key := range []kmsg.Key{
				kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn,
			} {
				c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: kerr.ConcurrentTransactions, Count: 8})
			}
			conf := txnConfig()
			conf.Producer.Retry.Max, conf.Producer.Transaction.Retry.Max = 1, 1
			var p sarama.AsyncProducer
			var err error
			if contract {
				p, err = sluice.NewAsyncProducer(c.ListenAddrs(), conf)
			} else {
				p, err = sluice.New(c.ListenAddrs(), conf)
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := p.BeginTxn(); err != nil {
				t.Fatal(err)
			}
			p.Input() <- message(0, 1)
			if err := p.AddMessageToTxn(&sarama.ConsumerMessage{Topic: "t", Offset: 1}, "g", nil); err != nil {
				t.Fatal(err)
			}
			if err := p.CommitTxn(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		wantCommitted(t, c, "1", "1")
	})
}

// Coordinators move and are not ready: they are looked up anew. Those of a group and of a transactional id may be two brokers.
func TestCoordinatorMoves(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		var want []string
		for i, err := range []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, nil} {
			if err != nil {
				for _, key := range []kmsg.Key{kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
					c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: err})
				}
			} else {
				for _, key := range []kmsg.Key{kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
					c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
						return nil, errors.New("connection lost"), true
					})
				}
			}
			requests := watchTxn(c)
			begin(t, p)
			msgs, values := values(fmt.Sprint(i, " "), 4)
			send(p, msgs...)
			want = append(want, values...)
			if err := p.AddMessageToTxn(&sarama.ConsumerMessage{Topic: "t", Offset: int64(i)}, "g", nil); err != nil {
				t.Fatal(err)
			}
			commit(t, p)
			if seen := requests.take("FindCoordinator"); len(seen) < 2 {
				t.Errorf("after %v: %q", err, seen)
			}
		}
		wantCommitted(t, c, want...)
	})
}

// An outage of the coordinator that is shorter than Transaction.Timeout is waited out. In a longer one CommitTxn gives up, and the
// outcome is unknown.
func TestCommitThroughAnOutage(t *testing.T) {
	for _, outage := range []time.Duration{40 * time.Second, 80 * time.Second} {
		inBubble(t, func(t *testing.T, v *virtual) {
			if err := v.CreateTopic("t", 4, nil); err != nil {
				t.Fatal(err)
			}
			conf := v.config()
			conf = idempotent(conf)
			conf.Producer.Return.Successes = false
			conf.Producer.Transaction.ID = "tx"
			conf.Producer.Transaction.Timeout = time.Minute
			p := newAsync(t, v.Cluster, conf)
			begin(t, p)
			msgs, want := values("m", 4)
			send(p, msgs...)
			if err := p.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for _, key := range []kmsg.Key{kmsg.EndTxn, kmsg.FindCoordinator} {
				v.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: kerr.CoordinatorNotAvailable, Count: -1, When: func(kmsg.Request) bool {
					return time.Since(began) < outage
				}})
			}
			err := p.CommitTxn()
			if outage > time.Minute {
				wantError(t, err, causes(sluice.ErrOutcomeUnknown, sarama.ErrConsumerCoordinatorNotAvailable))
				if took := time.Since(began); took < time.Minute || took > 2*time.Minute {
					t.Errorf("gave up after %v of the bubble's time", took)
				}
				time.Sleep(time.Until(began.Add(outage)))
				// The coordinator has aborted it meanwhile.
				wantAbortable(t, p, p.CommitTxn(), sarama.ErrInvalidTxnState)
				err, want = p.AbortTxn(), nil
			}
			if err != nil {
				t.Error(err)
			}
			wantCommittedBy(t, v.Cluster, want, kgo.Dialer(v.DialContext))
		})
	}
}
