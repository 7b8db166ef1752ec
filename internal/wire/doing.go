package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What goes on at a broker, for the error of a message that expires meanwhile.

// Doing is the present step of the oldest dial to an address: "logging in at broker 2 (b:9092) with PLAIN for 12s". It wraps the
// error of the dial before, if that failed. It is nil without either.
func (d *Dialer) Doing(addr string) error {
	now, last := d.dials.Now(addr), d.pacing.lastError(addr)
	switch {
	case last == nil:
		return now
	case now == nil:
		return fmt.Errorf("waiting for the next dial: %w", last)
	}
	return fmt.Errorf("%w; the last dial failed: %w", now, last)
}

// Waits is what dials are at and, of addresses that none is under way to, why the last one failed.
func (d *Dialer) Waits() []flow.Wait {
	waits := d.dials.All()
	d.pacing.mu.Lock()
	defer d.pacing.mu.Unlock()
	for addr, b := range d.pacing.brokers {
		if what, _, _ := d.dials.First(addr); what == "" {
			waits = append(waits, flow.Wait{What: "dialling " + brokerName(-1, addr), Since: b.since, Err: b.err})
		}
	}
	return waits
}

// Wait is what a broker that is to be dialled waits for: what the dial under way is at, since the first one of those that
// failed in a row, and why the last one did. ok is false if no dial is under way and the last one did not fail.
func (d *Dialer) Wait(id int32, addr string) (w flow.Wait, ok bool) {
	what, _, since := d.dials.First(addr)
	w = flow.Wait{What: what, Since: since}
	d.pacing.mu.Lock()
	defer d.pacing.mu.Unlock()
	if b := d.pacing.brokers[addr]; b != nil {
		w.Since, w.Err = b.since, b.err
		if what == "" {
			w.What = "waiting for " + brokerName(id, addr)
		}
	}
	return w, w.What != ""
}

// Failing tells whether the last dial to an address failed.
func (d *Dialer) Failing(addr string) bool { return d.pacing.lastError(addr) != nil }

// lastError is why the last dial to an address failed; nil if it did not.
func (p *pacing) lastError(addr string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.brokers[addr]; b != nil {
		return b.err
	}
	return nil
}

// dialKey is the key of a dial's *dialSteps in its context: so the steps need not pass it on.
type dialKey struct{}

// dialSteps notes the steps of one dial.
type dialSteps struct {
	*flow.Activity
	broker string
}

const diallingStep = "dialling %s"

// beginDial notes that a dial begins. The steps have its context.
func (d *Dialer) beginDial(ctx context.Context, id int32, addr string) (context.Context, *dialSteps) {
	broker := brokerName(id, addr)
	s := &dialSteps{d.dials.Begin(addr, fmt.Sprintf(diallingStep, broker), nil), broker}
	return context.WithValue(ctx, dialKey{}, s), s
}

// step notes the next step of a dial. In what %s stands for the broker.
func step(ctx context.Context, what string) {
	if s, ok := ctx.Value(dialKey{}).(*dialSteps); ok {
		s.Next(strings.Replace(what, "%s", s.broker, 1), nil)
	}
}

// brokerName is how messages name a broker. The id of a bootstrap connection is -1.
func brokerName(id int32, addr string) string {
	if id < 0 {
		return "broker " + addr
	}
	return fmt.Sprintf("broker %d (%s)", id, addr)
}

// Unanswered is since when an answer is waited for: since the oldest open request was sent, or since the last answer. A broker
// that is slow answers one after the other. ok is false if no request is open.
func (c *Conn) Unanswered() (since time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil || c.open.len() == 0 {
		return time.Time{}, false
	}
	since = c.open.first().sent
	if c.lastAnswered.After(since) {
		since = c.lastAnswered
	}
	return since, true
}

// Oldest is when the oldest open request was sent, and how many are open; 0 if none is. With acks 0 a request is open while it is
// written.
func (c *Conn) Oldest() (sent time.Time, open int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil:
	case c.open.len() > 0:
		return c.open.first().sent, c.open.len()
	case c.unanswered:
		return c.lastUsed, 1
	}
	return time.Time{}, 0
}

// Doing is what the connection waits for, if anything: an answer, the socket, or the end of a throttle. broker is how to name
// the broker. It may be called concurrently.
func (c *Conn) Doing(broker string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return nil
	}
	var all []string
	switch {
	case c.writing && c.open.len() == 1:
		all = append(all, fmt.Sprintf("writing to %s for %v", broker, flow.Ago(c.open.first().sent)))
	case c.open.len() > 0:
		all = append(all, fmt.Sprintf("%s has not answered for %v", broker, flow.Ago(c.open.first().sent)))
	case c.unanswered:
		all = append(all, fmt.Sprintf("writing to %s for %v", broker, flow.Ago(c.lastUsed)))
	}
	if left := time.Until(c.throttledUntil); left > 0 {
		all = append(all, fmt.Sprintf("throttled by %s for another %v", broker, flow.Short(left)))
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}
