package wire

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
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

// AuthError: the login failed, not the network: the broker refused it, or the mechanism failed on our side.
type AuthError struct {
	Addr      string
	Mechanism string
	// Refused: the broker has answered that it does not take this login, or does not have the mechanism. That is final: more
	// tries may lock the account. All else is tried again.
	Refused bool
	Err     error

	token string // of OAUTHBEARER that the login was tried with
}

func (e *AuthError) Error() string {
	return fmt.Sprintf("login at broker %s with %s: %v", e.Addr, e.Mechanism, e.Err)
}

func (e *AuthError) Unwrap() error { return e.Err }

// Is makes errors.Is find flow.ErrLoginRefused in a refusal.
func (e *AuthError) Is(target error) bool { return e.Refused && target == flow.ErrLoginRefused }

// errTLSPort: the first bytes of an answer are TLS.
var errTLSPort = fmt.Errorf("%w: the broker speaks TLS at this port, and Net.TLS.Enable is off", ErrMalformedAnswer)

// tlsPortError is errTLSPort with what ended the reading, if anything did.
func tlsPortError(err error) error {
	if err == nil {
		return errTLSPort
	}
	return fmt.Errorf("%w: %w", errTLSPort, flow.External(err))
}

// isTLSRecord tells whether an answer begins like an alert or a handshake of TLS. An alert is shorter than an answer's header.
func isTLSRecord(p []byte) bool {
	return len(p) >= 3 && (p[0] == 0x15 || p[0] == 0x16) && p[1] == 3 && p[2] <= 4
}

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
