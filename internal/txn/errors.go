package txn

import (
	"errors"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Error is why a transaction, or its producer, has failed.
type Error struct {
	// Fatal: the producer is of no more use. Else the transaction can be aborted, and the producer goes on.
	Fatal bool
	cause error
}

func (e *Error) Error() string {
	if e.Fatal {
		return flow.Errorf("the transactional producer can't go on: %w", e.cause).Error()
	}
	return flow.Errorf("the transaction has failed, and can only be aborted: %w", e.cause).Error()
}

func (e *Error) Unwrap() error { return e.cause }

// IsAbortable tells whether err says that a transaction has failed and can be aborted.
func IsAbortable(err error) bool {
	if failure, ok := errors.AsType[*Error](err); ok {
		return !failure.Fatal
	}
	code, ok := errors.AsType[sarama.KError](err)
	return ok && code == errTransactionAbortable
}

// IsFatal tells whether err says that a transactional producer is of no more use. It knows the error codes too, for errors that
// are not wrapped.
func IsFatal(err error) bool {
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure.Fatal
	}
	return fatalCause(err)
}

// fatalCause tells whether a failed message or request ends its producer.
func fatalCause(err error) bool {
	code, ok := errors.AsType[sarama.KError](err)
	return ok && fatalToMessages[code]
}
