package wire

import (
	"context"
	"fmt"
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
// the answer may come before the write call returns. An error means that the connection was dead already. A failed write
// is reported by the reader, after the requests that were sent before.
func (c *Conn) writeOpen(o openRequest) error {
	o.correlationID, o.sent = c.correlationID, time.Now()
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return c.cause // Never changes once it is set
	}
	c.open.push(o)
	c.writing = true
	c.mu.Unlock()

	c.correlationID++
	written, err := c.write(o.sent)
	if o.produce != nil {
		o.produce.Written = written > 0
	}
	c.metrics.requested(o.key, written)
	if err != nil {
		c.die(fmt.Errorf("writing to broker %s: %w", c.addr, flow.External(err)))
	}

	c.mu.Lock()
	c.writing = false
	if c.open.len() == 1 {
		c.armReadDeadline(time.Now())
	}
	c.wrote.Signal()
	c.mu.Unlock()
	return nil
}

// writeUnanswered writes the frame of a request with acks 0. failed is its outcome: nil, or the cause of the connection's
// death. err means that the connection was dead already.
func (c *Conn) writeUnanswered(r *ProduceRequest) (failed, err error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	c.correlationID++
	sent := time.Now()
	written, err := c.write(sent)
	r.Written = written > 0
	c.metrics.requested(keyProduce, written)
	c.metrics.unanswered(time.Since(sent))
	if err != nil {
		c.die(fmt.Errorf("writing to broker %s: %w", c.addr, flow.External(err)))
		r.Answers, r.Nodes = r.Answers[:0], r.Nodes[:0]
		return c.Err(), nil
	}
	r.fillUnanswered()
	return nil, nil
}

// write writes the frame and returns how many bytes of it may have left.
func (c *Conn) write(now time.Time) (int64, error) {
	if c.writeTimeout > 0 {
		if err := c.nc.SetWriteDeadline(now.Add(c.writeTimeout)); err != nil {
			return 0, err
		}
	}
	if c.count == nil {
		return c.frame.writeTo(c.nc)
	}
	// TLS counts the bytes that it was given, not those that left.
	before := c.count.written.Load()
	_, err := c.frame.writeTo(c.nc)
	return c.count.written.Load() - before, err
}
