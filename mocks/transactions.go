package mocks

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/txn"
)

const (
	ready        = sarama.ProducerTxnFlagReady
	inTxn        = sarama.ProducerTxnFlagInTransaction
	committing   = sarama.ProducerTxnFlagEndTransaction | sarama.ProducerTxnFlagCommittingTransaction
	aborting     = sarama.ProducerTxnFlagEndTransaction | sarama.ProducerTxnFlagAbortingTransaction
	txnAbortable = sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagAbortableError
	txnFatal     = sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagFatalError
)

// transactions is the transactional side of a mock, guarded by Producer.mu.
type transactions struct {
	status  sarama.ProducerTxnStatusFlag
	open    bool  // messages and offsets belong to the last of begun
	cause   error // of a status with ProducerTxnFlagInError
	unknown bool  // of the last of begun: it may be committed

	begun           []Transaction
	commits, aborts []error // what the next calls are expected to fail with
}

// IsTransactional tells whether the configuration has a Producer.Transaction.ID.
func (p *Producer) IsTransactional() bool { return p.transactional }

// TxnStatus is the mock's state, in sarama's flags.
func (p *Producer) TxnStatus() sarama.ProducerTxnStatusFlag {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.txns.status
}

// BeginTxn opens a transaction. Like all transactional methods it returns sarama.ErrNonTransactedProducer without a
// transactional id, and sarama.ErrShuttingDown once the close has begun.
func (p *Producer) BeginTxn() error {
	return p.txnCall(context.Background(), func(t *transactions) error {
		if t.status != ready {
			return t.notAllowed("BeginTxn")
		}
		t.status, t.open, t.unknown = inTxn, true, false
		t.begun = append(t.begun, Transaction{})
		return nil
	})
}

// CommitTxn commits, once all messages that were sent before have their outcome.
func (p *Producer) CommitTxn() error { return p.CommitTxnContext(context.Background()) }

// CommitTxnContext is CommitTxn. If ctx ends before these outcomes are there, it returns ctx's error, and may be called again.
func (p *Producer) CommitTxnContext(ctx context.Context) error {
	return p.txnCall(ctx, (*transactions).commit)
}

// AbortTxn aborts, once all messages that were sent before have their outcome, which is that of their expectations.
func (p *Producer) AbortTxn() error { return p.AbortTxnContext(context.Background()) }

// AbortTxnContext is AbortTxn with a context, see CommitTxnContext.
func (p *Producer) AbortTxnContext(ctx context.Context) error {
	return p.txnCall(ctx, (*transactions).abort)
}

// AddOffsetsToTxn adds offsets of a consumer group to the transaction.
func (p *Producer) AddOffsetsToTxn(offsets map[string][]*sarama.PartitionOffsetMetadata, groupID string) error {
	return p.AddOffsetsToTxnWithGroupMetadata(offsets, sarama.NewConsumerGroupMetadata(groupID))
}

// AddOffsetsToTxnWithGroupMetadata adds offsets on behalf of a member of the group.
func (p *Producer) AddOffsetsToTxnWithGroupMetadata(offsets map[string][]*sarama.PartitionOffsetMetadata, group *sarama.ConsumerGroupMetadata) error {
	if p.transactional {
		if group == nil {
			return fmt.Errorf("mocks: %w", sarama.ConfigurationError("offsets without the metadata of their consumer group"))
		}
		for _, list := range offsets {
			if slices.Contains(list, nil) {
				return fmt.Errorf("mocks: %w", sarama.ConfigurationError("a nil offset"))
			}
		}
	}
	return p.txnState(func(t *transactions) error {
		switch {
		case t.cause != nil:
			return fmt.Errorf("mocks: %w: %w", sarama.ErrTransactionNotReady, t.failure())
		case !t.open:
			return fmt.Errorf("mocks: offsets outside a transaction: %w", sarama.ErrTransactionNotReady)
		}
		last := &t.begun[len(t.begun)-1]
		last.Offsets = append(last.Offsets, TxnOffsets{*group, offsetsByPartition(offsets)})
		return nil
	})
}

// AddMessageToTxn adds the offset behind a consumed message to the transaction.
func (p *Producer) AddMessageToTxn(msg *sarama.ConsumerMessage, groupID string, metadata *string) error {
	return p.AddMessageToTxnWithGroupMetadata(msg, sarama.NewConsumerGroupMetadata(groupID), metadata)
}

// AddMessageToTxnWithGroupMetadata adds the offset behind a consumed message on behalf of a member of the group.
func (p *Producer) AddMessageToTxnWithGroupMetadata(msg *sarama.ConsumerMessage, group *sarama.ConsumerGroupMetadata, metadata *string) error {
	if msg == nil {
		return errNil
	}
	return p.AddOffsetsToTxnWithGroupMetadata(map[string][]*sarama.PartitionOffsetMetadata{
		msg.Topic: {{Partition: msg.Partition, Offset: msg.Offset + 1, LeaderEpoch: -1, Metadata: metadata}},
	}, group)
}

