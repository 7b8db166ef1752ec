package apitest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// What a user of sarama's transactional interface relies on: each call in each state, run against sarama and against both
// doors to this package.

// errPanics stands for a call that panics.
var errPanics = errors.New("it panics")

const (
	uninitialized = sarama.ProducerTxnFlagUninitialized
	ready         = sarama.ProducerTxnFlagReady
	inTransaction = sarama.ProducerTxnFlagInTransaction
	committing    = sarama.ProducerTxnFlagEndTransaction | sarama.ProducerTxnFlagCommittingTransaction
	abortable     = sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagAbortableError
	fatal         = sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagFatalError
)

// outcome is what a call returns, and the status after it.
type outcome struct {
	err    error
	status sarama.ProducerTxnStatusFlag
}

// expected is the outcome of a call. If sarama's is another one, differs says what ours is better for.
type expected struct {
	outcome
	differs string
	sarama  outcome
}

func same(err error, status sarama.ProducerTxnStatusFlag) expected {
	return expected{outcome: outcome{err, status}}
}

// but names a difference: what sarama does.
func (e expected) but(err error, status sarama.ProducerTxnStatusFlag, differs string) expected {
	e.differs, e.sarama = differs, outcome{err, status}
	return e
}

// of is the outcome at a door.
func (e expected) of(d door) outcome {
	if e.differs != "" && d.name == saramasOwn.name {
		return e.sarama
	}
	return e.outcome
}

// txnCalls are the calls of the table, by the columns that they belong to.
var txnCalls = []struct {
	name, column string
	async        bool // of an AsyncProducer alone, as are those that add: once is enough for them
	sync         bool // of a SyncProducer alone
	own          bool // of New's alone
	call         func(*txnTest) error
}{
	{name: "BeginTxn", column: "begin", call: func(x *txnTest) error { return x.p.BeginTxn() }},
	{name: "CommitTxn", column: "commit", call: func(x *txnTest) error { return x.p.CommitTxn() }},
	{name: "AbortTxn", column: "abort", call: func(x *txnTest) error { return x.p.AbortTxn() }},
	{name: "AddOffsetsToTxn", column: "add", call: func(x *txnTest) error { return x.p.AddOffsetsToTxn(offsets(5), "g") }},
	{name: "AddOffsetsToTxnWithGroupMetadata", column: "add", call: func(x *txnTest) error {
		return x.p.AddOffsetsToTxnWithGroupMetadata(offsets(5), sarama.NewConsumerGroupMetadata("g"))
	}},
	{name: "AddMessageToTxn", column: "add", call: func(x *txnTest) error {
		return x.p.AddMessageToTxn(&sarama.ConsumerMessage{Topic: "t", Offset: 4}, "g", nil)
	}},
	{name: "AddMessageToTxnWithGroupMetadata", column: "add", call: func(x *txnTest) error {
		return x.p.AddMessageToTxnWithGroupMetadata(&sarama.ConsumerMessage{Topic: "t", Offset: 4}, sarama.NewConsumerGroupMetadata("g"), nil)
	}},
	{name: "Input", column: "send", async: true, call: func(x *txnTest) error { return x.send(message(0, 0)) }},
	{name: "SendMessage", column: "send", sync: true, call: func(x *txnTest) error { return x.send(message(0, 0)) }},
	{name: "SendMessages", column: "send", sync: true, call: func(x *txnTest) error {
		err := x.sync.SendMessages(messages(1, 1))
		if several, ok := err.(sarama.ProducerErrors); ok && len(several) == 1 {
			return several[0].Err
		}
		return err
	}},
	{name: "InputBatch", column: "send", async: true, own: true, call: func(x *txnTest) error {
		x.own().InputBatch() <- messages(1, 1)
		return x.outcome()
	}},
	{name: "Produce", column: "send", sync: true, own: true, call: func(x *txnTest) error {
		done := make(chan error, 1)
		if err := x.own().Produce(x.Context(), message(0, 0), func(_ *sarama.ProducerMessage, err error) { done <- err }); err != nil {
			return err
		}
		return receive(x, done)
	}},
	{name: "SendMessageContext", column: "send", sync: true, own: true, call: func(x *txnTest) error {
		_, _, err := x.own().SendMessageContext(x.Context(), message(0, 0))
		return err
	}},
}

