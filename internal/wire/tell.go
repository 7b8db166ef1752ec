package wire

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What the log is told of connections.

// tellDialled tells how a dial has ended. That it was cut short says nothing.
func (d *Dialer) tellDialled(ctx context.Context, c *Conn, brokerID int32, addr string, began time.Time, err error) {
	if d.Log == nil || err != nil && givenUp(ctx, began) {
		return
	}
	e, key := flow.NotConnected, addr
	switch _, login := errors.AsType[*AuthError](err); {
	case err == nil:
		e, key = flow.Connected, brokerName(brokerID, addr) // a seed's connection does not hide the broker's own
	case login, refusedLogin(err):
		e = flow.LoginFailed
	}
	attrs := []slog.Attr{flow.BrokerAttr(brokerID), slog.String("addr", addr)}
	if d.conf.Net.SASL.Enable {
		attrs = append(attrs, slog.String("mechanism", string(d.conf.Net.SASL.Mechanism)))
	}
	if c != nil {
		attrs = append(attrs, slog.Bool("tls", c.count != nil))
	}
	d.Log.Event(e, key, append(attrs, slog.Duration("took", time.Since(began)), flow.Cause(err))...)
}

// givenUp tells whether a dial that has failed was ended by its caller before it could say anything about the broker.
func givenUp(ctx context.Context, began time.Time) bool {
	return ctx.Err() != nil && time.Since(began) < longestDialPause
}

// tellAssumed tells that a broker has not said which versions it has.
func (d *Dialer) tellAssumed(addr string, cause error) {
	d.Log.Event(flow.VersionsAssumed, addr, slog.String("addr", addr),
		slog.String("version", configuredRelease(d.conf).String()), flow.Cause(cause))
}

// tellLost tells of a dead connection that was not closed from our side.
func (c *Conn) tellLost() {
	c.mu.Lock()
	cause, open := c.cause, c.open.len()
	c.mu.Unlock()
	if !errors.Is(cause, ErrConnClosed) {
		c.log.Event(flow.ConnectionLost, c.addr, flow.BrokerAttr(c.brokerID), slog.String("addr", c.addr),
			slog.Int("open_requests", open), flow.Cause(cause))
	}
}

// tellAnswered tells of a request, if the user wants the debug level. batches is of Produce.
func (c *Conn) tellAnswered(key, version int16, batches int, size int64, took, throttle time.Duration) {
	if !c.log.Debugs() {
		return
	}
	attrs := []slog.Attr{
		flow.BrokerAttr(c.brokerID), slog.String("addr", c.addr), slog.String("request", kmsg.NameForKey(key)),
		slog.Int("version", int(version)), slog.Int64("answer_bytes", size), slog.Duration("took", took),
	}
	if key == keyProduce {
		attrs = append(attrs, slog.Int("batches", batches))
	}
	if throttle > 0 {
		attrs = append(attrs, slog.Duration("throttle", throttle))
	}
	c.log.Tell(flow.RequestAnswered, attrs...)
}
