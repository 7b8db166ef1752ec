package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// authenticate lets a sarama.Broker do the SASL exchange over nc, so that every mechanism of sarama's works here. It
// returns when to replace the session, zero for never.
//
// The Broker gets the connection from a proxy dialer. It reads through a buffer, but swallows no byte of ours: it reads
// only while a request of its own is open, and brokers send nothing else. After the exchange the Broker is closed, which
// ends its receiver. The tap between them keeps the connection open.
func (d *Dialer) authenticate(ctx context.Context, nc net.Conn, addr string, v versions, fromBroker bool, m *connMetrics) (time.Time, error) {
	tap := &saslTap{Conn: nc, metrics: m}
	conf := d.saslConfig(tap, v, fromBroker)
	// After version 0 of the handshake come bare tokens, which have no lifetime to read.
	bare := conf.Net.SASL.Version == sarama.SASLHandshakeV0 && conf.Net.SASL.Mechanism != sarama.SASLTypeOAuth
	tap.passive = bare

	broker := sarama.NewBroker(addr)
	if err := broker.Open(conf); err != nil {
		return time.Time{}, fmt.Errorf("SASL settings for broker %s: %w", addr, err)
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
	// A token provider may never return. It is left behind, and the exchange fails when it does: the socket is closed.
	var late <-chan time.Time
	patience := d.conf.Net.DialTimeout + d.conf.Net.ReadTimeout
	if d.conf.Net.DialTimeout > 0 && d.conf.Net.ReadTimeout > 0 {
		late = time.After(patience)
	}
	select {
	case err := <-result:
		if err != nil {
			return time.Time{}, authFailure(addr, tap.refusal(err), bare)
		}
		return tap.expires(time.Now()), nil
	case <-ctx.Done():
		return time.Time{}, flow.ContextError(ctx)
	case <-late:
		return time.Time{}, fmt.Errorf("authenticating at broker %s: nothing for %v, the sum of Net.DialTimeout and Net.ReadTimeout: %w",
			addr, patience, flow.External(os.ErrDeadlineExceeded))
	}
}

// saslConfig is a configuration with which a sarama.Broker only authenticates over tap. fromBroker: the broker itself named
// the versions v.
func (d *Dialer) saslConfig(tap net.Conn, v versions, fromBroker bool) *sarama.Config {
	conf := sarama.NewConfig()
	conf.ClientID = d.conf.ClientID
	conf.Net.SASL = d.conf.Net.SASL
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

// authFailure separates refused credentials (AuthError) from network errors, and from a refusal for the rate of logins,
// which is an answer of the moment. After bare tokens, a closed connection
// may be a refusal.
func authFailure(addr string, err error, bare bool) error {
	var network net.Error
	closed := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET)
	switch {
	case refusedForRate(err):
		return fmt.Errorf("broker %s takes no more logins at the moment: %w (%v)", addr,
			flow.External(sarama.ErrThrottlingQuotaExceeded), err)
	case closed && bare:
		return &AuthError{Addr: addr, Err: fmt.Errorf("connection closed after the SASL token: %w", flow.External(err))}
	case closed, errors.As(err, &network), errors.Is(err, net.ErrClosed):
		return fmt.Errorf("authenticating at broker %s: %w", addr, flow.External(err))
	}
	return &AuthError{Addr: addr, Err: flow.External(err)}
}

// refusedForRate tells whether a login was refused because there are too many at the moment. Amazon MSK says so with
// SASL_AUTHENTICATION_FAILED, the code of a wrong password, and the text "[id]: Too many connects".
func refusedForRate(err error) bool {
	return errors.Is(err, sarama.ErrThrottlingQuotaExceeded) ||
		errors.Is(err, sarama.ErrSASLAuthenticationFailed) && strings.Contains(strings.ToLower(err.Error()), "too many connect")
}

// connected is a proxy.Dialer that returns a connection which is open already.
type connected struct{ net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

// saslTap lies between the connection and the sarama.Broker that authenticates. It reads the session's lifetime from the
// answers to SaslAuthenticate as they pass (KIP-368), since sarama does not export it. It keeps the connection open when
// the Broker is closed. The Broker's writes and reads alternate, with a channel operation between them, so the fields need
// no lock.
type saslTap struct {
	net.Conn
	released atomic.Bool // The connection no longer belongs to the Broker
	passive  bool        // Read nothing from the answers
	metrics  *connMetrics

	key, version  int16 // Of the open request
	correlationID int32
	answer        []byte // As far as it has arrived
	lifetime      time.Duration
	code          int16  // Of the last answer
	message       string // With it
}

// Write reads the header of the request: sarama writes each with one call.
func (t *saslTap) Write(p []byte) (int, error) {
	if !t.passive && len(p) >= 12 {
		t.key = int16(binary.BigEndian.Uint16(p[4:]))
		t.version = int16(binary.BigEndian.Uint16(p[6:]))
		t.correlationID = int32(binary.BigEndian.Uint32(p[8:]))
		t.answer = t.answer[:0]
		t.metrics.protocol(t.key)
	}
	return t.Conn.Write(p)
}

func (t *saslTap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if !t.passive && t.key == keySASLAuthenticate {
		t.answer = append(t.answer, p[:n]...)
		t.readAnswer()
	}
	return n, err
}

// readAnswer takes the lifetime from a complete answer. sarama refuses answers that make no sense.
func (t *saslTap) readAnswer() {
	if len(t.answer) < 8 {
		return
	}
	size := int64(int32(binary.BigEndian.Uint32(t.answer)))
	if size < 4 || int64(len(t.answer)) < 4+size || int32(binary.BigEndian.Uint32(t.answer[4:])) != t.correlationID {
		return
	}
	body := t.answer[8 : 4+size]
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	resp.Version = t.version
	if resp.IsFlexible() {
		var ok bool
		if body, ok = skipHeaderTags(body); !ok {
			return
		}
	}
	if resp.ReadFrom(body) != nil {
		return
	}
	t.code = resp.ErrorCode
	if resp.ErrorMessage != nil {
		t.message = *resp.ErrorMessage
	}
	if resp.ErrorCode == 0 {
		t.lifetime = time.Duration(resp.SessionLifetimeMillis) * time.Millisecond
	}
}

// refusal makes errors.As find the sarama.KError of a refused login in err, which is from sarama's Broker.
func (t *saslTap) refusal(err error) error {
	code := sarama.KError(t.code)
	if t.code == 0 || !errors.Is(err, code) || t.message == "" {
		return err
	}
	return fmt.Errorf("%w: %s", code, t.message)
}

// expires is after 85 to 95 % of the lifetime, as in Kafka's own client.
func (t *saslTap) expires(now time.Time) time.Time {
	if t.lifetime <= 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(float64(t.lifetime) * (0.85 + 0.1*rand.Float64())))
}

func (t *saslTap) Close() error {
	if t.released.Load() {
		return nil
	}
	return t.Conn.Close()
}
