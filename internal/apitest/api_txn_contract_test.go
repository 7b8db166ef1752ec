package apitest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/IBM/sarama"

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
