package mocks

import (
	"context"
	"sync"

	"github.com/IBM/sarama"
)

var _ sarama.AsyncProducer = (*AsyncProducer)(nil)

// AsyncProducer is a sarama.AsyncProducer that sends nothing. Each message it gets, by Input, InputBatch or Produce,
// uses up one expectation, in order: the partitioner gives it a partition, the expectation's checker looks at it, and
// it succeeds or fails as the expectation says. Offsets count from 1 over all topics. Interceptors are not called.
//
// The test fails, by a report to t, for a message without an expectation, a message that a checker or the partitioner
// refuses, a message outside a transaction if the mock is transactional, and at the close for expectations that no
// message came for. A message that was reported always has its error on Errors, or in Produce's callback; other
// outcomes go to Successes and Errors as Producer.Return says.
//
// Like the real producer, and other than sarama's mock, it gives every message exactly one outcome: one that a checker
// refused has no second one from its expectation, one without an expectation fails with [ErrOutOfExpectations] instead
// of vanishing, and one outside a transaction does not stop the mock. A checker that panics, or ends its goroutine with
// t.FailNow, fails its message. Outcomes that nobody reads never hold up the mock.
//
// All methods may be called concurrently. Make one with [NewAsyncProducer], and close it: its goroutines end then.
type AsyncProducer struct {
	*TopicConfig
	txn
	reporter

	returnSuccesses, returnErrors bool

	input     chan *sarama.ProducerMessage
	batches   chan []*sarama.ProducerMessage
	successes chan *sarama.ProducerMessage
	errors    chan *sarama.ProducerError

	// The intake goroutine alone receives from the inputs, control and progress, and closes settled and closed.
	control   chan func()
	progress  chan struct{}
	settled   chan struct{} // fates are decided; outcomes are handed over, or wait for a reader
	isSettled bool
	closed    chan struct{} // the outputs are closed, too

	partitioners partitioners // the worker's

	// Each box has a goroutine that hands over; they are written by whoever decides a fate.
	toSuccesses *outbox[*sarama.ProducerMessage]
	toErrors    *outbox[*sarama.ProducerError]
	toCallbacks *outbox[callback]

	// l guards what follows; changed tells of every change of it.
	l            sync.Mutex
	changed      *sync.Cond
	expectations []expectation
	queue        []*delivery // accepted, and not begun
	current      *delivery   // the worker's, or nil
	accepted     uint64
	decided      uint64
	bytes        int64
	shut         bool // nothing is accepted any more
	aborted      bool // callbacks are not waited for any more
	lastOffset   int64
}

// NewAsyncProducer starts a mock that reports to t, in general the test's *testing.T. Of config, nil for sarama's
// defaults, it uses Producer.Partitioner, Producer.Return, Producer.Transaction.ID and ChannelBufferSize, the capacity
// of its channels. An invalid config is reported, and the mock works on.
func NewAsyncProducer(t ErrorReporter, config *sarama.Config) *AsyncProducer {
	mp := &AsyncProducer{
		TopicConfig: NewTopicConfig(),
		reporter:    reporter{t: t},
		control:     make(chan func()),
		progress:    make(chan struct{}, 1),
		settled:     make(chan struct{}),
		closed:      make(chan struct{}),
	}
	config = usable(&mp.reporter, config)
	size := max(config.ChannelBufferSize, 0)
	mp.input = make(chan *sarama.ProducerMessage, size)
	mp.batches = make(chan []*sarama.ProducerMessage, size)
	mp.successes = make(chan *sarama.ProducerMessage, size)
	mp.errors = make(chan *sarama.ProducerError, size)
	mp.returnSuccesses, mp.returnErrors = config.Producer.Return.Successes, config.Producer.Return.Errors
	mp.partitioners = partitioners{make: config.Producer.Partitioner, byTopic: make(map[string]sarama.Partitioner)}
	mp.transactional = config.Producer.Transaction.ID != ""
	mp.status = sarama.ProducerTxnFlagReady
	mp.changed = sync.NewCond(&mp.l)

	mp.toSuccesses = toChannel(mp.successes, mp.progress)
	mp.toErrors = toChannel(mp.errors, mp.progress)
	mp.toCallbacks = newOutbox(mp.call, nil, func() {}, mp.progress)
	go mp.work()
	go mp.intake()
	return mp
}

// Input takes messages. It is never closed: one that is sent after the close began fails with sarama.ErrShuttingDown,
// and uses up no expectation. Once the errors of the messages before are read and callbacks have returned, a send
// blocks. Nil messages are ignored.
func (mp *AsyncProducer) Input() chan<- *sarama.ProducerMessage { return mp.input }

