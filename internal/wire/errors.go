package wire

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	// ErrConnClosed is wrapped by every error that Conn.Close caused.
	ErrConnClosed = errors.New("connection closed")

	// ErrIdle is the cause of death of a connection that was closed because nothing was sent over it for Dialer.MaxIdle.
	// It wraps ErrConnClosed.
	ErrIdle = fmt.Errorf("nothing was sent for the longest idle time: %w", ErrConnClosed)

	// ErrCutOff is wrapped when the connection died before it had taken a request whole. A broker can't act on a part of a
	// request, so it is certainly not written.
	ErrCutOff = errors.New("the request was not written whole")

	// ErrMalformedAnswer is wrapped when a broker's answer cannot be decoded. The connection is dead then.
	ErrMalformedAnswer = errors.New("malformed answer")

	// ErrUnexpectedAnswer is wrapped when an answer does not belong to the oldest open request. The connection is dead
	// then.
	ErrUnexpectedAnswer = errors.New("unexpected answer")
)

// AuthError: the login failed, not the network: the broker refused it, or the mechanism failed on our side. It is final
// only if it wraps sarama.ErrSASLAuthenticationFailed, the broker's own answer. All else is tried again.
type AuthError struct {
	Addr string
	Err  error
}

func (e *AuthError) Error() string {
	return fmt.Sprintf("authentication at broker %s: %v", e.Addr, e.Err)
}

func (e *AuthError) Unwrap() error { return e.Err }

// VersionError says that a broker and this client have no version of a request in common.
type VersionError struct {
	Addr                 string
	Key                  int16 // Of the request
	OursMin, OursMax     int16
	TheirsMin, TheirsMax int16 // -1: the broker does not have the request at all
}

func (e *VersionError) Error() string {
	name := kmsg.NameForKey(e.Key)
	if e.TheirsMax < 0 {
		return fmt.Sprintf("broker %s does not support %s requests", e.Addr, name)
	}
	return fmt.Sprintf("broker %s supports %s v%d to v%d, v%d to v%d is needed",
		e.Addr, name, e.TheirsMin, e.TheirsMax, e.OursMin, e.OursMax)
}
