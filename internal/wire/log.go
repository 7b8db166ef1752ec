package wire

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What is logged about connections.

// wellKnown are the brokers that were logged as connected, and nothing bad since: another connection to one of them is
// ConnectedAgain. All methods may be called concurrently.
type wellKnown struct {
	mu      sync.Mutex
	brokers map[string][]int32 // ids, by address: a seed's connection does not hide the broker's own
}

// mostWellKnown bounds the addresses that are kept.
const mostWellKnown = 1000

// add returns whether the broker is new.
func (w *wellKnown) add(id int32, addr string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Contains(w.brokers[addr], id) {
		return false
	}
	if w.brokers == nil || len(w.brokers) >= mostWellKnown {
		w.brokers = make(map[string][]int32)
	}
	w.brokers[addr] = append(w.brokers[addr], id)
	return true
}

func (w *wellKnown) remove(addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.brokers, addr)
}

// logDialled logs how a dial has ended, after so many failures in a row. One that its caller gave up is not logged.
func (d *Dialer) logDialled(ctx context.Context, c *Conn, brokerID int32, addr string, began time.Time, failed dialFailures, err error) {
	if d.Log == nil || err != nil && givenUp(ctx, began) {
		return
	}
	e, key := flow.NotConnected, addr
	switch _, login := errors.AsType[*AuthError](err); {
	case err == nil && d.wellKnown.add(brokerID, addr):
		e, key = flow.Connected, brokerName(brokerID, addr)
	case err == nil:
		if e = flow.ConnectedAgain; !d.Log.Debugs() {
			d.logToken()
			return
		}
	case login, refusedLogin(err):
		e = flow.LoginFailed
	}
	if err != nil {
		d.wellKnown.remove(addr)
	} else {
		d.logToken()
	}
	attrs := []slog.Attr{flow.BrokerAttr(brokerID), slog.String("addr", addr)}
	if failed.count > 0 && err == nil {
		attrs = append(attrs, slog.Int("failures", failed.count), slog.Duration("after", flow.Ago(failed.since)))
	}
	if d.conf.Net.SASL.Enable {
		attrs = append(attrs, slog.String("mechanism", string(d.conf.Net.SASL.Mechanism)))
	}
	if c != nil {
		attrs = append(attrs, slog.Bool("tls", c.count != nil))
	}
	if attrs = append(attrs, slog.Duration("took", time.Since(began)), flow.Cause(err)); e == flow.ConnectedAgain {
		d.Log.Always(e, attrs...)
	} else {
		d.Log.Event(e, key, attrs...)
	}
}

// logFiles logs that TLS files have changed, or why they are not taken.
func (c *Conn) logFiles(changed bool, bad error) {
	if changed {
		c.log.Event(flow.FilesChanged, "", slog.String("addr", c.addr))
	}
	if bad != nil {
		c.log.Event(flow.FilesNotTaken, "", flow.Cause(bad))
	}
}

// logToken logs that a login was made with an old token, as there is no new one.
func (d *Dialer) logToken() {
	provider, ok := d.conf.Net.SASL.TokenProvider.(interface{ LastError() error })
	if !ok || d.Log == nil {
		return
	}
	if err := provider.LastError(); err != nil {
		d.Log.Event(flow.TokenNotRenewed, "", flow.Cause(err))
	}
}

// givenUp returns whether a failed dial was ended by its caller, too early to say anything about the broker.
func givenUp(ctx context.Context, began time.Time) bool {
	return ctx.Err() != nil && time.Since(began) < longestDialPause
}

// logAssumed logs that a broker has not said which versions it has.
func (d *Dialer) logAssumed(addr string, cause error) {
	d.Log.Event(flow.VersionsAssumed, addr, slog.String("addr", addr),
		slog.String("version", configuredRelease(d.conf).String()), flow.Cause(cause))
}

// logLost logs a dead connection that was not closed from our side.
func (c *Conn) logLost() {
	c.mu.Lock()
	cause, open := c.cause, c.open.len()
	c.mu.Unlock()
	if !errors.Is(cause, ErrConnClosed) {
		c.wellKnown.remove(c.addr)
		c.log.Event(flow.ConnectionLost, c.addr, flow.BrokerAttr(c.brokerID), slog.String("addr", c.addr),
			slog.Int("open_requests", open), flow.Cause(cause))
	}
}

// logAnswered logs a request, if the handler wants the debug level. batches is of Produce.
func (c *Conn) logAnswered(key, version int16, batches int, size int64, took, throttle time.Duration) {
	if !c.log.Debugs() {
		return
	}
	attrs := requestAttrs(c.brokerID, c.addr, kmsg.NameForKey(key), version, took)
	attrs = append(attrs, slog.Int64("answer_bytes", size))
	if key == keyProduce {
		attrs = append(attrs, slog.Int("batches", batches))
	}
	if throttle > 0 {
		attrs = append(attrs, slog.Duration("throttle", throttle))
	}
	c.log.Always(flow.RequestAnswered, attrs...)
}

// logUnanswered logs a request that was lost with its connection.
func (c *Conn) logUnanswered(o *openRequest) {
	if c.log.Debugs() {
		c.log.Always(flow.RequestLost,
			append(requestAttrs(c.brokerID, c.addr, kmsg.NameForKey(o.key), o.version, time.Since(o.sent)), flow.Cause(c.cause))...)
	}
}

// logDialRequest logs a request that is sent before there is a Conn.
func (d *Dialer) logDialRequest(brokerID int32, addr, request string, version int16, size int64, took time.Duration, err error) {
	if !d.Log.Debugs() {
		return
	}
	attrs := requestAttrs(brokerID, addr, request, version, took)
	if err != nil {
		d.Log.Always(flow.RequestLost, append(attrs, flow.Cause(err))...)
		return
	}
	d.Log.Always(flow.RequestAnswered, append(attrs, slog.Int64("answer_bytes", size))...)
}

func requestAttrs(brokerID int32, addr, request string, version int16, took time.Duration) []slog.Attr {
	attrs := []slog.Attr{flow.BrokerAttr(brokerID), slog.String("addr", addr), slog.String("request", request)}
	if version >= 0 {
		attrs = append(attrs, slog.Int("version", int(version)))
	}
	return append(attrs, slog.Duration("took", took))
}
