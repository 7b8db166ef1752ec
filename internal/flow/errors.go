package flow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The sentinels that stages wrap; the root package tells the user about them.
var (
	ErrOutcomeUnknown  = errors.New("sluice: the message may have been written")
	ErrBufferFull      = errors.New("sluice: the buffer memory is used up")
	ErrDeliveryTimeout = errors.New("sluice: delivery timeout")
)

// Errorf is fmt.Errorf for errors that the user gets. The text names the package once, in front, however many of its
// causes do.
func Errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &named{"sluice: " + strings.ReplaceAll(err.Error(), "sluice: ", ""), err}
}

type named struct {
	text string
	error
}

func (e *named) Error() string { return e.text }

func (e *named) Unwrap() error { return e.error }

// External marks an error that did not arise here: a broker's error code, a connection's end, what the user's code
// returned. It changes neither the text nor what errors.Is and errors.As find. Bare brings it back.
func External(err error) error { return external{err} }

type external struct{ error }

func (e external) Unwrap() error { return e.error }

// Bare returns the first error in err's chain that was marked as External, as it came; err itself where there is none.
// sarama's users compare errors with ==, and assert their type.
func Bare(err error) error {
	if e, ok := errors.AsType[external](err); ok {
		return e.error
	}
	return err
}

// Expired is the error of a message that its delivery timeout ended: it wraps ErrDeliveryTimeout, and what kept the
// message from being delivered, if that is known.
func Expired(timeout time.Duration, cause error) error {
	if cause == nil {
		return Errorf("%w of %v is over", ErrDeliveryTimeout, timeout)
	}
	return Errorf("%w of %v is over: %w", ErrDeliveryTimeout, timeout, cause)
}

// ContextError is why ctx has ended: its error, and its cause where that is another.
func ContextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// Unknown is the error of a message that was given up while an attempt to write it had no definite answer.
func Unknown(cause error) error {
	return Errorf("%w: %w", ErrOutcomeUnknown, cause)
}
