package brokerproducer

import (
	"context"
	"errors"
	"sync"

	"github.com/sluice-kafka/sluice/internal/wire"
)

// claims decides between the loop and the network goroutine: is a batch written, or does it end before that? The network
// goroutine claims a batch as it writes it; the loop ends a batch when its deadline passes. Who comes first wins.
//
// It also knows what is being written at this moment. A batch that borrows bytes of its messages can't end meanwhile: with
// the outcome, the messages are their senders' again.
//
// The loop can recall a request that is not written yet. It then comes back, whatever the network goroutine waits for: a
// dial, the window of open requests, a throttle.
type claims struct {
	mu   sync.Mutex
	req  *request   // it waits, or is being written; may be nil
	conn *wire.Conn // it is being written to this; nil while it waits

	// wait is the context of the network goroutine's waits. It serves many requests, until a recall cancels it.
	wait   context.Context
	cancel context.CancelCauseFunc
}

// claim is the state of one batch. The network goroutine alone writes claimed, the loop alone writes ended; each reads the
// other's under claims.mu. The loop resets both before it hands the batch over.
//
// counted and decided are under claims.mu while the network goroutine has the batch.
type claim struct {
	claimed bool // it is being written, or has been
	ended   bool // before that: it will not be written

	counted bool // it counts as in flight (stats.go)
	decided bool // it has its outcome, and never counts as in flight
}

var (
	errEnded = errors.New("ended before it was sent")
	errStuck = errors.New("a message's delivery timeout ended while it was being written")
	// errRecalled never leaves this package: nothing has failed.
	errRecalled = errors.New("recalled before it was sent")
	// errSessionOver neither: the request goes over a new connection.
	errSessionOver = errors.New("the SASL session is about to end")
)

// beginWait returns the context that the network goroutine waits under until it can write a request.
func (c *claims) beginWait(parent context.Context, req *request) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.req, c.conn = req, nil
	if c.wait == nil || c.wait.Err() != nil {
		c.wait, c.cancel = context.WithCancelCause(parent)
	}
	if req.recalled {
		c.cancel(errRecalled)
	}
	return c.wait
}

// recall makes the request of a batch in flight come back, unless it is written.
func (c *claims) recall(b *Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.req.recalled = true // also if the network goroutine has not begun with it, or fails to write it
	if c.req == b.req && c.conn == nil {
		c.cancel(errRecalled)
	}
}

// beginWrite claims the batches of a request that is about to be written, but for those that the loop has ended. It calls writing
// before the loop can see that there is a batch to write, and may have been written.
func (c *claims) beginWrite(req *request, conn *wire.Conn, writing func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if req.recalled {
		return errRecalled
	}
	c.req, c.conn = req, conn
	some := false
	for _, b := range req.batches {
		b.claim.claimed = !b.claim.ended
		some = some || b.claim.claimed
	}
	if some {
		writing()
	}
	return nil
}

// endWrite says that the write is over. If the request was not written whole, the batches are passed, and can be ended
// again. If the connection has taken the request, the caller must not touch its batches any more: they may be answered
// already.
func (c *claims) endWrite(untouched ...*Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.req, c.conn = nil, nil
	for _, b := range untouched {
		b.claim.claimed = false
	}
}

// writeState is how far the writing of a batch in flight is.
type writeState uint8

const (
	notWritten   writeState = iota // and it will not be
	beingWritten                   // at this moment
	written                        // as far as anybody knows
)

// end ends a batch in flight if it is not written yet, and tells how far it is.
//
// Requests are compared by address although they are used again. That is safe: the loop composes the next request when the
// network goroutine is free, which is after endWrite.
func (c *claims) end(b *Batch) writeState {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !b.claim.claimed:
		b.claim.ended = true
		return notWritten
	case c.req != nil && c.req == b.req:
		b.claim.ended = true // so that it is not tried again if this write fails
		return beingWritten
	}
	return written
}

// sever ends the write that is under way, and its connection with it. If a batch is given, only a write of that batch.
func (c *claims) sever(of *Batch, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && (of == nil || c.req == of.req) {
		c.conn.Sever(cause)
	}
}
