package apitest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// A message that fails takes its transaction with it: Commit returns the first cause, messages that come later are refused,
// and after Abort the producer goes on under another epoch.
func TestFailedMessage(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, version int) {
		p := newAsync(t, c, txnConfig())
		errs := drainErrors(p)
		begin(t, p)
		msgs, _ := values("lost ", 8)
		send(p, msgs...)
		if err := p.Flush(impatient(t)); err != nil {
			t.Fatal(err)
		}
		failProduce(c, kerr.InvalidRecord, 1)
		_, _, err := p.SendMessage(message(0, 1))
		wantError(t, err, causes(sarama.KError(kerr.InvalidRecord.Code)))
		_, _, err = p.SendMessage(message(1, 2))
		wantError(t, err, causes(sarama.ErrTransactionNotReady, sarama.KError(kerr.InvalidRecord.Code)))
		err = p.CommitTxn()
		wantAbortable(t, p, err, sarama.KError(kerr.InvalidRecord.Code))
		wantError(t, p.BeginTxn(), causes(sarama.ErrTransitionNotAllowed))
		wantAbortable(t, p, p.CommitTxn(), sarama.KError(kerr.InvalidRecord.Code))

		requests := watchTxn(c)
		abort(t, p)
		seen := requests.take()
		wantRequests := map[int][]string{1: {"EndTxn v4 abort", "InitProducerID v5 epoch 0"}, 2: {"EndTxn v5 abort"}}[version]
		if len(seen) != len(wantRequests) {
			t.Errorf("%q, want %q", seen, wantRequests)
		}
		for i, text := range wantRequests {
			if i < len(seen) && !strings.HasPrefix(seen[i], text) {
				t.Errorf("%q, want %q", seen[i], text)
			}
		}
		begin(t, p)
		msgs, want := values("kept ", 8)
		send(p, msgs...)
		commit(t, p)
		wantCommitted(t, c, want...)
		if got := errs(); len(got) > 0 {
			t.Errorf("%v", got)
		}
	})
}

// What still waits when a transaction fails fails at once, and with the first cause: its broker may be gone.
func TestFailedTransactionDoesNotWait(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Partitions: []int32{3}, Err: kerr.NotLeaderForPartition, Count: -1})
		p := newAsync(t, c, txnConfig())
		errs := drainErrors(p)
		begin(t, p)
		for i := range 10 {
			send(p, message(3, i))
		}
		send(p, &sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, 2<<20))})
		wantAbortable(t, p, p.CommitTxnContext(impatient(t)), sarama.ErrMessageSizeTooLarge)
		abort(t, p)
		for ctx := impatient(t); len(errs()) < 11 && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		for _, err := range errs() {
			wantError(t, err, causes(sarama.ErrMessageSizeTooLarge))
		}
	})
}

// A send that ends with its context while the message is under way has an unknown outcome. Its sender may send it again: so the
// transaction is not committed with it.
func TestUnknownSendFailsItsTransaction(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		for name, send := range map[string]func(context.Context) error{
			"SendMessageContext": func(ctx context.Context) error {
				_, _, err := p.SendMessageContext(ctx, message(0, 1))
				return err
			},
			"SendMessagesContext": func(ctx context.Context) error {
				var failed sarama.ProducerErrors
				if err := p.SendMessagesContext(ctx, messages(2, 2)); !errors.As(err, &failed) {
					return err
				}
				return failed[0].Err
			},
		} {
			gate := holdProduce(t, c, nil)
			begin(t, p)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				receive(t, gate.arrived)
				cancel()
			}()
			wantError(t, send(ctx), causes(sluice.ErrOutcomeUnknown, context.Canceled))
			gate.open()
			err := p.CommitTxn()
			wantAbortable(t, p, err, context.Canceled)
			if errors.Is(err, sluice.ErrOutcomeUnknown) {
				t.Errorf("%s: %v: the transaction's own outcome is known", name, err)
			}
			abort(t, p)
		}
		wantCommitted(t, c)
	})
}

// A member that has lost its partitions is fenced (KIP-447): the transaction can only be aborted, and the producer goes on.
func TestStaleMember(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, When: func(kreq kmsg.Request) bool {
			req := kreq.(*kmsg.TxnOffsetCommitRequest)
			return req.MemberID == "me" && req.Generation == 3
		}})
		begin(t, p)
		msgs, _ := values("m", 4)
		send(p, msgs...)
		member := &sarama.ConsumerGroupMetadata{GroupID: "g", GenerationID: 3, MemberID: "me"}
		if err := p.AddMessageToTxnWithGroupMetadata(&sarama.ConsumerMessage{Topic: "t", Offset: 1}, member, nil); err != nil {
			t.Fatal(err)
		}
		wantAbortable(t, p, p.CommitTxn(), sarama.ErrIllegalGeneration)
		abort(t, p)
		wantGoesOn(t, c, p)
	})
}

// Of two producers with one transactional id the older is fenced, and says so; what it had open is aborted.
func TestOlderProducerIsFenced(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		older := newAsync(t, c, txnConfig())
		begin(t, older)
		msgs, _ := values("older ", 4)
		send(older, msgs...)
		if err := older.Flush(impatient(t)); err != nil {
			t.Fatal(err)
		}
		newer := newAsync(t, c, txnConfig())
		begin(t, newer)
		msgs, want := values("newer ", 4)
		send(newer, msgs...)
		commit(t, newer)

		err := older.CommitTxn()
		wantFatal(t, older, err)
		wantFatal(t, older, older.AbortTxn())
		err = older.Transact(t.Context(), func(sluice.Tx) error { t.Error("called"); return nil })
		for _, err := range []error{older.BeginTxn(), err} {
			wantError(t, err, causes(sarama.ErrTransitionNotAllowed))
			wantFatal(t, older, err)
		}
		wantCommitted(t, c, want...)
	})
}

// A coordinator that aborts a transaction whose time is up bumps the epoch. In version 2 it may then answer INVALID_TXN_STATE to
// the commit (KAFKA-20785): it is not committed, and the producer goes on.
func TestTimedOutTransaction(t *testing.T) {
	c := newTopicCluster(t, 3, 4)
	p := newAsync(t, c, txnConfig())
	begin(t, p)
	msgs, _ := values("m", 4)
	send(p, msgs...)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.InvalidTxnState})
	wantAbortable(t, p, p.CommitTxn(), sarama.ErrInvalidTxnState)
	abort(t, p)
	wantGoesOn(t, c, p)
}

// These codes end a producer, whichever request they answer.
func TestFatalCodes(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, version int) {
		for _, refusal := range []*kerr.Error{
			kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.TransactionalIDAuthorizationFailed, kerr.UnsupportedForMessageFormat,
			kerr.InvalidProducerIDMapping,
		} {
			for _, key := range []kmsg.Key{kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
				if version == 2 && (key == kmsg.AddPartitionsToTxn || key == kmsg.AddOffsetsToTxn) {
					continue
				}
				p := newAsync(t, c, txnConfig())
				drainErrors(p)
				begin(t, p)
				if err := p.AddMessageToTxn(&sarama.ConsumerMessage{Topic: "t", Offset: 1}, "g", nil); err != nil {
					t.Fatal(err)
				}
				fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: refusal})
				send(p, message(0, 1))
				wantFatal(t, p, p.CommitTxn(), sarama.KError(refusal.Code))
				wantFatal(t, p, p.AbortTxn(), sarama.KError(refusal.Code))
				fault.Remove()
				p.Close()
			}
		}
	})
}
