package mocks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/flow"
)

// Producer mocks *sluice.Producer: it has the same methods, and sends nothing. A program that is tested with it takes an
// interface of the methods that it uses, which both have.
//
// Each message uses up one expectation, in the order in which they were sent by whatever method (only between Input and
// InputBatch there is no order): the partitioner gives it a partition, the checks look at it, and it succeeds or fails
// as the expectation says. Offsets count from 1 over all topics. Interceptors are not called.
//
// The mock reports to t: a message without an expectation, a message that a check or the partitioner refuses, a message
// outside a transaction if the mock is transactional, and expectations that are left at the close. Such a message fails.
// Reports come one at a time.
//
// The transactional methods behave as the real producer's: the same order of calls, the same TxnStatus, and errors that
// sluice.IsTxnAbortable and sluice.IsTxnFatal know. A message that fails makes its transaction abortable, or ends the producer,
// by its error; those after it still have the outcome of their expectations. Otherwise CommitTxn and AbortTxn succeed, unless
// ExpectCommitTxnAndFail and ExpectAbortTxnAndFail say something else. A close aborts what is open. Transactions and
// CommittedOffset tell a test what became of them.
//
// All methods may be called concurrently, and the mock must be closed. Checks may set expectations, and must not call
// what waits for messages: SendMessage and the like, Flush, Close and the transactional methods.
//
// What differs from sarama's mocks is as in the real producer: a message has exactly one outcome, Producer.Return is
// always obeyed, SendMessages sends every message and returns sarama.ProducerErrors, and Close drains the channels.
type Producer struct {
	t               ErrorReporter
	returnSuccesses bool
	returnErrors    bool
	transactional   bool

	input     chan *sarama.ProducerMessage
	batches   chan []*sarama.ProducerMessage
	successes chan *sarama.ProducerMessage
	errors    chan *sarama.ProducerError

	// messages decides what becomes of each message: checks and partitioners run there, and it alone uses the three
	// fields below. The other lines hand the outcomes over, so that one that nobody takes holds up nothing else.
	messages, callbacks, toSuccesses, toErrors line

	newPartitioner sarama.PartitionerConstructor
	partitioners   map[string]sarama.Partitioner // by topic
	lastOffset     int64

	// The intake goroutine alone receives from the inputs and from these two.
	requests   chan func()
	handedOver chan struct{} // closed when every message that was accepted has its outcome
	inputsShut chan struct{} // closed when the intake goroutine ends
	closeOnce  sync.Once

	mu                sync.Mutex // guards what follows
	expectations      []expectation
	partitions        map[string]int32 // by topic
	defaultPartitions int32
	txns              transactions
	closing           bool
	undecided         int
	undecidedBytes    int64
	stats             sluice.RecordStats // of those that are decided
}

// New starts a mock that reports to t, as a rule the test's *testing.T. Of config, nil for sarama's defaults, it uses
// Producer.Partitioner, Producer.Return, Producer.Transaction.ID and ChannelBufferSize. An invalid config is reported,
// and sarama's defaults are used.
func New(t ErrorReporter, config *sarama.Config) *Producer {
	if config == nil {
		config = sarama.NewConfig()
	}
	if err := config.Validate(); err != nil {
		t.Errorf("Invalid mock configuration provided: %s", err.Error())
		config = sarama.NewConfig()
	}
	p := &Producer{
		t:                 t,
		returnSuccesses:   config.Producer.Return.Successes,
		returnErrors:      config.Producer.Return.Errors,
		transactional:     config.Producer.Transaction.ID != "",
		input:             make(chan *sarama.ProducerMessage, config.ChannelBufferSize),
		batches:           make(chan []*sarama.ProducerMessage, config.ChannelBufferSize),
		successes:         make(chan *sarama.ProducerMessage, config.ChannelBufferSize),
		errors:            make(chan *sarama.ProducerError, config.ChannelBufferSize),
		newPartitioner:    config.Producer.Partitioner,
		partitioners:      make(map[string]sarama.Partitioner),
		requests:          make(chan func()),
		handedOver:        make(chan struct{}),
		inputsShut:        make(chan struct{}),
		partitions:        make(map[string]int32),
		defaultPartitions: 32,
	}
	p.txns.status = ready
	if !config.Producer.Idempotent {
		p.txns.status = sarama.ProducerTxnFlagUninitialized
	}
	go p.intake()
	return p
}

// Input takes messages. Once the close has begun they fail with sarama.ErrShuttingDown; at its end the channel is
// closed, and a send panics. Nil messages are ignored.
func (p *Producer) Input() chan<- *sarama.ProducerMessage { return p.input }

// InputBatch is Input for many messages. The slice is the mock's from then on.
func (p *Producer) InputBatch() chan<- []*sarama.ProducerMessage { return p.batches }

// Successes has the messages of Input and InputBatch that succeeded, if Producer.Return.Successes is set.
func (p *Producer) Successes() <-chan *sarama.ProducerMessage { return p.successes }

// Errors has the messages of Input and InputBatch that failed, if Producer.Return.Errors is set.
func (p *Producer) Errors() <-chan *sarama.ProducerError { return p.errors }

