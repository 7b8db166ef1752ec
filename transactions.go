package sluice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// IsTransactional tells whether the configuration has a Producer.Transaction.ID. Without one the other transactional methods
// return sarama.ErrNonTransactedProducer.
func (p *Producer) IsTransactional() bool { return p.txns != nil }

// TxnStatus is the producer's state, in sarama's flags. It never waits.
//
//   - sarama.ProducerTxnFlagReady: no transaction is open.
//   - ProducerTxnFlagInTransaction: between BeginTxn and CommitTxn or AbortTxn.
//   - ProducerTxnFlagInError with ProducerTxnFlagAbortableError: something of the transaction has failed. Call AbortTxn.
//   - ProducerTxnFlagInError with ProducerTxnFlagFatalError: close the producer, and make another one.
//   - ProducerTxnFlagEndTransaction with ProducerTxnFlagCommittingTransaction or ProducerTxnFlagAbortingTransaction: CommitTxn
//     or AbortTxn runs, or has ended without a definite answer. Call it again.
//   - ProducerTxnFlagInitializing: no transaction is open, and BeginTxn will ask for another epoch first.
//
// Without a transactional id it is ProducerTxnFlagReady with Producer.Idempotent, else ProducerTxnFlagUninitialized.
func (p *Producer) TxnStatus() sarama.ProducerTxnStatusFlag {
	switch {
	case p.txns != nil:
		return p.txns.Status()
	case p.identities != nil:
		return sarama.ProducerTxnFlagReady
	}
	return sarama.ProducerTxnFlagUninitialized
}

// BeginTxn opens a transaction. A producer has one at a time: while the last one has not ended it returns an error that wraps
// sarama.ErrTransitionNotAllowed. It costs no request, but for InitProducerId after the cluster's transaction.version has changed,
// or after an AbortTxn that could not get another epoch. That may take Producer.Transaction.Timeout; if it fails, no transaction is
// open: call BeginTxn again, unless the error is IsTxnFatal.
//
// A message belongs to the transaction if its send began after BeginTxn returned, and ended before CommitTxn or AbortTxn was
// called. A send that overlaps with one of these calls belongs to it, or fails. Outside a transaction messages fail with
// sarama.ErrTransactionNotReady, also those that still wait in Input when BeginTxn is called.
//
// A message fails the transaction also if only its send returned the error, such as ErrBufferFull, or because its context ended.
// CommitTxn then returns that cause.
//
// BeginTxn, CommitTxn, AbortTxn and the methods that add offsets wait for each other.
func (p *Producer) BeginTxn() error {
	if p.txns == nil {
		return sarama.ErrNonTransactedProducer
	}
	return p.shared.UserError(p.txns.Begin(context.Background()))
}

// CommitTxn is CommitTxnContext without a context.
func (p *Producer) CommitTxn() error { return p.CommitTxnContext(context.Background()) }

// CommitTxnContext waits for the outcome of every message of the transaction, without linger, commits the offsets, and then the
// transaction. Like Flush it does not wait until outcomes are read. From the call on messages fail with
// sarama.ErrTransactionNotReady until the next BeginTxn, also if the call returns an error.
//
// The messages have the delivery timeout. Then each request is tried for Producer.Transaction.Timeout; with sarama's constructors
// Producer.Transaction.Retry.Max retries at most. ctx ends all of it.
//
// It returns nil if the transaction is committed. Otherwise ask in this order:
//
//   - IsTxnFatal: close the producer. The transaction is not committed, unless the error also wraps ErrOutcomeUnknown.
//   - ErrOutcomeUnknown: there was no definite answer. Call it again: it repeats the request. Or call AbortTxn, and treat the
//     transaction as one that may be committed.
//   - IsTxnAbortable: something of the transaction has failed, as the cause says. It is not committed. Call AbortTxn.
//   - sarama.ErrTransitionNotAllowed: no transaction is open, or AbortTxn has begun to end it.
//   - sarama.ErrShuttingDown: the producer is closed. sarama.ErrNonTransactedProducer: it has no transactional id.
//   - any other: nothing was committed yet. Call it again, or AbortTxn.
//
// With sarama's constructors the error is the bare cause: TxnStatus tells what to do.
func (p *Producer) CommitTxnContext(ctx context.Context) error {
	if p.txns == nil {
		return sarama.ErrNonTransactedProducer
	}
	return p.shared.UserError(p.commit(ctx))
}

// commit sends what Appenders have open, too.
func (p *Producer) commit(ctx context.Context) error {
	p.appenders.each((*Appender).sealAll)
	return p.txns.Commit(ctx)
}

