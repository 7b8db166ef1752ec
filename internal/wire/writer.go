package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// acquire takes a place in one of the connection's semaphores, window or turn.
func (c *Conn) acquire(ctx context.Context, semaphore chan struct{}) error {
	select {
	case semaphore <- struct{}{}:
		return nil
	default:
	}
	select {
	case semaphore <- struct{}{}:
		return nil
	case <-c.dying:
		return c.Err()
	case <-ctx.Done():
		return c.waitError(ctx)
	}
}

func (c *Conn) waitError(ctx context.Context) error {
	return fmt.Errorf("waiting to send to broker %s: %w", c.addr, flow.ContextError(ctx))
}

// startWriting waits for the end of a throttle, then takes the turn.
func (c *Conn) startWriting(ctx context.Context) error {
	if ctx.Err() != nil {
		return c.waitError(ctx)
	}
	for {
		c.mu.Lock()
		until := c.throttledUntil
		c.mu.Unlock()
		if until.IsZero() {
			break
		}
		left := time.Until(until)
		if left <= 0 {
			break
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-c.dying:
			timer.Stop()
			return c.Err()
		case <-ctx.Done():
			timer.Stop()
			return c.waitError(ctx)
		}
	}
	return c.acquire(ctx, c.turn)
}

// writeOpen writes the frame of a request that will be answered. The request is open before its first byte leaves, since
// the answer may come before the write call returns. An error means that the connection was dead already, or died before it
// had taken the whole frame: then the request is not open any more, and the error wraps ErrCutOff.
func (c *Conn) writeOpen(o openRequest) error {
	o.correlationID, o.sent = c.correlationID, time.Now()
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return c.cause // Never changes once it is set
	}
	c.open.push(o)
	c.writing, c.lastUsed = true, o.sent
	c.mu.Unlock()
	if o.produce != nil && o.produce.OnWrite != nil {
		o.produce.OnWrite(o.produce, o.sent)
	}

	c.correlationID++
	written, whole, err := c.write()
	if o.produce != nil {
		o.produce.Written = whole
	}
	c.metrics.requested(o.key, written)

	c.mu.Lock()
	c.writing = false
	if !whole {
		c.open.dropLast()
	}
	if err != nil && c.cause == nil {
		c.takeLastAnswers(fmt.Errorf("writing to broker %s: %w", c.addr, flow.External(err)))
	}
	if !whole {
		c.wrote.Signal()
		c.mu.Unlock()
		c.metrics.dropped()
		return c.cutOff()
	}
	if c.open.len() == 1 {
		c.armReadDeadline(time.Now())
	}
	c.wrote.Signal()
	c.mu.Unlock()
	return nil
}

// forLastAnswers is how long answers are read after a failed write.
const forLastAnswers = time.Second

// takeLastAnswers lets the reader go on after a failed write. A broker that closes the connection may have answered earlier
// requests just before: these answers have arrived, and tell that messages were written. Called with mu held.
func (c *Conn) takeLastAnswers(cause error) {
	c.cause, c.lastAnswers = cause, true
	close(c.dying)
	deadline := time.Now()
	if c.open.len() > 0 {
		deadline = deadline.Add(forLastAnswers)
	}
	_ = c.nc.SetReadDeadline(deadline)
}

// cutOff is the error of a request that the dead connection has not taken whole.
func (c *Conn) cutOff() error { return fmt.Errorf("%w (%w)", c.Err(), ErrCutOff) }

// writeUnanswered writes the frame of a request with acks 0. failed is its outcome: nil, or the cause of the connection's
// death. err is as for writeOpen.
func (c *Conn) writeUnanswered(r *ProduceRequest) (failed, err error) {
	sent := time.Now()
	if err := c.beginUnanswered(sent); err != nil {
		return nil, err
	}
	defer c.endUnanswered()
	if r.OnWrite != nil {
		r.OnWrite(r, sent)
	}
	c.correlationID++
	written, whole, err := c.write()
	r.Written = whole
	c.metrics.requested(keyProduce, written)
	c.metrics.unanswered(time.Since(sent))
	if err != nil {
		c.die(fmt.Errorf("writing to broker %s: %w", c.addr, flow.External(err)))
		if !whole {
			return nil, c.cutOff()
		}
		r.Answers, r.Nodes = r.Answers[:0], r.Nodes[:0]
		return c.Err(), nil
	}
	r.fillUnanswered()
	if c.log != nil {
		c.logAnswered(keyProduce, c.produce.max, len(r.Partitions), 0, time.Since(sent), 0)
	}
	return nil, nil
}

// write writes the frame. It returns how many bytes of it may have left, and whether the socket has taken all of them: a
// broker can't act on a part. Under TLS the last record may be incomplete although bytes of it have left.
func (c *Conn) write() (written int64, whole bool, err error) {
	if c.count == nil {
		written, err = c.frame.writeTo(c.nc, c.armWriteDeadline)
		return written, written == int64(c.frame.size), err
	}
	// TLS counts the bytes that it was given, not those that left. countingConn sets the deadlines.
	before := c.count.written.Load()
	given, err := c.frame.writeTo(c.nc, func() error { return nil })
	return c.count.written.Load() - before, given == int64(c.frame.size), err
}

// armWriteDeadline gives the next write the write time-out. It is called again while bytes move.
func (c *Conn) armWriteDeadline() error { return setTimeout(c.nc.SetWriteDeadline, c.writeTimeout) }

// isTimeout tells whether a deadline ended a read or a write.
func isTimeout(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout()
}
