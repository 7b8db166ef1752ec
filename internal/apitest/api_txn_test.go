package apitest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// What is committed is seen, once; what is aborted is not. The requests are those of the transaction's version, and no more.
func TestCommitAndAbort(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, version int) {
		p := newAsync(t, c, txnConfig())
		requests := watchTxn(c)
		var want []string
		for i := range 4 {
			begin(t, p)
			msgs, values := values(fmt.Sprintf("txn %d message ", i), 8)
			send(p, msgs...)
			if i%2 == 0 {
				commit(t, p)
				want = append(want, values...)
			} else {
				abort(t, p)
			}
			if p.TxnStatus() != sarama.ProducerTxnFlagReady {
				t.Fatal(p.TxnStatus())
			}
		}
		wantCommitted(t, c, want...)
		seen := requests.take()
		wanted := map[int]string{1: "EndTxn v4", 2: "EndTxn v5"}[version]
		epochs := make(map[string]bool)
		for _, text := range seen {
			switch name, rest, _ := strings.Cut(text, " "); name {
			case "Produce":
				if (rest == "v12" || rest == "v13") != (version == 2) {
					t.Error(text)
				}
			case "EndTxn":
				if !strings.HasPrefix(text, wanted) {
					t.Error(text)
				}
				epochs[text[strings.LastIndex(text, "/"):]] = true
			case "AddPartitionsToTxn":
				if version == 2 || !strings.HasPrefix(rest, "v3") {
					t.Error(text)
				}
			default:
				t.Error(text)
			}
		}
		if n := map[int]int{1: 1, 2: 4}[version]; len(epochs) != n {
			t.Errorf("EndTxn under %d epochs, want %d: %q", len(epochs), n, seen)
		}
	})
}

// Version 1: each partition is added once in a transaction, and several in one request.
func TestPartitionsAreAddedOnce(t *testing.T) {
	c := newTopicCluster(t, 3, 4, kfake.MaxVersions(kversion.V3_9_0()))
	conf := txnConfig()
	conf.Producer.Flush.Frequency = 5 * time.Millisecond
	p := newAsync(t, c, conf)
	requests := watchTxn(c)
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	c.ControlKey(int16(kmsg.AddPartitionsToTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { <-held })
		return nil, nil, false
	})
	for range 2 {
		begin(t, p)
		for round := range 3 {
			msgs, _ := values(fmt.Sprint("round ", round, " "), 4)
			send(p, msgs...)
			if round == 0 {
				time.Sleep(30 * time.Millisecond) // while the first request is under way the other partitions gather
				release()
			}
			if err := p.Flush(impatient(t)); err != nil {
				t.Fatal(err)
			}
		}
		commit(t, p)
		var added []string
		for _, text := range requests.take("AddPartitionsToTxn") {
			_, list, _ := strings.Cut(text, "[")
			added = append(added, strings.Fields(strings.TrimSuffix(list, "]"))...)
		}
		slices.Sort(added)
		if !slices.Equal(added, []string{"0", "1", "2", "3"}) {
			t.Errorf("added %q", added)
		}
	}
}

// An empty transaction costs no request, whichever way it ends.
func TestEmptyTransaction(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		requests := watchTxn(c)
		begin(t, p)
		commit(t, p)
		begin(t, p)
		abort(t, p)
		begin(t, p)
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, 2<<20))})
		wantError(t, err, causes(sarama.ErrMessageSizeTooLarge))
		wantAbortable(t, p, p.CommitTxn())
		abort(t, p)
		if seen := requests.take(); len(seen) > 0 {
			t.Errorf("%q", seen)
		}
	})
}

func wantAbortable(t testing.TB, p *sluice.Producer, err error, causes ...error) {
	t.Helper()
	wantError(t, err, causes)
	if !sluice.IsTxnAbortable(err) || sluice.IsTxnFatal(err) {
		t.Errorf("not abortable: %v", err)
	}
	if status := p.TxnStatus(); status != sarama.ProducerTxnFlagInError|sarama.ProducerTxnFlagAbortableError {
		t.Error(status)
	}
}

func wantFatal(t testing.TB, p *sluice.Producer, err error, causes ...error) {
	t.Helper()
	wantError(t, err, causes)
	if sluice.IsTxnAbortable(err) || !sluice.IsTxnFatal(err) {
		t.Errorf("not fatal: %v", err)
	}
	if status := p.TxnStatus(); status != sarama.ProducerTxnFlagInError|sarama.ProducerTxnFlagFatalError {
		t.Error(status)
	}
}

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