// Produce takes one message and hands its outcome to done, which may be nil. Callbacks run one at a time, and may call
// everything but Close and CloseContext. Produce never waits. It returns an error for a nil message, and
// sarama.ErrShuttingDown once the close has begun.
func (p *Producer) Produce(_ context.Context, msg *sarama.ProducerMessage, done func(*sarama.ProducerMessage, error)) error {
	if msg == nil {
		return errNil
	}
	return p.acceptCall(msg, func(err error) {
		if done != nil {
			p.callbacks.add(func() { done(msg, err) })
		}
	})
}

// SendMessage sends a message and returns its outcome: its partition and offset, or -1, -1 and an error. Once the close
// has begun that is sarama.ErrShuttingDown.
func (p *Producer) SendMessage(msg *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	return p.SendMessageContext(context.Background(), msg)
}

// SendMessageContext is SendMessage; if ctx has ended already, the message fails with its error and uses up no
// expectation. A message that takes too long is one to expect with ExpectAndFail(context.DeadlineExceeded).
func (p *Producer) SendMessageContext(ctx context.Context, msg *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	err = p.SendMessagesContext(ctx, []*sarama.ProducerMessage{msg})
	if failed, ok := errors.AsType[sarama.ProducerErrors](err); ok {
		err = failed[0].Err
	}
	if err != nil {
		return -1, -1, err
	}
	return msg.Partition, msg.Offset, nil
}

// SendMessages is SendMessage for many messages. It returns sarama.ProducerErrors with those that failed. A nil message
// fails the call, and none is sent.
func (p *Producer) SendMessages(msgs []*sarama.ProducerMessage) error {
	return p.SendMessagesContext(context.Background(), msgs)
}

// SendMessagesContext is SendMessages with a context, see SendMessageContext.
func (p *Producer) SendMessagesContext(ctx context.Context, msgs []*sarama.ProducerMessage) error {
	for _, msg := range msgs {
		if msg == nil {
			return errNil
		}
	}
	errs := make([]error, len(msgs))
	var sent sync.WaitGroup
	for i, msg := range msgs {
		if ctx.Err() != nil {
			errs[i] = fmt.Errorf("mocks: sending: %w", flow.ContextError(ctx))
			p.mu.Lock()
			p.txns.messageFailed(errs[i])
			p.mu.Unlock()
			continue
		}
		sent.Add(1)
		outcome := func(err error) {
			errs[i] = err
			sent.Done()
		}
		if err := p.acceptCall(msg, outcome); err != nil {
			outcome(err)
		}
	}
	sent.Wait()
	var failed sarama.ProducerErrors
	for i, err := range errs {
		if err != nil {
			failed = append(failed, &sarama.ProducerError{Msg: msgs[i], Err: err})
		}
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}

var errNil = fmt.Errorf("mocks: %w", sarama.ConfigurationError("a nil message was sent"))

// Flush waits until it is decided what becomes of each message that was sent before, or until ctx ends, and then returns
// its error.
func (p *Producer) Flush(ctx context.Context) error {
	if ctx.Err() == nil {
		select {
		case <-p.decided():
			return nil
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("mocks: flushing: %w", flow.ContextError(ctx))
}

// Buffered tells how many messages were accepted and are not decided yet, and their size.
func (p *Producer) Buffered() (messages int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.undecided, p.undecidedBytes
}

// Stats counts messages: those that are buffered, acknowledged, and failed, by cause. Bytes are those of ByteSize. There are no brokers,
// topics or stages.
func (p *Producer) Stats() sluice.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := sluice.Stats{Records: p.stats}
	s.Records.FailedBy = maps.Clone(p.stats.FailedBy)
	s.Records.Buffered = sluice.Amount{Records: int64(p.undecided), Bytes: p.undecidedBytes}
	return s
}

// AsyncClose begins the close and returns. What was sent before has the outcome of its expectation. When all outcomes are
// handed over, the inputs are closed, and then Successes and Errors. A second call does nothing.
func (p *Producer) AsyncClose() {
	p.closeOnce.Do(func() {
		p.onIntake(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.closing = true
		})
		go p.shutdown()
	})
}

// Close closes the mock, drains Successes and Errors, and returns sarama.ProducerErrors with the failures that it took
// from Errors, if any. It may be called again.
func (p *Producer) Close() error { return p.CloseContext(context.Background()) }

// CloseContext is Close until ctx ends: then it returns ctx's error, and the close goes on.
func (p *Producer) CloseContext(ctx context.Context) error {
	p.AsyncClose()
	drained := make(chan sarama.ProducerErrors, 1)
	go func() {
		for range p.successes { //nolint:revive // drained, as the real producer does
		}
	}()
	go func() {
		var failed sarama.ProducerErrors
		for err := range p.errors {
			failed = append(failed, err)
		}
		drained <- failed
	}()
	select {
	case failed := <-drained:
		if len(failed) > 0 {
			return failed
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("mocks: closing: %w", flow.ContextError(ctx))
	}
}
