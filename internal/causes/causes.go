// Package causes sorts the errors of messages, for sluice.Stats. It promises no compatibility.
package causes

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/IBM/sarama"
	"github.com/eapache/go-resiliency/breaker"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// codeCauses are those of error codes. Of the others, those that are retried are stats.Unavailable, and the rest stats.Refused.
var codeCauses = map[sarama.KError]stats.Cause{
	sarama.ErrUnknownTopicOrPartition:            stats.UnknownTopic,
	100:                                          stats.UnknownTopic, // UNKNOWN_TOPIC_ID
	103:                                          stats.UnknownTopic, // INCONSISTENT_TOPIC_ID
	sarama.ErrInvalidTopic:                       stats.Invalid,
	sarama.ErrMessageSizeTooLarge:                stats.TooLarge,
	sarama.ErrMessageSetSizeTooLarge:             stats.TooLarge,
	sarama.ErrTopicAuthorizationFailed:           stats.NotAuthorized,
	sarama.ErrGroupAuthorizationFailed:           stats.NotAuthorized,
	sarama.ErrClusterAuthorizationFailed:         stats.NotAuthorized,
	sarama.ErrTransactionalIDAuthorizationFailed: stats.NotAuthorized,
	sarama.ErrSASLAuthenticationFailed:           stats.NotAuthorized,
	sarama.ErrUnsupportedSASLMechanism:           stats.NotAuthorized,
	sarama.ErrIllegalSASLState:                   stats.NotAuthorized,
	sarama.ErrThrottlingQuotaExceeded:            stats.Unavailable, // of logins
	sarama.ErrInvalidTxnState:                    stats.Transaction,
	sarama.ErrInvalidProducerIDMapping:           stats.Transaction,
	sarama.ErrConcurrentTransactions:             stats.Transaction,
	sarama.ErrTransactionCoordinatorFenced:       stats.Transaction,
	sarama.ErrProducerFenced:                     stats.Transaction,
	120:                                          stats.Transaction, // TRANSACTION_ABORTABLE
}

// Of is the cause of a message's error. What says more comes first: a delivery timeout may wrap what failed before.
func Of(err error) stats.Cause {
	_, auth := errors.AsType[*wire.AuthError](err)
	_, version := errors.AsType[*wire.VersionError](err)
	_, config := errors.AsType[sarama.ConfigurationError](err)
	code, isCode := errors.AsType[sarama.KError](err)
	switch {
	case txn.HasFailed(err), errors.Is(err, sarama.ErrTransactionNotReady): // it may wrap what another message has failed of
		return stats.Transaction
	case errors.Is(err, flow.ErrWithdrawn):
		return stats.Cancelled
	case errors.Is(err, flow.ErrDeliveryTimeout):
		return stats.DeliveryTimeout
	case flow.IsClosed(err), errors.Is(err, sarama.ErrShuttingDown):
		return stats.Closed
	case flow.IsInvalid(err): // it may wrap anything
		return stats.Invalid
	case errors.Is(err, sarama.ErrMessageSizeTooLarge): // also one that is larger than the buffer memory
		return stats.TooLarge
	case errors.Is(err, flow.ErrBufferFull):
		return stats.BufferFull
	case auth, flow.LoginRefused(err):
		return stats.NotAuthorized
	case errors.Is(err, sarama.ErrOutOfBrokers): // it wraps what each broker said
		return stats.Unavailable
	case isCode:
		return ofCode(code)
	case errors.Is(err, sarama.ErrInvalidPartition):
		return stats.UnknownTopic
	case config:
		return stats.Invalid
	case version, errors.Is(err, flow.ErrOtherCluster), errors.Is(err, breaker.ErrBreakerOpen), isNetwork(err):
		return stats.Unavailable
	}
	return stats.Other
}

func ofCode(code sarama.KError) stats.Cause {
	if cause, ok := codeCauses[code]; ok {
		return cause
	}
	if brokerproducer.MeaningOf(code).Retriable() {
		return stats.Unavailable
	}
	return stats.Refused
}

// isNetwork tells whether an error is that of a connection.
func isNetwork(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, wire.ErrConnClosed) || errors.Is(err, wire.ErrCutOff) ||
		errors.Is(err, wire.ErrMalformedAnswer) || errors.Is(err, wire.ErrUnexpectedAnswer) {
		return true
	}
	if _, op := errors.AsType[*net.OpError](err); op {
		return true
	}
	_, network := errors.AsType[net.Error](err)
	return network && !errors.Is(err, context.DeadlineExceeded) // which looks like a network's time-out
}