// InputBatch is Input for many messages; the slice is the mock's from then on.
func (mp *AsyncProducer) InputBatch() chan<- []*sarama.ProducerMessage { return mp.batches }

// Successes has the messages that succeeded, if Producer.Return.Successes is set.
func (mp *AsyncProducer) Successes() <-chan *sarama.ProducerMessage { return mp.successes }

// Errors has the messages that failed, if Producer.Return.Errors is set, and in any case those that were reported.
func (mp *AsyncProducer) Errors() <-chan *sarama.ProducerError { return mp.errors }

// Produce hands over one message whose outcome, that of the next expectation, goes to done. It never waits, because
// the mock's memory has no bound. After the close it returns sarama.ErrShuttingDown. A nil message is an error. A done
// that panics is reported.
func (mp *AsyncProducer) Produce(_ context.Context, msg *sarama.ProducerMessage, done func(*sarama.ProducerMessage, error)) error {
	if msg == nil {
		return errNilMessage
	}
	var ok bool
	mp.onIntake(func() { ok = mp.accept(msg, &callback{done: done}) })
	if !ok {
		return sarama.ErrShuttingDown
	}
	return nil
}

// Flush returns when the fate of every message that was accepted before the call is decided, or with an error that
// wraps the context's when ctx ends. A checker must not call it: it would wait for its own message.
func (mp *AsyncProducer) Flush(ctx context.Context) error {
	return mp.await(ctx, mp.fence())
}

// Buffered tells how many messages have no fate yet, and their size by sarama's ByteSize.
func (mp *AsyncProducer) Buffered() (messages int, bytes int64) {
	mp.fence()
	mp.l.Lock()
	defer mp.l.Unlock()
	return int(mp.accepted - mp.decided), mp.bytes
}

// AsyncClose begins the close: what was sent before has its outcome by its expectation, expectations that are left are
// reported, then Successes and Errors are closed, each when its outcomes are read. It may be called again.
func (mp *AsyncProducer) AsyncClose() {
	mp.onIntake(func() {
		mp.l.Lock()
		defer mp.l.Unlock()
		mp.shut = true
		mp.changed.Broadcast()
	})
}

// Close is AsyncClose, and waits until every message has its fate, every callback has returned, and expectations that
// are left are reported. As with sarama's mock it returns nil, and outcomes remain in Successes and Errors to be read;
// the real producer's Close drains them, for which see CloseContext. A test that leaves more of them unread than
// ChannelBufferSize leaves goroutines behind. Checkers and callbacks must not call it.
func (mp *AsyncProducer) Close() error {
	mp.AsyncClose()
	<-mp.settled
	return nil
}

// CloseContext closes as the real producer does: it drains Successes and Errors, and returns sarama.ProducerErrors if
// a message failed. When ctx ends, what is left fails with an error that wraps the context's cause, the message in a
// checker with one that also wraps sluice.ErrOutcomeUnknown; if none of these goes to Errors, such an error is returned
// itself.
func (mp *AsyncProducer) CloseContext(ctx context.Context) error {
	mp.AsyncClose()
	drained := make(chan sarama.ProducerErrors, 1)
	go func() {
		for range mp.successes {
		}
	}()
	go func() {
		var failed sarama.ProducerErrors
		for err := range mp.errors {
			failed = append(failed, err)
		}
		drained <- failed
	}()
	var cut error
	select {
	case failed := <-drained:
		drained <- failed
	case <-ctx.Done():
		err := ended("closing", ctx)
		if mp.abort(err) {
			cut = err
		}
	}
	if failed := <-drained; len(failed) > 0 {
		return failed
	}
	return cut
}

// BeginTxn opens a transaction for the messages that are sent from now on.
func (mp *AsyncProducer) BeginTxn() error {
	mp.onIntake(func() { mp.set(sarama.ProducerTxnFlagInTransaction) })
	return nil
}

// CommitTxn ends the transaction. Like the real one it waits until the messages that were sent before have their fate;
// a checker must not call it.
func (mp *AsyncProducer) CommitTxn() error {
	return mp.endTxn()
}

// AbortTxn ends the transaction as CommitTxn does; what becomes of messages is up to their expectations alone.
func (mp *AsyncProducer) AbortTxn() error {
	return mp.endTxn()
}

func (mp *AsyncProducer) endTxn() error {
	var fence uint64
	mp.onIntake(func() {
		fence = mp.count()
		mp.set(sarama.ProducerTxnFlagReady)
	})
	return mp.await(context.Background(), fence)
}
