package sluice

import (
	"github.com/sluice-kafka/sluice/internal/flow"
)

// Errors of this package; all of them are wrapped, with their cause: use errors.Is. Sarama's errors stay sarama's:
// sarama.ErrShuttingDown, sarama.ErrInvalidPartition, sarama.ConfigurationError, and every error code of a broker as a
// sarama.KError.
var (
	// Of one message, in its outcome:

	// ErrOutcomeUnknown: the message was given up after an attempt to write it that had no definite answer. It may be
	// in the log. A failed message without this error is not in the log.
	ErrOutcomeUnknown = flow.ErrOutcomeUnknown
	// ErrDeliveryTimeout: the delivery timeout (WithDeliveryTimeout) ended the message. What kept it from being
	// delivered is wrapped too, where it is known.
	ErrDeliveryTimeout = flow.ErrDeliveryTimeout

	// Of a call, and of one message:

	// ErrBufferFull: Produce's context ended while the buffer memory (WithBufferMemory) was used up; the context's
	// error is wrapped too. Also of a message that is larger than the whole buffer memory.
	ErrBufferFull = flow.ErrBufferFull
)
