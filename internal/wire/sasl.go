package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// session is when a login ends. Its zero value is for a login without an end.
type session struct {
	renew time.Time // when to log in again, over another connection
	over  time.Time // when to write nothing more
}

// authenticate lets a sarama.Broker do the SASL exchange over nc, so that every mechanism of sarama's works here. It takes
// Net.DialTimeout at most, whatever the broker and the user's code do.
//
// The Broker gets the connection from a proxy dialer. It reads through a buffer, but swallows no byte of ours: it reads
// only while a request of its own is open, and brokers send nothing else. After the exchange the Broker is closed, which
// ends its receiver. The tap between them keeps the connection open.
func (d *Dialer) authenticate(callers context.Context, p peer, v versions, fromBroker bool, m *connMetrics) (session, error) {
	nc, addr := p.Conn, p.addr
	ctx, cancel := d.withDialTimeout(callers)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	// After version 0 of the handshake come bare tokens, which have no lifetime to read.
	bare := d.conf.Net.SASL.Version == sarama.SASLHandshakeV0 && d.conf.Net.SASL.Mechanism != sarama.SASLTypeOAuth
	tap := &saslTap{Conn: nc, metrics: m, bare: bare, framed: beginsWithHandshake(d.conf), plain: !d.conf.Net.TLS.Enable}
	tap.answered = func(request string, version int16, size int64, took time.Duration) {
		d.logDialRequest(p.id, addr, request, version, size, took, nil)
	}
	guard := &loginGuard{ctx: ctx, dialer: d}
	conf := d.saslConfig(tap, guard, v, fromBroker)
	mechanism := string(conf.Net.SASL.Mechanism)

	broker := sarama.NewBroker(addr)
	if err := broker.Open(conf); err != nil {
		return session{}, fmt.Errorf("SASL settings for broker %s: %w", addr, err)
	}
	result := make(chan error, 1)
	go func() {
		// Waits for the exchange. The end of ctx closes the socket, which ends the exchange.
		connected, err := broker.Connected()
		if connected {
			tap.released.Store(true)
			_ = broker.Close()
		} else if err == nil {
			err = sarama.ErrNotConnected
		}
		conf.MetricRegistry.UnregisterAll() // Stops its meters.
		result <- err
	}()
	var err error
	select {
	case err = <-result:
	case <-ctx.Done():
	}
	switch {
	case callers.Err() != nil:
		return session{}, flow.ContextError(callers)
	case ctx.Err() != nil:
		return session{}, fmt.Errorf("login at broker %s with %s: %s: %w", addr, mechanism, guard.late(d.conf.Net.DialTimeout),
			flow.External(os.ErrDeadlineExceeded))
	case err == nil && !bare && !tap.accepted:
		// The user's code has panicked on the Broker's goroutine, and sarama.PanicHandler has it.
		err = errors.New("it ended before the broker accepted it, see sarama.PanicHandler")
	}
	if err != nil {
		err = authFailure(addr, mechanism, tap.refusal(err), bare)
		if refused, ok := errors.AsType[*AuthError](err); ok {
			refused.token = guard.token
		}
		return session{}, err
	}
	if !stop() {
		return session{}, flow.ContextError(ctx)
	}
	return tap.session(rand.Float64()), nil
}

// beginsWithHandshake tells whether sarama's Broker sends a handshake before bare tokens.
func beginsWithHandshake(conf *sarama.Config) bool {
	switch conf.Net.SASL.Mechanism {
	case sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512:
		return true
	case sarama.SASLTypeGSSAPI:
		return false
	}
	return conf.Net.SASL.Handshake
}

// saslConfig is a configuration with which a sarama.Broker only authenticates over tap. fromBroker: the broker itself named
// the versions v.
func (d *Dialer) saslConfig(tap net.Conn, guard *loginGuard, v versions, fromBroker bool) *sarama.Config {
	conf := sarama.NewConfig()
	conf.ClientID = d.conf.ClientID
	conf.Net.SASL = d.conf.Net.SASL
	guard.wrap(conf)
	conf.Net.ReadTimeout, conf.Net.WriteTimeout = d.conf.Net.ReadTimeout, d.conf.Net.WriteTimeout
	conf.Net.MaxOpenRequests = 1
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = connected{tap}
	conf.ApiVersionsRequest = false
	conf.MetricRegistry = metrics.NewRegistry()
	conf.Version = configuredRelease(d.conf)
	if fromBroker {
		// sarama derives SaslAuthenticate's version from the cluster's. Choose one that gives a version which the broker has.
		conf.Version = sarama.V1_0_0_0
		switch version, _ := v.highest(keySASLAuthenticate, 2); version {
		case 2:
			conf.Version = sarama.V2_5_0_0
		case 1:
			conf.Version = sarama.V2_2_0_0
		}
	}
	return conf
}

// authFailure separates refused logins and those that failed on our side (AuthError) from network errors, and from a refusal
// for the rate of logins, which is an answer of the moment. After bare tokens the end of the connection is a refusal.
func authFailure(addr, mechanism string, err error, bare bool) error {
	var network net.Error
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe)
	closed := ended || errors.Is(err, syscall.ECONNRESET)
	switch {
	case refusedForRate(err):
		return fmt.Errorf("broker %s takes no more logins at the moment: %w (%v)", addr,
			flow.External(sarama.ErrThrottlingQuotaExceeded), shown(err))
	case ended && bare:
		return &AuthError{Addr: addr, Mechanism: mechanism, Refused: true,
			Err: fmt.Errorf("connection closed after the SASL token: %w", flow.External(err))}
	case closed, errors.As(err, &network), errors.Is(err, net.ErrClosed), errors.Is(err, ErrMalformedAnswer):
		return fmt.Errorf("login at broker %s with %s: %w", addr, mechanism, flow.External(err))
	}
	refused := errors.Is(err, sarama.ErrSASLAuthenticationFailed) || errors.Is(err, sarama.ErrUnsupportedSASLMechanism) ||
		errors.Is(err, sarama.ErrIllegalSASLState)
	return &AuthError{Addr: addr, Mechanism: mechanism, Refused: refused, Err: flow.External(shown(err))}
}

// shown is err with a text that is fit for logs: it may be a broker's.
func shown(err error) error {
	if text := flow.BrokerText(err.Error()); text != err.Error() {
		return &shownError{text, err}
	}
	return err
}

type shownError struct {
	text string
	error
}

func (e *shownError) Error() string { return e.text }

func (e *shownError) Unwrap() error { return e.error }

// refusedForRate tells whether a login was refused because there are too many at the moment. Amazon MSK says so with
// SASL_AUTHENTICATION_FAILED, the code of a wrong password, and the text "[id]: Too many connects".
func refusedForRate(err error) bool {
	return errors.Is(err, sarama.ErrThrottlingQuotaExceeded) ||
		errors.Is(err, sarama.ErrSASLAuthenticationFailed) && strings.Contains(strings.ToLower(err.Error()), "too many connect")
}

// connected is a proxy.Dialer that returns a connection which is open already.
type connected struct{ net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }
