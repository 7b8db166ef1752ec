package mocks_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

const (
	ready      = sarama.ProducerTxnFlagReady
	inTxn      = sarama.ProducerTxnFlagInTransaction
	committing = sarama.ProducerTxnFlagEndTransaction | sarama.ProducerTxnFlagCommittingTransaction
	aborting   = sarama.ProducerTxnFlagEndTransaction | sarama.ProducerTxnFlagAbortingTransaction
	abortable  = sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagAbortableError
	fatal      = sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagFatalError
)

// txnTest is a transactional mock whose reports are kept.
type txnTest struct {
	*testing.T
	*mocks.Producer
	reports
}

// Errorf is of the reports, not of the test.
func (x *txnTest) Errorf(format string, args ...any) { x.T.Errorf(format, args...) }

func newTxnTest(t *testing.T) *txnTest {
	x := &txnTest{T: t}
	x.Producer = mocks.New(&x.reports, transactional())
	t.Cleanup(func() { x.Producer.Close() })
	return x
}

// is checks what a call returned, and the status after it.
func (x *txnTest) is(call string, err, want error, status sarama.ProducerTxnStatusFlag) {
	x.Helper()
	if !errors.Is(err, want) {
		x.T.Errorf("%s: %v, want %v", call, err, want)
	}
	if got := x.TxnStatus(); got != status {
		x.T.Errorf("%s: status %v, want %v", call, got, status)
	}
	if is := (call == "CommitTxn" || call == "AddOffsetsToTxn") && status == abortable; sluice.IsTxnAbortable(err) != is {
		x.T.Errorf("%s: abortable %v, want %v: %v", call, !is, is, err)
	}
	if is := err != nil && status == fatal; sluice.IsTxnFatal(err) != is {
		x.T.Errorf("%s: fatal %v, want %v: %v", call, !is, is, err)
	}
}

func (x *txnTest) send() error {
	_, _, err := x.SendMessage(text("t", ""))
	return err
}

func (x *txnTest) add(offset int64) error {
	return x.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{"t": {{Partition: 1, Offset: offset}}}, "g")
}