// Transact begins a transaction, calls fn and commits. It aborts if fn or the commit fails, but not if the outcome is unknown.
func (p *Producer) Transact(ctx context.Context, fn func(tx sluice.Tx) error) error {
	if p.transactional && ctx.Err() != nil {
		return fmt.Errorf("mocks: Transact: %w", flow.ContextError(ctx))
	}
	if err := p.BeginTxn(); err != nil {
		return err
	}
	returned := false
	defer func() {
		if !returned { // fn panicked, or ended its goroutine
			p.AbortTxn()
		}
	}()
	err := fn(tx{p})
	returned = true
	if err == nil {
		err = p.CommitTxnContext(ctx)
		if err == nil || errors.Is(err, sluice.ErrOutcomeUnknown) {
			return err
		}
	} else if p.TxnStatus() == txnAbortable {
		err = txn.NewError(err, false)
	}
	if p.TxnStatus() == txnFatal && sluice.IsTxnFatal(err) {
		return err
	}
	if abortErr := p.AbortTxn(); abortErr != nil {
		return errors.Join(err, abortErr)
	}
	return err
}

// tx is the Tx of a Producer.
type tx struct{ p *Producer }

func (t tx) Produce(ctx context.Context, msg *sarama.ProducerMessage, done func(*sarama.ProducerMessage, error)) error {
	return t.p.Produce(ctx, msg, done)
}

func (t tx) AddOffsets(offsets map[string][]*sarama.PartitionOffsetMetadata, group *sarama.ConsumerGroupMetadata) error {
	return t.p.AddOffsetsToTxnWithGroupMetadata(offsets, group)
}

func (t tx) AddMessage(msg *sarama.ConsumerMessage, group *sarama.ConsumerGroupMetadata) error {
	return t.p.AddMessageToTxnWithGroupMetadata(msg, group, nil)
}

// txnCall makes a call between the messages that were sent before and those that come after.
func (p *Producer) txnCall(ctx context.Context, call func(*transactions) error) error {
	if !p.transactional {
		return sarama.ErrNonTransactedProducer
	}
	select {
	case <-p.decided():
	case <-ctx.Done():
		return fmt.Errorf("mocks: waiting for messages: %w", flow.ContextError(ctx))
	}
	return p.txnState(call)
}

// txnState makes a call at once.
func (p *Producer) txnState(call func(*transactions) error) error {
	if !p.transactional {
		return sarama.ErrNonTransactedProducer
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return sarama.ErrShuttingDown
	}
	return call(&p.txns)
}

// txnOpen tells whether a message belongs to a transaction.
func (p *Producer) txnOpen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.txns.open
}

// abortForClose aborts what is open when the mock is closed.
func (p *Producer) abortForClose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch t := &p.txns; t.status {
	case inTxn, committing, aborting, txnAbortable:
		t.begun[len(t.begun)-1].Aborted = !t.unknown
		t.status, t.open = ready, false
	}
}

func (t *transactions) commit() error {
	t.open = false
	switch t.status {
	case inTxn, committing:
	case txnAbortable, txnFatal:
		return t.failure()
	default:
		return t.notAllowed("CommitTxn")
	}
	err := next(&t.commits)
	switch {
	case err == nil:
		t.status, t.unknown = ready, false
		t.begun[len(t.begun)-1].Committed = true
	case txn.IsFatal(err):
		t.fail(err)
		return t.failure()
	case errors.Is(err, sluice.ErrOutcomeUnknown):
		t.status, t.unknown = committing, true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		t.status = committing
	default:
		t.fail(err)
		return t.failure()
	}
	return err
}

func (t *transactions) abort() error {
	t.open = false
	switch t.status {
	case inTxn, committing, aborting, txnAbortable:
	case txnFatal:
		return t.failure()
	default:
		return t.notAllowed("AbortTxn")
	}
	if err := next(&t.aborts); err != nil {
		t.status = aborting
		if txn.IsFatal(err) {
			t.fail(err)
			return t.failure()
		}
		return err
	}
	t.status, t.cause = ready, nil
	if t.unknown {
		return fmt.Errorf("mocks: CommitTxn had no answer, and AbortTxn has given the transaction up: %w", sluice.ErrOutcomeUnknown)
	}
	t.begun[len(t.begun)-1].Aborted = true
	return nil
}

// messageFailed takes in that a message failed.
func (t *transactions) messageFailed(err error) {
	if t.open {
		t.fail(err)
	}
}

// fail keeps the first cause; a fatal one comes before an abortable one.
func (t *transactions) fail(err error) {
	switch {
	case t.status == txnFatal:
	case txn.IsFatal(err):
		t.status, t.cause = txnFatal, err
	case t.status != txnAbortable:
		t.status, t.cause = txnAbortable, err
	}
}

func (t *transactions) failure() error { return txn.NewError(t.cause, t.status == txnFatal) }

func (t *transactions) notAllowed(call string) error {
	if t.cause != nil {
		return fmt.Errorf("mocks: %s: %w: %w", call, sarama.ErrTransitionNotAllowed, t.cause)
	}
	return fmt.Errorf("mocks: %s: %w", call, sarama.ErrTransitionNotAllowed)
}

// next uses up what a call is expected to fail with.
func next(expected *[]error) (err error) {
	if len(*expected) > 0 {
		err, *expected = (*expected)[0], (*expected)[1:]
	}
	return err
}