// txnState is a row of the table.
type txnState struct {
	name                            string
	config                          func(*sarama.Config)
	reach                           func(*txnTest)
	status                          sarama.ProducerTxnStatusFlag
	begin, commit, abort, add, send expected
}

func (s txnState) column(name string) expected {
	return map[string]expected{"begin": s.begin, "commit": s.commit, "abort": s.abort, "add": s.add, "send": s.send}[name]
}

// What sarama does otherwise, and users gain from.
const (
	abortOfACommit = "sarama asks for an abort of what may be committed: if it is, the producer is lost, and if not, nothing says " +
		"that it might have been"
	strayMessage = "with sarama a message sent outside of a transaction takes the unanswered commit to an abortable error: " +
		"it can't be repeated"
	closed = "sarama opens transactions after Close, and panics at their end"
)

func begun(x *txnTest) { x.must(x.p.BeginTxn()) }

// txnStates is the table.
var txnStates = []txnState{
	{
		name: "neither transactional nor idempotent",
		config: func(conf *sarama.Config) {
			conf.Producer.Transaction.ID, conf.Producer.Idempotent = "", false
		},
		reach:  func(*txnTest) {},
		status: uninitialized,
		begin:  same(sarama.ErrNonTransactedProducer, uninitialized),
		commit: same(sarama.ErrNonTransactedProducer, uninitialized),
		abort:  same(sarama.ErrNonTransactedProducer, uninitialized),
		add:    same(sarama.ErrNonTransactedProducer, uninitialized),
		send:   same(nil, uninitialized),
	},
	{
		name:   "not transactional",
		config: func(conf *sarama.Config) { conf.Producer.Transaction.ID = "" },
		reach:  func(*txnTest) {},
		status: ready,
		begin:  same(sarama.ErrNonTransactedProducer, ready),
		commit: same(sarama.ErrNonTransactedProducer, ready),
		abort:  same(sarama.ErrNonTransactedProducer, ready),
		add:    same(sarama.ErrNonTransactedProducer, ready),
		send:   same(nil, ready),
	},
	{
		name:   "ready",
		reach:  func(*txnTest) {},
		status: ready,
		begin:  same(nil, inTransaction),
		commit: same(sarama.ErrTransitionNotAllowed, ready),
		abort:  same(sarama.ErrTransitionNotAllowed, ready),
		add:    same(sarama.ErrTransactionNotReady, ready),
		send:   same(sarama.ErrTransactionNotReady, ready),
	},
	{
		name:   "in an empty transaction",
		reach:  begun,
		status: inTransaction,
		begin:  same(sarama.ErrTransitionNotAllowed, inTransaction),
		commit: same(nil, ready),
		abort:  same(nil, ready),
		add:    same(nil, inTransaction),
		send:   same(nil, inTransaction),
	},
	{
		name: "in a transaction with messages",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.send(message(0, 0)))
		},
		status: inTransaction,
		begin:  same(sarama.ErrTransitionNotAllowed, inTransaction),
		commit: same(nil, ready),
		abort:  same(nil, ready),
		add:    same(nil, inTransaction),
		send:   same(nil, inTransaction),
	},
	{
		name: "in a transaction with offsets only",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.p.AddOffsetsToTxn(offsets(3), "g"))
		},
		status: inTransaction,
		begin:  same(sarama.ErrTransitionNotAllowed, inTransaction),
		commit: same(nil, ready),
		abort:  same(nil, ready),
		add:    same(nil, inTransaction),
		send:   same(nil, inTransaction),
	},
	{
		name: "after a commit whose offsets found no coordinator",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.p.AddOffsetsToTxn(offsets(3), "g"))
			fault := x.fail(kerr.CoordinatorLoadInProgress, -1, kmsg.TxnOffsetCommit)
			x.commitInVain(kmsg.TxnOffsetCommit)
			fault.Remove()
		},
		status: committing,
		begin:  same(sarama.ErrTransitionNotAllowed, committing),
		commit: same(nil, ready),
		abort:  same(nil, ready),
		add:    same(sarama.ErrTransactionNotReady, committing),
		send:   same(sarama.ErrTransactionNotReady, committing).but(sarama.ErrTransactionNotReady, abortable, strayMessage),
	},
	{
		name: "after a commit that found no coordinator",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.send(message(0, 0)))
			fault := x.fail(kerr.CoordinatorLoadInProgress, -1, kmsg.EndTxn)
			x.commitInVain(kmsg.EndTxn)
			fault.Remove()
		},
		status: committing,
		begin:  same(sarama.ErrTransitionNotAllowed, committing),
		commit: same(nil, ready),
		abort:  same(sluice.ErrOutcomeUnknown, ready).but(nil, ready, abortOfACommit),
		add:    same(sarama.ErrTransactionNotReady, committing),
		send:   same(sarama.ErrTransactionNotReady, committing).but(sarama.ErrTransactionNotReady, abortable, strayMessage),
	},
	{
		name: "after a commit whose answer was lost",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.send(message(0, 0)))
			x.shim.LoseNext(kmsg.EndTxn, 1000)
			x.commitInVain(kmsg.EndTxn)
			x.shim.LoseNoMore(kmsg.EndTxn)
		},
		status: committing,
		begin:  same(sarama.ErrTransitionNotAllowed, committing),
		commit: same(nil, ready),
		abort:  same(sluice.ErrOutcomeUnknown, ready).but(sarama.ErrInvalidTxnState, fatal, abortOfACommit),
		add:    same(sarama.ErrTransactionNotReady, committing),
		send:   same(sarama.ErrTransactionNotReady, committing).but(sarama.ErrTransactionNotReady, abortable, strayMessage),
	},
	{
		name: "a message was too large",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.send(message(0, 0)))
			x.mustFail(x.send(tooLarge()))
		},
		status: abortable,
		begin:  same(sarama.ErrTransitionNotAllowed, abortable),
		commit: same(errTooLarge, abortable),
		abort:  same(nil, ready),
		add:    same(sarama.ErrTransactionNotReady, abortable),
		send:   same(sarama.ErrTransactionNotReady, abortable),
	},
	{
		name: "a partition was refused",
		reach: func(x *txnTest) {
			begun(x)
			x.fail(kerr.TopicAuthorizationFailed, 1, kmsg.AddPartitionsToTxn, kmsg.Produce)
			x.mustFail(x.send(message(0, 0)))
		},
		status: abortable,
		begin:  same(sarama.ErrTransitionNotAllowed, abortable),
		commit: same(sarama.ErrTopicAuthorizationFailed, abortable),
		abort:  same(nil, ready),
		add:    same(sarama.ErrTransactionNotReady, abortable),
		send:   same(sarama.ErrTransactionNotReady, abortable),
	},
	{
		name: "a batch failed",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.send(message(0, 0)))
			x.fail(kerr.InvalidRecord, 1, kmsg.Produce)
			x.mustFail(x.send(message(0, 0)))
		},
		status: abortable,
		begin:  same(sarama.ErrTransitionNotAllowed, abortable),
		commit: same(sarama.KError(kerr.InvalidRecord.Code), abortable),
		abort:  same(nil, ready),
		add:    same(sarama.ErrTransactionNotReady, abortable),
		send:   same(sarama.ErrTransactionNotReady, abortable),
	},
	{
		name: "offsets were refused",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.p.AddOffsetsToTxn(offsets(3), "g"))
			x.fail(kerr.IllegalGeneration, 1, kmsg.TxnOffsetCommit)
			x.mustFail(x.p.CommitTxn())
		},
		status: abortable,
		begin:  same(sarama.ErrTransitionNotAllowed, abortable),
		commit: same(sarama.ErrIllegalGeneration, abortable),
		abort:  same(nil, ready),
		add:    same(sarama.ErrTransactionNotReady, abortable),
		send:   same(sarama.ErrTransactionNotReady, abortable),
	},
	{
		name: "fenced",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.send(message(0, 0)))
			x.takeOver()
			x.mustFail(x.p.CommitTxn())
		},
		status: fatal,
		begin:  same(sarama.ErrTransitionNotAllowed, fatal),
		commit: same(sarama.ErrProducerFenced, fatal),
		abort:  same(sarama.ErrProducerFenced, fatal),
		add:    same(sarama.ErrTransactionNotReady, fatal),
		send:   same(sarama.ErrTransactionNotReady, fatal),
	},
	{
		name: "not allowed to commit",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.send(message(0, 0)))
			x.fail(kerr.TransactionalIDAuthorizationFailed, 1, kmsg.EndTxn)
			x.mustFail(x.p.CommitTxn())
		},
		status: fatal,
		begin:  same(sarama.ErrTransitionNotAllowed, fatal),
		commit: same(sarama.ErrTransactionalIDAuthorizationFailed, fatal),
		abort:  same(sarama.ErrTransactionalIDAuthorizationFailed, fatal),
		add:    same(sarama.ErrTransactionNotReady, fatal),
		send:   same(sarama.ErrTransactionNotReady, fatal),
	},
	{
		name: "after an abort",
		reach: func(x *txnTest) {
			begun(x)
			x.must(x.send(message(0, 0)))
			x.must(x.p.AbortTxn())
		},
		status: ready,
		begin:  same(nil, inTransaction),
		commit: same(sarama.ErrTransitionNotAllowed, ready),
		abort:  same(sarama.ErrTransitionNotAllowed, ready),
		add:    same(sarama.ErrTransactionNotReady, ready),
		send:   same(sarama.ErrTransactionNotReady, ready),
	},
	{
		name:   "closed",
		reach:  (*txnTest).close,
		status: ready,
		begin:  same(sarama.ErrShuttingDown, ready).but(nil, inTransaction, closed),
		commit: same(sarama.ErrShuttingDown, ready).but(errPanics, ready, closed),
		abort:  same(sarama.ErrShuttingDown, ready).but(errPanics, ready, closed),
		add:    same(sarama.ErrShuttingDown, ready).but(sarama.ErrTransactionNotReady, ready, closed),
		send:   same(sarama.ErrShuttingDown, ready).but(errPanics, ready, closed),
	},
}