func TestProducerWithoutTransactions(t *testing.T) {
	idempotent := transactional()
	idempotent.Producer.Transaction.ID = ""
	for _, line := range []struct {
		config *sarama.Config
		status sarama.ProducerTxnStatusFlag
	}{{nil, sarama.ProducerTxnFlagUninitialized}, {idempotent, ready}} {
		p := mocks.New(t, line.config)
		for i, err := range []error{
			p.BeginTxn(), p.CommitTxn(), p.AbortTxn(), p.CommitTxnContext(t.Context()), p.AbortTxnContext(t.Context()),
			p.AddOffsetsToTxn(nil, "g"), p.AddOffsetsToTxnWithGroupMetadata(nil, nil),
			p.AddMessageToTxn(&sarama.ConsumerMessage{}, "g", nil),
			p.AddMessageToTxnWithGroupMetadata(&sarama.ConsumerMessage{}, nil, nil), p.Transact(t.Context(), nil),
		} {
			if err != sarama.ErrNonTransactedProducer {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if p.IsTransactional() || p.TxnStatus() != line.status {
			t.Errorf("transactional %v, status %v", p.IsTransactional(), p.TxnStatus())
		}
		p.Close()
	}
}

// The order of calls is the real producer's.
func TestProducerTransactionStates(t *testing.T) {
	x := newTxnTest(t)
	x.is("CommitTxn", x.CommitTxn(), sarama.ErrTransitionNotAllowed, ready)
	x.is("AbortTxn", x.AbortTxn(), sarama.ErrTransitionNotAllowed, ready)
	x.is("AddOffsetsToTxn", x.add(1), sarama.ErrTransactionNotReady, ready)
	for _, end := range []func() error{x.CommitTxn, x.AbortTxn} {
		x.is("BeginTxn", x.BeginTxn(), nil, inTxn)
		x.is("BeginTxn", x.BeginTxn(), sarama.ErrTransitionNotAllowed, inTxn)
		x.is("AddOffsetsToTxn", x.add(1), nil, inTxn)
		x.ExpectAndSucceed()
		x.Input() <- text("t", "") // the end comes after it
		x.is("the end", end(), nil, ready)
		<-x.Successes()
	}
	x.BeginTxn()
	x.Close()
	for _, err := range []error{x.BeginTxn(), x.CommitTxn(), x.AbortTxn(), x.add(1)} {
		x.is("after Close", err, sarama.ErrShuttingDown, ready)
	}
	for i, want := range []mocks.Transaction{{Committed: true}, {Aborted: true}, {Aborted: true}} {
		if got := x.Transactions()[i]; got.Committed != want.Committed || got.Aborted != want.Aborted {
			t.Errorf("transaction %d: %+v", i, got)
		}
	}
	if len(x.text) > 0 {
		t.Errorf("reported %q", x.text)
	}
}

// A close aborts what is open, in whatever state.
func TestProducerCloseAborts(t *testing.T) {
	for name, line := range map[string]struct {
		reach   func(*txnTest)
		aborted bool
		status  sarama.ProducerTxnStatusFlag
	}{
		"in a transaction": {func(*txnTest) {}, true, ready},
		"abortable":        {func(x *txnTest) { x.send() }, true, ready},
		"committing":       {func(x *txnTest) { x.ExpectCommitTxnAndFail(context.Canceled).CommitTxn() }, true, ready},
		"aborting":         {func(x *txnTest) { x.ExpectAbortTxnAndFail(errNoPlace).AbortTxn() }, true, ready},
		"unknown":          {func(x *txnTest) { x.ExpectCommitTxnAndFail(sluice.ErrOutcomeUnknown).CommitTxn() }, false, ready},
		"fatal":            {func(x *txnTest) { x.ExpectCommitTxnAndFail(sarama.ErrProducerFenced).CommitTxn() }, false, fatal},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTxnTest(t)
			x.BeginTxn()
			line.reach(x)
			x.Close()
			if got := x.Transactions()[0]; got.Aborted != line.aborted || got.Committed || x.TxnStatus() != line.status {
				t.Errorf("%+v, status %v", got, x.TxnStatus())
			}
		})
	}
}

// A message outside a transaction fails, is reported, and uses up no expectation.
func TestProducerOutsideATransaction(t *testing.T) {
	x := newTxnTest(t)
	x.ExpectAndSucceed()
	x.is("send", x.send(), sarama.ErrTransactionNotReady, ready)
	if err := x.send(); err != mocks.ErrNotInTransaction {
		t.Error(err)
	}
	const report = "attempt to send message when transaction is not started or is in ending state."
	if !slices.Equal(x.text, []string{report, report}) {
		t.Errorf("reported %q", x.text)
	}
	x.BeginTxn()
	x.is("send", x.send(), nil, inTxn)
	x.is("CommitTxn", x.CommitTxn(), nil, ready)
}

