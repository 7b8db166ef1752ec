package brokerproducer

import (
	"context"
	"errors"
	"sync"

	"github.com/sluice-kafka/sluice/internal/wire"
)

// claims verifies between the loop and the network goroutine whether a batch in flight is written, or ended before that. It
// also says what is being written at this moment: a batch that borrows bytes of its messages can't end meanwhile, as with
// their outcomes the messages are their senders' again.
//
// A request that is not written yet can be recalled: then it comes back to the loop, whatever the network goroutine waits
// for (a dial, the window of open requests, a throttle).
type claims struct {
	mu   sync.Mutex
	req  *request   // that waits or is being written, or nil
	conn *wire.Conn // that it is being written to; nil while it waits

	// wait is what the network goroutine waits under. It serves many requests: it is made anew when it has been cancelled.
	wait   context.Context
	cancel context.CancelCauseFunc
}

// claim is the state of one batch. claimed is written by the network goroutine alone, ended by the loop; each reads the
// other's under the lock of claims. As it hands the batch over, the loop resets both.
type claim struct {
	claimed bool // the network goroutine writes it, or has written it
	ended   bool // the loop has ended it before that: it is not written any more
}

var (
	errEnded = errors.New("ended before it was sent")
	errStuck = errors.New("a message's delivery timeout ended while it was being written")
	// errRecalled never gets out of this package: nothing has failed.
	errRecalled = errors.New("recalled before it was sent")
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

// recall has the request of a batch in flight come back, unless it is written.
func (c *claims) recall(b *Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.req.recalled = true // the network goroutine may not have begun with it, or its write may come to nothing
	if c.req == b.req && c.conn == nil {
		c.cancel(errRecalled)
	}
}

// beginWrite claims what the loop has not ended of a request that is about to be written.
func (c *claims) beginWrite(req *request, conn *wire.Conn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if req.recalled {
		return errRecalled
	}
	c.req, c.conn = req, conn
	for _, b := range req.batches {
		b.claim.claimed = !b.claim.ended
	}
	return nil
}

// endWrite says that the write is over. Of a request that the connection has taken nobody may look at the batches any more:
// they may be answered. Those of one of which nothing was written are passed, and may be ended again.
func (c *claims) endWrite(untouched ...*Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.req, c.conn = nil, nil
	for _, b := range untouched {
		b.claim.claimed = false
	}
}

// write state of a batch in flight.
type writeState uint8

const (
	notWritten   writeState = iota // and now it will not be
	beingWritten                   // at this moment
	written                        // as far as anybody knows
)

// end ends a batch in flight if it is not written yet. Requests are told apart by their address, though they are used
// again: the loop composes the next one when the network goroutine is free, which is after endWrite.
func (c *claims) end(b *Batch) writeState {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !b.claim.claimed:
		b.claim.ended = true
		return notWritten
	case c.req != nil && c.req == b.req:
		b.claim.ended = true // so that it is not tried again, should it come to nothing
		return beingWritten
	}
	return written
}

// sever ends the write that is under way, and with it the connection; with a batch, only if it is that one's.
func (c *claims) sever(of *Batch, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && (of == nil || c.req == of.req) {
		c.conn.Sever(cause)
	}
}
