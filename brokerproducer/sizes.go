package brokerproducer

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// sizes bounds the requests of one broker by what the link and the broker have taken. It knows no clock or channel.
//
// A broker closes the connection on a frame above its own limit (socket.request.max.bytes; Event Hubs: 1,046,528), and a
// slow link can't bring a large one through in time. Neither says so: all there is to see is a connection that was lost
// with a large request open.
type sizes struct {
	limit  int // of a request's batches; 0: none was learnt
	acked  int // the largest that was acknowledged
	number int // how many losses counted; a request composed before the last one does not count again

	// contested is the size of a request that was lost though as much had been acknowledged; 0 when as much was again.
	contested int

	closes int   // on large requests
	held   int64 // until when the limit does not grow: it may be the broker's own
}

const (
	// suspectBytes is the least size of a request that may have been too large. Every broker takes less.
	suspectBytes = 64 << 10
	// A batch that can't be split is given up when the broker has closed the connection on it refusals times. The last of
	// these requests must have held it alone, and have refusableBytes. No broker is known to have a lower limit, and a bad
	// network loses large requests a few times in a row.
	refusableBytes = 256 << 10
	refusals       = 20
	// sureBytes is what nearly every broker takes. After one close the limit is at most this, so that it need not be found
	// by halving.
	sureBytes = 1_000_000
	// A limit that a close has shown stays for heldAfterClose, each further close doubles that, up to heldLongest. Then it
	// grows again: the connection may have been lost for another reason.
	heldAfterClose = time.Minute
	heldLongest    = time.Hour
)

// lossKind is what a lost connection says about the size of a request that was open.
type lossKind uint8

const (
	otherLoss    lossKind = iota
	closedByPeer          // it may be above the broker's limit
	timedOut              // it may be more than the link takes in time
)

// lossOf sorts the errors that end a connection.
func lossOf(err error) lossKind {
	network, isNetwork := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), isNetwork && network.Timeout():
		return timedOut
	case errors.Is(err, net.ErrClosed): // by us
		return otherLoss
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return closedByPeer
	}
	if _, ok := errors.AsType[*net.OpError](err); ok { // connection reset, broken pipe
		return closedByPeer
	}
	return otherLoss
}

// bound is how many bytes the batches of a request may have, at most most.
func (s *sizes) bound(most int) int {
	if s.limit > 0 {
		return min(s.limit, most)
	}
	return most
}

// suspicious tells whether the loss of a request may be due to its size.
func (s *sizes) suspicious(size int, kind lossKind) bool {
	return size >= suspectBytes && (kind == timedOut || kind == closedByPeer && size > s.acked)
}

// lost takes in that a request was lost with its connection. number is sizes.number as it was composed.
func (s *sizes) lost(size, number int, kind lossKind, now int64) {
	if number != s.number {
		return
	}
	if kind == closedByPeer && size >= suspectBytes && size <= s.acked {
		s.contest(size)
	}
	if !s.suspicious(size, kind) {
		return
	}
	s.number++
	if kind == timedOut {
		s.limit = max(size/2, suspectBytes/2)
		return
	}
	s.limit = max(min(size/4, sureBytes), min(s.acked, size-1), suspectBytes/2)
	hold := flow.Doubled(heldAfterClose, s.closes, heldLongest)
	s.closes++
	s.held = now + int64(hold)
}

// contest takes in that the broker closed the connection on a size that it once took. The network may have done that. Twice
// in a row, with nothing as large acknowledged in between, the broker's limit may be lower now, or that of what stands
// before it: what it took then proves nothing any more.
func (s *sizes) contest(size int) {
	if s.contested > 0 {
		s.acked, s.contested = 0, 0
		return
	}
	s.contested = size
	s.number++
}

// acknowledged takes in that a request was answered. A limit that is used grows by an eighth each time.
func (s *sizes) acknowledged(size, most int, now int64) {
	s.acked = max(s.acked, size)
	if size >= s.contested {
		s.contested = 0
	}
	if s.limit == 0 || size < s.limit/2 || now < s.held {
		return
	}
	if s.limit += s.limit / 8; s.limit >= most {
		s.limit = 0
	}
}