// What fails of a transaction decides what remains of it.
func TestProducerFailedMessages(t *testing.T) {
	for _, line := range []struct {
		name   string
		expect func(*txnTest)
		send   func(*txnTest) error
		want   error
	}{
		{"by the expectation", func(x *txnTest) { x.ExpectAndFail(sarama.ErrInvalidMessage) }, (*txnTest).send, sarama.ErrInvalidMessage},
		{"by a check", func(x *txnTest) {
			x.ExpectAndSucceed(mocks.CheckValue(is("something else")))
		}, (*txnTest).send, errRefused},
		{"without an expectation", func(*txnTest) {}, (*txnTest).send, mocks.ErrOutOfExpectations},
		{"by its context", func(*txnTest) {}, func(x *txnTest) error {
			_, _, err := x.SendMessageContext(ended(), text("t", ""))
			return err
		}, errEnough},
	} {
		t.Run(line.name, func(t *testing.T) {
			x := newTxnTest(t)
			x.BeginTxn()
			line.expect(x)
			x.is("send", line.send(x), line.want, abortable)
			x.ExpectAndSucceed().ExpectAndFail(sarama.ErrOutOfBrokers)
			x.is("send", x.send(), nil, abortable) // as its expectation says
			x.is("send", x.send(), sarama.ErrOutOfBrokers, abortable)
			x.is("AddOffsetsToTxn", x.add(1), sarama.ErrTransactionNotReady, abortable)
			x.is("CommitTxn", x.CommitTxn(), line.want, abortable)
			x.is("CommitTxn", x.CommitTxn(), line.want, abortable)
			x.is("AbortTxn", x.AbortTxn(), nil, ready)
			x.is("BeginTxn", x.BeginTxn(), nil, inTxn)
			x.is("CommitTxn", x.CommitTxn(), nil, ready)
		})
	}
	t.Run("fatally", func(t *testing.T) {
		x := newTxnTest(t)
		x.BeginTxn()
		x.ExpectAndFail(sarama.ErrInvalidMessage).ExpectAndFail(sarama.ErrProducerFenced).ExpectAndSucceed()
		x.is("send", x.send(), sarama.ErrInvalidMessage, abortable)
		x.is("send", x.send(), sarama.ErrProducerFenced, fatal)
		x.is("send", x.send(), nil, fatal)
		x.is("CommitTxn", x.CommitTxn(), sarama.ErrProducerFenced, fatal)
		x.is("AbortTxn", x.AbortTxn(), sarama.ErrProducerFenced, fatal)
	})
}

// The error that CommitTxn or AbortTxn is expected to fail with decides what remains.
func TestProducerFailedEnds(t *testing.T) {
	unknown := errors.Join(sluice.ErrOutcomeUnknown, sarama.ErrRequestTimedOut)
	x := newTxnTest(t)
	x.ExpectCommitTxnAndFail(sarama.ErrIllegalGeneration).
		ExpectCommitTxnAndFail(unknown).ExpectCommitTxnAndFail(nil).
		ExpectCommitTxnAndFail(context.DeadlineExceeded).ExpectCommitTxnAndFail(nil).
		ExpectCommitTxnAndFail(unknown)
	x.BeginTxn()
	x.is("CommitTxn", x.CommitTxn(), sarama.ErrIllegalGeneration, abortable)
	x.is("AbortTxn", x.AbortTxn(), nil, ready)
	for _, want := range []error{unknown, context.DeadlineExceeded} {
		x.BeginTxn()
		x.is("CommitTxn", x.CommitTxn(), want, committing)
		x.is("AddOffsetsToTxn", x.add(1), sarama.ErrTransactionNotReady, committing)
		x.is("CommitTxn", x.CommitTxn(), nil, ready)
	}
	x.BeginTxn()
	x.is("CommitTxn", x.CommitTxn(), unknown, committing)
	x.is("AbortTxn", x.AbortTxn(), sluice.ErrOutcomeUnknown, ready)
	x.ExpectAbortTxnAndFail(sarama.ErrRequestTimedOut).ExpectAbortTxnAndFail(nil).ExpectAbortTxnAndFail(sarama.ErrProducerFenced)
	x.BeginTxn()
	x.is("AbortTxn", x.AbortTxn(), sarama.ErrRequestTimedOut, aborting)
	x.is("AbortTxn", x.AbortTxn(), nil, ready)
	x.BeginTxn()
	x.is("AbortTxn", x.AbortTxn(), sarama.ErrProducerFenced, fatal)
	x.is("BeginTxn", x.BeginTxn(), sarama.ErrTransitionNotAllowed, fatal)

	y := newTxnTest(t)
	y.ExpectCommitTxnAndFail(sarama.ErrTransactionalIDAuthorizationFailed).ExpectCommitTxnAndFail(nil).ExpectAbortTxnAndFail(nil)
	y.BeginTxn()
	y.is("CommitTxn", y.CommitTxn(), sarama.ErrTransactionalIDAuthorizationFailed, fatal)
	y.is("AbortTxn", y.AbortTxn(), sarama.ErrTransactionalIDAuthorizationFailed, fatal)
	y.Close()
	if want := "Expected to exhaust all expectations, but 2 are left."; !slices.Equal(y.text, []string{want}) {
		t.Errorf("reported %q", y.text)
	}
}