// Commit waits for the outcome of every message, and does not need them to be read.
func TestCommitWaitsForOutcomes(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		conf := txnConfig()
		conf.Producer.Return.Successes = true
		conf.Producer.Flush.Frequency = time.Hour
		p := newAsync(t, c, conf)
		gate := holdProduce(t, c, nil)
		begin(t, p)
		msgs, want := values("m", 200)
		go send(p, msgs...)
		for n, _ := p.Buffered(); n < 200; n, _ = p.Buffered() {
			time.Sleep(time.Millisecond)
		}
		committed := make(chan error, 1)
		go func() { committed <- p.CommitTxn() }()
		receive(t, gate.arrived)
		if status := p.TxnStatus(); status != sarama.ProducerTxnFlagEndTransaction|sarama.ProducerTxnFlagCommittingTransaction {
			t.Error(status)
		}
		select {
		case err := <-committed:
			t.Fatalf("committed before the messages are: %v", err)
		default:
		}
		gate.open()
		if err := receive(t, committed); err != nil {
			t.Fatal(err)
		}
		wantCommitted(t, c, want...)
		successes(t, p, 200)
	})
}

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

// Offsets are committed with the transaction, each group at its own coordinator, on behalf of the member that read them.
func TestOffsetsInATransaction(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, version int) {
		p := newAsync(t, c, txnConfig())
		requests := watchTxn(c)
		read := func(partition int32, offset int64) *sarama.ConsumerMessage {
			return &sarama.ConsumerMessage{Topic: "t", Partition: partition, Offset: offset}
		}
		begin(t, p)
		for _, err := range []error{
			p.AddMessageToTxn(read(0, 4), "g", nil),
			p.AddMessageToTxn(read(1, 5), "g", nil),
			p.AddMessageToTxn(read(0, 6), "g", nil),
			p.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Partition: 2, Offset: 9}}}, "other"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		commit(t, p)
		wantError(t, p.AddMessageToTxn(read(0, 8), "g", nil), causes(sarama.ErrTransactionNotReady))
		begin(t, p)
		if err := p.AddMessageToTxn(read(0, 100), "g", nil); err != nil {
			t.Fatal(err)
		}
		abort(t, p)

		for group, want := range map[string]string{"g": "0:7 1:6", "other": "2:9"} {
			if got := committedOffsets(t, c, group); got != want {
				t.Errorf("group %q has %q, want %q", group, got, want)
			}
		}
		seen := requests.take("AddOffsetsToTxn", "TxnOffsetCommit")
		wantRequests := map[int][]string{
			1: {"AddOffsetsToTxn v4", "TxnOffsetCommit v4 /-1/g", "AddOffsetsToTxn v4", "TxnOffsetCommit v4 /-1/other"},
			2: {"TxnOffsetCommit v5 /-1/g", "TxnOffsetCommit v5 /-1/other"},
		}[version]
		if !slices.Equal(seen, wantRequests) {
			t.Errorf("%q, want %q", seen, wantRequests)
		}
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
		begin(t, p)
		msgs, want := values("again ", 4)
		send(p, msgs...)
		commit(t, p)
		wantCommitted(t, c, want...)
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

// Close aborts the transaction that is open.
func TestCloseAborts(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		for _, failed := range []bool{false, true} {
			p := newAsync(t, c, txnConfig())
			begin(t, p)
			msgs, _ := values("m", 8)
			send(p, msgs...)
			if failed {
				if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, 2<<20))}); err == nil {
					t.Error("a message of 2 MiB is delivered")
				}
				drainErrors(p)
			}
			requests := watchTxn(c)
			if err := p.Close(); err != nil && !failed {
				t.Error(err)
			}
			// Nobody needs another epoch, or the cluster's version.
			seen := requests.take("InitProducerID", "EndTxn")
			if len(seen) > 1 || len(seen) == 0 && !failed { // what failed at once may not have been sent at all
				t.Errorf("%q", seen)
			}
			for _, err := range []error{p.BeginTxn(), p.CommitTxn(), p.AbortTxn(), p.AddOffsetsToTxn(nil, "g")} {
				wantError(t, err, causes(sarama.ErrShuttingDown))
			}
		}
		wantCommitted(t, c)
	})
}

// CloseContext ends in time though no coordinator answers.
func TestCloseWithoutACoordinator(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		p := newAsync(t, c, txnConfig())
		begin(t, p)
		msgs, _ := values("m", 4)
		send(p, msgs...)
		if err := p.Flush(impatient(t)); err != nil {
			t.Fatal(err)
		}
		c.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			return nil, nil, true // and never an answer
		})
		if err := p.CloseContext(soonDone(t, 50*time.Millisecond)); err != nil {
			t.Error(err)
		}
	})
}

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
	begin(t, p)
	msgs, want := values("again ", 4)
	send(p, msgs...)
	commit(t, p)
	wantCommitted(t, c, want...)
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
