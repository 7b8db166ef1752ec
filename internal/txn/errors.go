package txn

import (
	"errors"
	"slices"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Error is why a transaction, or its producer, has failed.
type Error struct {
	// Fatal: the producer is of no more use. Else the transaction can be aborted, and the producer goes on.
	Fatal bool
	cause error
}

// NewError is for mocks of a producer.
func NewError(cause error, isFatal bool) *Error { return &Error{Fatal: isFatal, cause: cause} }

func (e *Error) Error() string {
	if e.Fatal {
		return flow.Errorf("the transactional producer can't go on: %w", e.cause).Error()
	}
	return flow.Errorf("the transaction has failed, and can only be aborted: %w", e.cause).Error()
}

// Unwrap returns the cause. Where a transaction can only be aborted, that a message of it may have been written means nothing: no
// reader of committed messages sees it. So errors.Is finds no ErrOutcomeUnknown, which CommitTxn returns where it may have
// committed.
func (e *Error) Unwrap() error {
	if e.Fatal {
		return e.cause
	}
	return certain{e.cause}
}

// certain is an error without its ErrOutcomeUnknown.
type certain struct{ error }

func (c certain) Is(target error) bool {
	return target != flow.ErrOutcomeUnknown && errors.Is(c.error, target)
}

func (c certain) As(target any) bool { return errors.As(c.error, target) }

// IsAbortable tells whether err says that a transaction has failed and can be aborted, and nothing worse.
func IsAbortable(err error) bool {
	return !IsFatal(err) && anyFailure(err, func(err error) bool {
		if failure, ok := err.(*Error); ok {
			return !failure.Fatal
		}
		return err == errTransactionAbortable
	})
}

// IsFatal tells whether err says that a transactional producer is of no more use. It knows the error codes too, for errors that
// are not wrapped.
func IsFatal(err error) bool {
	return anyFailure(err, func(err error) bool {
		if failure, ok := err.(*Error); ok {
			return failure.Fatal
		}
		code, ok := err.(sarama.KError)
		return ok && fatalToMessages[code]
	})
}

// anyFailure tells whether is holds for one of the errors that err wraps. There may be several, as Transact joins the failure of
// its transaction and that of AbortTxn. What is behind an *Error is its cause, and does not count.
func anyFailure(err error, is func(error) bool) bool {
	for err != nil {
		if is(err) {
			return true
		}
		switch e := err.(type) {
		case *Error:
			return false
		case interface{ Unwrap() []error }:
			return slices.ContainsFunc(e.Unwrap(), func(err error) bool { return anyFailure(err, is) })
		}
		err = errors.Unwrap(err)
	}
	return false
}

// fatalCause tells whether a failed message or request ends its producer.
func fatalCause(err error) bool {
	code, ok := errors.AsType[sarama.KError](err)
	return ok && fatalToMessages[code]
}