func TestProducerOffsets(t *testing.T) {
	x := newTxnTest(t)
	x.is("AddOffsetsToTxnWithGroupMetadata", x.BeginTxn(), nil, inTxn)
	for _, err := range []error{
		x.AddOffsetsToTxnWithGroupMetadata(nil, nil),
		x.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{"t": {nil}}, "g"),
	} {
		if _, ok := errors.AsType[sarama.ConfigurationError](err); !ok {
			t.Errorf("got %v", err)
		}
	}
	if err := x.AddMessageToTxn(nil, "g", nil); err == nil {
		t.Error("a nil message was added")
	}
	consumed := &sarama.ConsumerMessage{Topic: "t", Partition: 2, Offset: 40}
	group := sarama.NewConsumerGroupMetadata("g")
	group.MemberID, group.GenerationID = "member", 7
	err := errors.Join(x.add(5), x.add(6), x.AddMessageToTxn(consumed, "other", nil), x.AddMessageToTxnWithGroupMetadata(consumed, group, nil))
	if err != nil || x.CommittedOffset("g", "t", 1) != -1 {
		t.Errorf("%v, committed before the commit: %d", err, x.CommittedOffset("g", "t", 1))
	}
	group.MemberID = "changed later"
	x.is("CommitTxn", x.CommitTxn(), nil, ready)
	x.BeginTxn()
	x.is("AddOffsetsToTxn", x.add(7), nil, inTxn)
	x.is("AbortTxn", x.AbortTxn(), nil, ready)
	for _, line := range []struct {
		group     string
		partition int32
		want      int64
	}{{"g", 1, 6}, {"g", 2, 41}, {"other", 2, 41}, {"other", 1, -1}, {"third", 1, -1}} {
		if got := x.CommittedOffset(line.group, "t", line.partition); got != line.want {
			t.Errorf("group %s, partition %d: %d, want %d", line.group, line.partition, got, line.want)
		}
	}
	first := x.Transactions()[0]
	if last := first.Offsets[3]; len(first.Offsets) != 4 || last.Group.MemberID != "member" || last.Group.GenerationID != 7 {
		t.Errorf("the first transaction: %+v", first)
	}
}