// AbortTxn is AbortTxnContext without a context.
func (p *Producer) AbortTxn() error { return p.AbortTxnContext(context.Background()) }

// AbortTxnContext ends the transaction so that readers with sarama.ReadCommitted see nothing of it. As in sarama, it first waits
// for the outcome of every message, which takes the delivery timeout at most; if the transaction has failed, those that are not
// being sent fail at once. Then each request has the time and the tries that CommitTxnContext says.
//
// It returns nil if the transaction is aborted. The next one may begin, under another epoch if a message has failed (KIP-360).
// Otherwise:
//
//   - IsTxnFatal: close the producer.
//   - ErrOutcomeUnknown: CommitTxn had no definite answer, and the transaction is given up: it may be committed. The next one may
//     begin.
//   - sarama.ErrTransitionNotAllowed: no transaction is open.
//   - sarama.ErrShuttingDown: the producer is closed. sarama.ErrNonTransactedProducer: it has no transactional id.
//   - any other: call it again.
func (p *Producer) AbortTxnContext(ctx context.Context) error {
	if p.txns == nil {
		return sarama.ErrNonTransactedProducer
	}
	p.appenders.each((*Appender).failAll)
	return p.shared.UserError(p.txns.Abort(ctx))
}

// AddOffsetsToTxn adds offsets of a consumer group to the transaction: CommitTxn commits them with the messages. An offset is
// that of the next message to read. Set LeaderEpoch to -1 where it is not known: 0 is an epoch. A later call for a partition of the
// group replaces an earlier one. Outside a transaction it returns sarama.ErrTransactionNotReady. Prefer
// AddOffsetsToTxnWithGroupMetadata.
func (p *Producer) AddOffsetsToTxn(offsets map[string][]*sarama.PartitionOffsetMetadata, groupID string) error {
	return p.AddOffsetsToTxnWithGroupMetadata(offsets, sarama.NewConsumerGroupMetadata(groupID))
}

// AddOffsetsToTxnWithGroupMetadata is AddOffsetsToTxn on behalf of a member of the group (KIP-447): if it has lost its
// partitions meanwhile, the group's coordinator refuses the offsets, and the transaction can only be aborted. See
// sarama.NewConsumerGroupMetadataFromSession. The caller may change offsets and group afterwards.
func (p *Producer) AddOffsetsToTxnWithGroupMetadata(offsets map[string][]*sarama.PartitionOffsetMetadata, group *sarama.ConsumerGroupMetadata) error {
	if p.txns == nil {
		return sarama.ErrNonTransactedProducer
	}
	if group == nil {
		return sarama.ConfigurationError("offsets were added to a transaction without the metadata of their consumer group")
	}
	for topic, list := range offsets {
		for _, offset := range list {
			if offset == nil {
				return sarama.ConfigurationError(fmt.Sprintf("a nil offset of topic %q was added to a transaction", topic))
			}
		}
	}
	return p.shared.UserError(p.txns.AddOffsets(offsets, group))
}

// AddMessageToTxn adds the offset behind a consumed message to the transaction: see AddOffsetsToTxn.
func (p *Producer) AddMessageToTxn(msg *sarama.ConsumerMessage, groupID string, metadata *string) error {
	return p.AddMessageToTxnWithGroupMetadata(msg, sarama.NewConsumerGroupMetadata(groupID), metadata)
}

// AddMessageToTxnWithGroupMetadata adds the offset behind a consumed message to the transaction: see
// AddOffsetsToTxnWithGroupMetadata.
func (p *Producer) AddMessageToTxnWithGroupMetadata(msg *sarama.ConsumerMessage, group *sarama.ConsumerGroupMetadata, metadata *string) error {
	if p.txns == nil {
		return sarama.ErrNonTransactedProducer
	}
	if msg == nil {
		return sarama.ConfigurationError("a nil message was added to a transaction")
	}
	return p.AddOffsetsToTxnWithGroupMetadata(map[string][]*sarama.PartitionOffsetMetadata{
		// sarama's messages don't tell the leader epoch, and 0 would be one.
		msg.Topic: {{Partition: msg.Partition, Offset: msg.Offset + 1, LeaderEpoch: -1, Metadata: metadata}},
	}, group)
}

// abortForClose aborts the transaction that is open when the producer is closed.
func (p *Producer) abortForClose() {
	if p.txns == nil {
		return
	}
	if err := p.txns.AbortForClose(); err != nil {
		p.shared.Log.Printf("sluice: closing with an open transaction: %v\n", err)
		p.logNotAborted(err)
	}
}

