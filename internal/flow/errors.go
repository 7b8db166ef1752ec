package flow

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The sentinels that stages wrap; the root package tells the user about them.
var (
	ErrOutcomeUnknown  = errors.New("sluice: the message may have been written")
	ErrBufferFull      = errors.New("sluice: the buffer memory is used up")
	ErrDeliveryTimeout = errors.New("sluice: delivery timeout")
)

// Expired is the error of a message that its delivery timeout ended: it wraps ErrDeliveryTimeout, and what kept the
// message from being delivered, if that is known.
func Expired(timeout time.Duration, cause error) error {
	if cause == nil {
		return fmt.Errorf("%w of %v is over", ErrDeliveryTimeout, timeout)
	}
	return fmt.Errorf("%w of %v is over: %w", ErrDeliveryTimeout, timeout, cause)
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
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause)
}