func TestTxnContract(t *testing.T) {
	for _, version := range txnVersions {
		for _, state := range txnStates {
			for _, call := range txnCalls {
				for _, d := range []door{saramasOwn, saramaDoor, ownDoor} {
					for _, async := range []bool{true, false} {
						if async && call.sync || !async && (call.async || call.column == "add") || call.own && d.name != ownDoor.name {
							continue
						}
						if input := call.async; state.name == "closed" && (input || call.name == "SendMessages" && d.name == saramasOwn.name) {
							continue // a send to a closed channel; sarama's SendMessages panics so on a goroutine of its own
						}
						name := fmt.Sprintf("%s/%s/%s/%s, async %v", version.name, state.name, call.name, d.name, async)
						t.Run(name, func(t *testing.T) {
							conf := txnContractConfig()
							if state.config != nil {
								state.config(conf)
							}
							x := newTxnTest(t, d, async, conf, version.opts...)
							state.reach(x)
							if got := x.p.TxnStatus(); got != state.status {
								t.Fatalf("status %v, want %v", got, state.status)
							}
							if got, want := x.p.IsTransactional(), conf.Producer.Transaction.ID != ""; got != want {
								t.Errorf("transactional %v", got)
							}
							want := state.column(call.column).of(d)
							err := recovered(x, call.call)
							x.is(call.name, err, want.err)
							if !d.bare {
								tellsWhatRemains(t, call.column, err, want.status)
							}
							if got := x.p.TxnStatus(); got != want.status {
								t.Errorf("status %v after it, want %v", got, want.status)
							}
						})
					}
				}
			}
		}
	}
}

// tellsWhatRemains checks that an error of New says what to do.
func tellsWhatRemains(t *testing.T, column string, err error, status sarama.ProducerTxnStatusFlag) {
	t.Helper()
	if column == "begin" || column == "send" {
		return
	}
	if got, want := sluice.IsTxnAbortable(err), status == abortable; got != want {
		t.Errorf("abortable %v, want %v: %v", got, want, err)
	}
	if got, want := sluice.IsTxnFatal(err), status == fatal; got != want {
		t.Errorf("fatal %v, want %v: %v", got, want, err)
	}
}

// recovered turns a panic into errPanics.
func recovered(x *txnTest, call func(*txnTest) error) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanics
		}
	}()
	return call(x)
}
