package wire

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// How long the reader waits: the read timeout for an answer, MaxIdle if none is due. So an idle connection needs no timer.

// armReadDeadline gives the oldest open request the read timeout from now on, or from the end of a throttle. If nothing is
// open, MaxIdle counts from then. There is no deadline while the only request is being written. Called with mu held.
func (c *Conn) armReadDeadline(now time.Time) {
	timeout := c.readTimeout
	switch {
	case c.open.len() == 0:
		timeout = c.maxIdle
	case c.writing && c.open.len() == 1:
		timeout = 0
	}
	c.readDeadline = time.Time{}
	if timeout > 0 {
		if c.throttledUntil.After(now) {
			now = c.throttledUntil
		}
		c.readDeadline = now.Add(timeout)
	}
	// This fails only on a closed connection, which the reader notices itself.
	_ = c.nc.SetReadDeadline(c.readDeadline)
}

// touch begins the idle time anew.
func (c *Conn) touch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastUsed = time.Now()
	c.armReadDeadline(c.lastUsed)
}

// beginUnanswered says that a request with acks 0 is about to be written, unless the connection is dead. It leaves the
// deadline alone: setting it costs more than waking the reader once in MaxIdle.
func (c *Conn) beginUnanswered(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.unanswered, c.lastUsed = true, now
	}
	return c.cause
}

func (c *Conn) endUnanswered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unanswered, c.lastUsed = false, time.Now()
}

// fill is io.ReadFull of the connection, but for time-outs that no longer count.
func (c *Conn) fill(p []byte) error {
	for n := 0; n < len(p); {
		m, err := c.reader.Read(p[n:])
		n += m
		switch {
		case n == len(p) || err == nil:
		case isTimeout(err):
			if err := c.expired(err); err != nil {
				return err
			}
		case errors.Is(err, io.EOF) && n > 0:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
	return nil
}

// expired is called when a read has ended at a deadline. It returns nil if that deadline does not count any more. A
// connection that has been idle for MaxIdle dies here: under the lock, so that no request can begin meanwhile.
func (c *Conn) expired(timeout error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case c.cause != nil:
		return timeout
	case c.open.len() == 0 && !c.unanswered:
		c.armReadDeadline(c.lastUsed)
	case c.open.len() == 0 || c.writing && c.open.len() == 1:
		c.armReadDeadline(now)
	}
	switch {
	case c.readDeadline.IsZero() || now.Before(c.readDeadline):
		return nil
	case c.open.len() > 0:
		return timeout
	}
	c.cause = fmt.Errorf("broker %s: %w", c.addr, ErrIdle)
	close(c.dying)
	return c.cause
}
