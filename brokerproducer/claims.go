package brokerproducer

import (
	"sync"

	"github.com/sluice-kafka/sluice/internal/wire"
)

// claims settles between the loop and the network goroutine whether a batch in flight is written, or ended before that. It
// also says what is being written at this moment: a batch that borrows bytes of its messages can't end meanwhile, as with
// their outcomes the messages are their senders' again.
type claims struct {
	mu   sync.Mutex
	req  *request // that is being written, or nil
	conn *wire.Conn
}

// claim is the state of one batch, under the lock of claims. The loop resets it as it hands the batch over.
type claim struct {
	claimed bool // the network goroutine writes it, or has written it
	ended   bool // the loop has ended it before that: it is not written any more
}

// take claims what the loop has not ended of a request that is about to be written.
func (c *claims) take(req *request, conn *wire.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.req, c.conn = req, conn
	for _, b := range req.batches {
		b.claimed = !b.ended
	}
}

// written says that the request is the connection's. It may be answered by now, and used again.
func (c *claims) written() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.req, c.conn = nil, nil
}

// giveBack says that nothing of the request was written: its batches may be ended again.
func (c *claims) giveBack(req *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.req, c.conn = nil, nil
	for _, b := range req.batches {
		b.claimed = false
	}
}

// whereabouts of a batch in flight.
type whereabouts uint8

const (
	atHome     whereabouts = iota // not written, and now it will not be
	beingTaken                    // being written
	away                          // written, as far as anybody knows
)

// end ends a batch in flight if it is not written yet.
func (c *claims) end(b *Batch) whereabouts {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !b.claimed:
		b.ended = true
		return atHome
	case c.req != nil && c.req == b.req:
		return beingTaken
	}
	return away
}

// sever ends a write that is under way, and with it the connection.
func (c *claims) sever(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Sever(cause)
	}
}
