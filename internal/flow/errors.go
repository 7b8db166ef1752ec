package flow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
)

// The sentinels that stages wrap. The root package exports them.
var (
	ErrOutcomeUnknown  = errors.New("sluice: the message may have been written")
	ErrBufferFull      = errors.New("sluice: the buffer memory is used up")
	ErrDeliveryTimeout = errors.New("sluice: delivery timeout")
	ErrOtherCluster    = errors.New("sluice: a broker of another cluster")
)

// ErrLoginRefused is found in the error of a login that a broker has refused for good.
var ErrLoginRefused = errors.New("login refused")

// LoginRefused tells whether a broker has refused our login for good: the credentials, or the mechanism. No retry helps then,
// and more tries may lock the account.
func LoginRefused(err error) bool {
	return errors.Is(err, ErrLoginRefused) || errors.Is(err, sarama.ErrSASLAuthenticationFailed)
}

// Errorf is fmt.Errorf for errors that the user gets. The text begins with the package's name, and has it nowhere else:
// it is cut out of the causes.
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

// External marks an error that comes from outside: a broker's error code, a connection that ended, what the user's code
// returned. The text, errors.Is and errors.As stay as they are. Bare finds the error again.
func External(err error) error { return external{err} }

type external struct{ error }

func (e external) Unwrap() error { return e.error }

// Error names the error codes for which sarama has no text, PRODUCER_FENCED among them.
func (e external) Error() string {
	text := e.error.Error()
	if code, ok := e.error.(sarama.KError); ok && strings.HasPrefix(text, "Unknown error") {
		if known := kerr.TypedErrorForCode(int16(code)); known != nil && known != kerr.UnknownServerError {
			text = "kafka server: " + known.Message + ": " + known.Description
		}
	}
	return text
}

// Invalid marks an error of a message that can't be sent as it is, as the user's code has failed on it. The text, errors.Is and
// errors.As stay as they are.
func Invalid(err error) error { return invalid{err} }

type invalid struct{ error }

func (e invalid) Unwrap() error { return e.error }

// IsInvalid tells whether an error is marked as Invalid.
func IsInvalid(err error) bool {
	_, ok := errors.AsType[invalid](err)
	return ok
}

// Closed marks an error of messages that fail because the producer was closed, as Invalid does.
func Closed(err error) error { return closed{err} }

type closed struct{ error }

func (e closed) Unwrap() error { return e.error }

// IsClosed tells whether an error is marked as Closed.
func IsClosed(err error) bool {
	_, ok := errors.AsType[closed](err)
	return ok
}

// Bare returns the first error in err's chain that is marked as External, unwrapped, or err if there is none. sarama's
// users compare errors with ==, and assert their type.
func Bare(err error) error {
	if e, ok := errors.AsType[external](err); ok {
		return e.error
	}
	return err
}

// Expired is the error of a message whose delivery timeout is over. It wraps ErrDeliveryTimeout and the cause: the last failure
// or, if nothing has failed, what was going on (see Activities).
func Expired(timeout time.Duration, cause error) error {
	if cause == nil {
		return Errorf("%w of %v is over", ErrDeliveryTimeout, timeout)
	}
	return Errorf("%w of %v is over: %w", ErrDeliveryTimeout, timeout, cause)
}

// ContextError is why ctx has ended. It wraps ctx.Err(), and the cause if that is another error.
func ContextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// Unknown is the error of a message that was given up and may have been written.
func Unknown(cause error) error {
	return Errorf("%w: %w", ErrOutcomeUnknown, cause)
}

// UnknownCommit is the error of a transaction that may be committed.
func UnknownCommit(cause error) error {
	err := fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause)
	return &named{Errorf("the transaction may be committed: %w", cause).Error(), err}
}

// PartitionError is why messages to a partition failed. unsure says that they may have been written: see Unknown.
func PartitionError(topic string, partition int32, cause error, unsure bool) error {
	err := Errorf("topic %q partition %d: %w", topic, partition, cause)
	if unsure {
		err = Unknown(err)
	}
	return err
}

// SameCluster is nil if both cluster ids are the same, or if one of them is unknown (empty). Otherwise its error names both.
func SameCluster(ours, theirs string) error {
	if ours == "" || theirs == "" || ours == theirs {
		return nil
	}
	return External(Errorf("%w: its cluster id is %q, the producer's is %q", ErrOtherCluster, theirs, ours))
}
