package apitest

import (
	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

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
