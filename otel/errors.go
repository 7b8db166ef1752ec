package sluiceotel

import (
	"context"
	"errors"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-kafka/sluice"
)

// What error.type says, besides the names of Kafka's error codes.
const (
	typeDeliveryTimeout  = "delivery_timeout"  // sluice.ErrDeliveryTimeout
	typeBufferFull       = "buffer_full"       // sluice.ErrBufferFull
	typeClosed           = "closed"            // sarama.ErrShuttingDown
	typeTransaction      = "transaction"       // the transaction failed, or there was none
	typeCanceled         = "canceled"          // the caller's context was canceled
	typeDeadlineExceeded = "deadline_exceeded" // the caller's context was over
	typeInvalid          = "invalid"           // refused before it was sent: a partition that is not there, what can't be encoded
	typeOther            = "_OTHER"            // the conventions' word for the rest
)

// errorType is the class of a message's error. Of several that fit it is the one that says what to change.
func errorType(err error) string {
	code, isCode := errors.AsType[sarama.KError](err)
	switch {
	case errors.Is(err, sluice.ErrDeliveryTimeout):
		return typeDeliveryTimeout // the cause may be anything that passes
	case errors.Is(err, sarama.ErrTransactionNotReady), sluice.IsTxnAbortable(err), sluice.IsTxnFatal(err):
		return typeTransaction
	case isCode:
		if known, ok := errors.AsType[*kerr.Error](kerr.ErrorForCode(int16(code))); ok {
			return known.Message
		}
		return typeOther
	case errors.Is(err, sluice.ErrBufferFull):
		return typeBufferFull
	case errors.Is(err, sarama.ErrShuttingDown):
		return typeClosed
	case errors.Is(err, context.Canceled):
		return typeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return typeDeadlineExceeded
	case errors.Is(err, sarama.ErrInvalidPartition), isType[sarama.PacketEncodingError](err), isType[sarama.ConfigurationError](err):
		return typeInvalid
	}
	return typeOther
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