// logNotAborted logs that a transaction could not be aborted. Its coordinator does it when its time is up.
func (p *Producer) logNotAborted(cause error) {
	conf := &p.shared.Conf.Producer.Transaction
	p.shared.Log.Event(flow.NotAborted, "", slog.String("transactional_id", conf.ID), slog.Duration("timeout", conf.Timeout), flow.Cause(cause))
}

// txnFailed records that a call which sends messages has failed for one of them. If a transaction is open, it can only be
// aborted: without that message it must not be committed.
func (p *Producer) txnFailed(err error) {
	if p.txns != nil {
		p.txns.MessageFailed(err)
	}
}

// Tx is the transaction of a Transact. Only this package and mocks implement it: it may get more methods.
type Tx interface {
	// Produce is Producer.Produce. Its outcomes need not be waited for: Transact does, and fails if one of them did.
	Produce(ctx context.Context, msg *sarama.ProducerMessage, done func(*sarama.ProducerMessage, error)) error

	// AddOffsets is Producer.AddOffsetsToTxnWithGroupMetadata.
	AddOffsets(offsets map[string][]*sarama.PartitionOffsetMetadata, group *sarama.ConsumerGroupMetadata) error

	// AddMessage is Producer.AddMessageToTxnWithGroupMetadata, without metadata of the offset.
	AddMessage(msg *sarama.ConsumerMessage, group *sarama.ConsumerGroupMetadata) error
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

// Transact begins a transaction, calls fn, and commits. What is sent meanwhile by any method of the producer, and by any goroutine,
// is part of the transaction. fn must not call BeginTxn, CommitTxn or AbortTxn, and must not use tx after it has returned.
//
// If fn returns an error, or panics, or if the commit finds that something has failed, the transaction is aborted: messages that
// are not being sent fail at once. Transact does that also if ctx has ended; the requests then have the time that AbortTxn has.
// It retries nothing by itself. It returns nil if the transaction is committed. Otherwise ask in this order:
//
//   - IsTxnFatal: close the producer, and make another one.
//   - ErrOutcomeUnknown: the transaction may be committed, and is still open here. CommitTxnContext finds out; or AbortTxn
//     gives it up.
//   - IsTxnAbortable: something of the transaction failed, and it is aborted. Transact may be called again. The error wraps fn's,
//     if fn returned one.
//   - fn's error, or that of ctx: the transaction is aborted.
//   - sarama.ErrTransitionNotAllowed: another transaction is open. Nothing was done.
//   - any other: as BeginTxn and CommitTxnContext say.
//
// If the abort fails, its error is joined: TxnStatus then tells whether AbortTxn has to be called again.
func (p *Producer) Transact(ctx context.Context, fn func(tx Tx) error) error {
	if p.txns == nil {
		return sarama.ErrNonTransactedProducer
	}
	if ctx.Err() != nil {
		return flow.Errorf("Transact: %w", flow.ContextError(ctx))
	}
	if err := p.txns.Begin(ctx); err != nil {
		return p.shared.UserError(err)
	}
	returned := false
	defer func() {
		if !returned {
			p.txns.GiveUp(errors.New("the function given to Transact panicked"))
			if err := p.AbortTxn(); err != nil {
				p.shared.Log.Printf("sluice: aborting a transaction whose function panicked: %v\n", err)
				p.logNotAborted(err)
			}
		}
	}()
	err := fn(tx{p})
	returned = true
	if err == nil {
		err = p.commit(ctx)
		if err == nil || errors.Is(err, ErrOutcomeUnknown) {
			return p.shared.UserError(err)
		}
		err = p.shared.UserError(err)
	} else if p.TxnStatus()&sarama.ProducerTxnFlagAbortableError != 0 && !p.shared.SaramaContract {
		// fn has met what failed, as a rule: a message that may have been written, say, which means nothing once it is aborted.
		err = txn.NewError(err, false)
	}
	if p.TxnStatus()&sarama.ProducerTxnFlagFatalError != 0 && IsTxnFatal(err) {
		return err // AbortTxn would say the same
	}
	p.txns.GiveUp(err)
	if abortErr := p.AbortTxn(); abortErr != nil {
		return errors.Join(err, abortErr)
	}
	return err
}

// IsTxnAbortable tells whether err, of CommitTxn or Transact, says that something of the transaction has failed, so that
// AbortTxn is what remains; Transact has called it already. Then the producer goes on, and the transaction may be tried again.
// With sarama's constructors, whose errors are not wrapped, ask TxnStatus.
func IsTxnAbortable(err error) bool { return txn.IsAbortable(err) }

// IsTxnFatal tells whether err, of a transactional method or of a message, says that a transactional producer can't go on:
// another instance with the same transactional id has fenced it, or it is not authorized. Close it, and make another one.
func IsTxnFatal(err error) bool { return txn.IsFatal(err) }