func TestProducerTransact(t *testing.T) {
	consumed := &sarama.ConsumerMessage{Topic: "t", Offset: 4}
	process := func(tx sluice.Tx) error {
		return errors.Join(tx.AddMessage(consumed, sarama.NewConsumerGroupMetadata("g")), tx.AddOffsets(nil, sarama.NewConsumerGroupMetadata("g")),
			tx.Produce(t.Context(), text("t", ""), nil))
	}
	unknown := errors.Join(sluice.ErrOutcomeUnknown, sarama.ErrRequestTimedOut)
	x := newTxnTest(t)
	x.ExpectAndSucceed()
	x.is("Transact", x.Transact(t.Context(), process), nil, ready)
	if got := x.CommittedOffset("g", "t", 0); got != 5 {
		t.Errorf("offset %d", got)
	}
	x.is("Transact", x.Transact(ended(), process), errEnough, ready)
	x.is("Transact", x.Transact(t.Context(), func(sluice.Tx) error { return errNoPlace }), errNoPlace, ready)
	mine := sarama.ErrClusterAuthorizationFailed // of another client, say
	if err := x.Transact(t.Context(), func(sluice.Tx) error { return mine }); err != mine || x.TxnStatus() != ready {
		t.Errorf("Transact: %v, status %v", err, x.TxnStatus())
	}
	x.ExpectAndFail(sarama.ErrInvalidMessage)
	err := x.Transact(t.Context(), process)
	if !sluice.IsTxnAbortable(err) || !errors.Is(err, sarama.ErrInvalidMessage) || x.TxnStatus() != ready {
		t.Errorf("Transact: %v, status %v", err, x.TxnStatus())
	}
	x.ExpectAndFail(sluice.ErrOutcomeUnknown) // of a message, which is aborted
	err = x.Transact(t.Context(), func(sluice.Tx) error { return x.send() })
	if !sluice.IsTxnAbortable(err) || errors.Is(err, sluice.ErrOutcomeUnknown) || x.TxnStatus() != ready {
		t.Errorf("Transact: %v, status %v", err, x.TxnStatus())
	}
	x.ExpectAbortTxnAndFail(sarama.ErrRequestTimedOut)
	err = x.Transact(t.Context(), func(sluice.Tx) error { return errNoPlace })
	if !errors.Is(err, errNoPlace) || !errors.Is(err, sarama.ErrRequestTimedOut) || x.TxnStatus() != aborting {
		t.Errorf("Transact: %v, status %v", err, x.TxnStatus())
	}
	x.AbortTxn()
	x.BeginTxn()
	x.is("Transact", x.Transact(t.Context(), process), sarama.ErrTransitionNotAllowed, inTxn)
	x.AbortTxn()
	if !panics(func() { x.Transact(t.Context(), func(sluice.Tx) error { panic("so") }) }) || x.TxnStatus() != ready {
		t.Errorf("after a panic: %v", x.TxnStatus())
	}
	x.ExpectAndSucceed().ExpectCommitTxnAndFail(unknown)
	x.is("Transact", x.Transact(t.Context(), process), unknown, committing)
	x.CommitTxn()
	x.ExpectAndFail(sarama.ErrProducerFenced)
	x.is("Transact", x.Transact(t.Context(), process), sarama.ErrProducerFenced, fatal)
	if len(x.text) > 0 {
		t.Errorf("reported %q", x.text)
	}
}

// A commit whose context ends behind a busy check may be called again.
func TestProducerCommitContext(t *testing.T) {
	x := newTxnTest(t)
	entered, release := make(chan struct{}), make(chan struct{})
	x.BeginTxn()
	x.ExpectAndSucceed(func(*sarama.ProducerMessage) error {
		close(entered)
		<-release
		return nil
	})
	x.Input() <- text("t", "")
	<-entered
	for _, call := range []func(context.Context) error{x.CommitTxnContext, x.AbortTxnContext} {
		if err := call(ended()); !errors.Is(err, errEnough) {
			t.Errorf("got %v", err)
		}
	}
	close(release)
	x.is("CommitTxn", x.CommitTxnContext(t.Context()), nil, ready)
}

// Whatever calls race, each transaction ends once, and a message is inside of one or is reported.
func TestProducerTransactionsConcurrentSafe(t *testing.T) {
	const callers, each = 6, 50
	x := newTxnTest(t)
	for range callers * each {
		x.ExpectAndSucceed()
	}
	var wg sync.WaitGroup
	var sent atomic.Int32
	for range callers {
		wg.Go(func() {
			for i := range each {
				x.BeginTxn()
				if x.send() == nil {
					sent.Add(1)
				}
				x.add(int64(i))
				if i%2 == 0 {
					x.CommitTxn()
				} else {
					x.AbortTxn()
				}
				x.CommittedOffset("g", "t", 1)
			}
		})
	}
	wg.Wait()
	x.AbortTxn()
	for range callers*each - int(sent.Load()) { // the expectations that are left
		x.BeginTxn()
		if err := x.send(); err != nil {
			t.Error(err)
		}
	}
	x.CommitTxn()
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	for i, txn := range x.Transactions() {
		if txn.Committed == txn.Aborted {
			t.Errorf("transaction %d: %+v", i, txn)
		}
	}
	if reported := len(x.text); reported != callers*each-int(sent.Load()) {
		t.Errorf("%d messages succeeded, %d were reported", sent.Load(), reported)
	}
}
