package sluice

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/IBM/sarama"
	"github.com/eapache/go-resiliency/breaker"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
)

// Errors of this package. They come from New and NewFromClient, wrapped with their cause: use errors.Is. The constructors
// with sarama's names return the cause alone. So there a message may be in the log although its error is not
// ErrOutcomeUnknown.
//
// Sarama's errors stay sarama's: sarama.ErrShuttingDown, sarama.ErrInvalidPartition, sarama.ConfigurationError, and every
// error code of a broker as a sarama.KError.
var (
	// Of one message, in its outcome:

	// ErrOutcomeUnknown: the message was given up after an attempt to write it that had no definite answer. It may be
	// in the log. Through New, a failed message without this error is not in the log. From CommitTxn, AbortTxn and
	// Transact: the transaction may be committed.
	ErrOutcomeUnknown = flow.ErrOutcomeUnknown
	// ErrDeliveryTimeout: the delivery timeout (WithDeliveryTimeout) ended the message. The last failure is wrapped
	// too. If nothing had failed, the text says what was going on, such as "broker 2 (b:9092) has not answered for 30s".
	ErrDeliveryTimeout = flow.ErrDeliveryTimeout

	// Of a call, and of one message:

	// ErrBufferFull: the context of Produce, SendMessageContext or SendMessagesContext ended while the buffer memory
	// (WithBufferMemory) was used up; the context's error is wrapped too. Also of a message that is larger than the whole
	// buffer memory.
	ErrBufferFull = flow.ErrBufferFull

	// Of a call, and of one message, as the cause:

	// ErrOtherCluster: what answers at a broker's address belongs to another cluster than the first broker that
	// answered this producer. Nothing is written to it. The text names both ids. See WithClusterIDCheck.
	ErrOtherCluster = flow.ErrOtherCluster
)

// IsRetriable tells whether a message that failed with err may be delivered if it is sent again: a moment without a
// leader, a lost connection, a delivery timeout. False for what will fail again (too large, not authorized, wrong password,
// no such partition), for a message that was withdrawn because its context ended, and for nil. It says nothing about
// duplicates: see ErrOutcomeUnknown. Messages of a transaction fail with its first cause, whether they are at fault or not: there
// ask IsTxnAbortable of CommitTxn's error.
func IsRetriable(err error) bool {
	switch {
	case err == nil, errors.Is(err, sarama.ErrShuttingDown):
		return false
	case errors.Is(err, ErrDeliveryTimeout):
		return true
	case flow.LoginRefused(err):
		return false // also as the reason why no broker could be asked
	case errors.Is(err, sarama.ErrOutOfBrokers), errors.Is(err, breaker.ErrBreakerOpen):
		return true
	}
	if code, ok := errors.AsType[sarama.KError](err); ok {
		meaning := brokerproducer.MeaningOf(code)
		return meaning.Retriable() || meaning == brokerproducer.LostSequence || meaning == brokerproducer.LostIdentity
	}
	if _, wrong := errors.AsType[sarama.ConfigurationError](err); wrong {
		return false
	}
	if errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, ErrBufferFull) || errors.Is(err, io.EOF) {
		return true
	}
	if _, network := errors.AsType[*net.OpError](err); network && !errors.Is(err, context.Canceled) {
		return true // a dial that timed out is a context.DeadlineExceeded, too
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false // the caller's own end; the latter looks like a network's time-out
	}
	_, network := errors.AsType[net.Error](err)
	return network
}
