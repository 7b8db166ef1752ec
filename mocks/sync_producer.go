package mocks

import (
	"context"
	"fmt"
	"sync"

	"github.com/IBM/sarama"
)

var _ sarama.SyncProducer = (*SyncProducer)(nil)

// SyncProducer is a sarama.SyncProducer that sends nothing. Each message uses up one expectation, in order: the
// partitioner gives it a partition, the expectation's checker looks at it, and it succeeds or fails as the expectation
// says. Offsets count from 1 over all topics. Interceptors are not called.
//
// The test fails, by a report to t, for a message without an expectation, a message that a checker or the partitioner
// refuses, a message outside a transaction if the mock is transactional (other than with sarama's mock also by
// SendMessages), and at the first close for expectations that no message came for. A checker that panics fails its
// message.
//
// All methods may be called concurrently; checkers run one at a time, those of SendMessage and SendMessages on the
// caller's goroutine, so that t.FailNow works in them. A checker must not send or close.
type SyncProducer struct {
	*TopicConfig
	txn
	reporter

	// turn holds one token; who took it runs the user's code and owns the partitioners.
	turn         chan struct{}
	partitioners partitioners

	// l guards what follows.
	l            sync.Mutex
	expectations []expectation
	lastOffset   int64
	shut         bool
}

// NewSyncProducer makes a mock that reports to t, in general the test's *testing.T. Of config, nil for sarama's
// defaults, it uses Producer.Partitioner and Producer.Transaction.ID. An invalid config is reported, and the mock works
// on. It has no goroutines.
func NewSyncProducer(t ErrorReporter, config *sarama.Config) *SyncProducer {
	sp := &SyncProducer{TopicConfig: NewTopicConfig(), reporter: reporter{t: t}, turn: make(chan struct{}, 1)}
	config = usable(&sp.reporter, config)
	sp.partitioners = partitioners{make: config.Producer.Partitioner, byTopic: make(map[string]sarama.Partitioner)}
	sp.transactional = config.Producer.Transaction.ID != ""
	sp.status = sarama.ProducerTxnFlagReady
	sp.turn <- struct{}{}
	return sp
}

// SendMessage returns the outcome that the next expectation says, with the message's partition and offset if it
// succeeds, else -1 and -1. After Close it returns sarama.ErrShuttingDown.
func (sp *SyncProducer) SendMessage(msg *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	if err := sp.SendMessages([]*sarama.ProducerMessage{msg}); err != nil {
		return -1, -1, err
	}
	return msg.Partition, msg.Offset, nil
}

// SendMessages uses up an expectation for each message. As with sarama's mock, the error is the first that a message
// failed with, itself, and with fewer expectations than messages none is used up. Other than with sarama's mock the
// messages behind a failed one have the outcomes of their expectations. See SendMessagesContext for every failure.
func (sp *SyncProducer) SendMessages(msgs []*sarama.ProducerMessage) error {
	<-sp.turn
	defer func() { sp.turn <- struct{}{} }()
	if err := sp.refuse(msgs); err != nil {
		return err
	}
	var first error
	for _, msg := range msgs {
		v := sp.judge(msg, sp.take())
		sp.tell(v)
		if first == nil {
			first = v.err
		}
	}
	return first
}

// Close reports the expectations that are left, when it is first called. It waits for messages that are being sent.
func (sp *SyncProducer) Close() error {
	return sp.CloseContext(context.Background())
}

// CloseContext is Close with a bound: when ctx ends while a checker is busy, it returns an error that wraps the
// context's cause, and the mock is closed.
func (sp *SyncProducer) CloseContext(ctx context.Context) (err error) {
	if err = sp.takeTurn(ctx, "closing"); err == nil {
		defer func() { sp.turn <- struct{}{} }()
	}
	sp.l.Lock()
	first, left := !sp.shut, len(sp.expectations)
	sp.shut = true
	sp.l.Unlock()
	if first {
		sp.unmet(left)
	}
	return err
}

// BeginTxn opens a transaction.
func (sp *SyncProducer) BeginTxn() error {
	sp.set(sarama.ProducerTxnFlagInTransaction)
	return nil
}

// CommitTxn ends the transaction.
func (sp *SyncProducer) CommitTxn() error {
	sp.set(sarama.ProducerTxnFlagReady)
	return nil
}

// AbortTxn ends the transaction.
func (sp *SyncProducer) AbortTxn() error {
	sp.set(sarama.ProducerTxnFlagReady)
	return nil
}

// takeTurn prefers the turn to a context that has ended.
func (sp *SyncProducer) takeTurn(ctx context.Context, what string) error {
	select {
	case <-sp.turn:
		return nil
	default:
	}
	select {
	case <-sp.turn:
		return nil
	case <-ctx.Done():
		return ended(what, ctx)
	}
}

// refuse tells why none of the messages can be judged. The caller has the turn.
func (sp *SyncProducer) refuse(msgs []*sarama.ProducerMessage) error {
	for i, msg := range msgs {
		if msg == nil {
			return fmt.Errorf("%w (number %d of %d)", errNilMessage, i+1, len(msgs))
		}
	}
	sp.l.Lock()
	shut, left := sp.shut, len(sp.expectations)
	sp.l.Unlock()
	switch {
	case shut:
		return sarama.ErrShuttingDown
	case sp.mayNotSend():
		sp.errorf("mock producer got %d messages outside a transaction", len(msgs))
		return ErrNotInTransaction
	case left < len(msgs):
		sp.errorf("mock producer got %d messages, and has %d expectations left", len(msgs), left)
		return ErrOutOfExpectations
	}
	return nil
}

// take uses up an expectation; refuse has seen that it is there.
func (sp *SyncProducer) take() expectation {
	sp.l.Lock()
	defer sp.l.Unlock()
	exp := sp.expectations[0]
	sp.expectations = sp.expectations[1:]
	return exp
}

// judge finds a message's outcome, and writes its partition, and its offset if it succeeds. The caller has the turn.
func (sp *SyncProducer) judge(msg *sarama.ProducerMessage, exp expectation) verdict {
	partition, err := sp.partitioners.partition(msg, sp.partitions(msg.Topic))
	if err != nil {
		return unexpected(err, "partitioner refused a message to topic %q: %v", msg.Topic, err)
	}
	msg.Partition = partition
	if exp.check != nil {
		if err := protect("checker", func() error { return exp.check(msg) }); err != nil {
			return unexpected(err, "checker refused a message to topic %q: %v", msg.Topic, err)
		}
	}
	if exp.result != nil {
		return verdict{err: exp.result}
	}
	sp.l.Lock()
	defer sp.l.Unlock()
	sp.lastOffset++
	msg.Offset = sp.lastOffset
	return verdict{}
}
