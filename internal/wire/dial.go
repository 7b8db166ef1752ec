package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/net/proxy"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/tlsfiles"
)

// Dialer opens connections. It may be used concurrently, and never writes to its configuration.
type Dialer struct {
	// MaxIdle is how long a connection may be open with nothing under way. Then it is closed, with ErrIdle. 0 is for ever. It
	// must be set before the first dial.
	MaxIdle time.Duration
	// Log may be nil. It must be set before the first dial.
	Log *flow.Log
	// Dialled is told of each connection that a dial has made, before the dial returns it. It may be nil, must be set before the
	// first dial, and must not block.
	Dialled func(brokerID int32, c *Conn)
	// Stats may be nil. It must be set before the first dial.
	Stats *stats.Producer

	conf            *sarama.Config
	maxOpenRequests int
	configured      func() versions // By conf.Version, for brokers that are not asked or do not answer
	noApiVersions   noApiVersions
	pacing          pacing
	dials           flow.Activities // by address
	answered        atomic.Bool     // Some broker has answered ApiVersions
	tokenCalls      atomic.Int32    // of Net.SASL.TokenProvider that have not returned
	features        features
	wellKnown       wellKnown    // for the log
	longestThrottle atomic.Int64 // a time.Duration, see TakeLongestThrottle
}

// NewDialer returns a Dialer whose connections have up to maxOpenRequests produce requests open, at least 1.
func NewDialer(conf *sarama.Config, maxOpenRequests int) *Dialer {
	return &Dialer{
		conf:            conf,
		maxOpenRequests: max(maxOpenRequests, 1),
		pacing:          pacing{brokers: make(map[string]*pace)},
		configured:      sync.OnceValue(func() versions { return versionsFor(configuredRelease(conf)) }),
	}
}

// Dial connects to a broker, in these steps:
//
//   - the connection, directly or through conf.Net.Proxy, within conf.Net.DialTimeout
//   - TLS, within the same time again
//   - ApiVersions, unless conf.ApiVersionsRequest is off
//   - SASL; or, if the broker did not answer ApiVersions while others do, a Metadata request that shows whether it is one
//
// After a failed dial to an address, Dial waits before the next one to it, whoever dials: 50 ms, doubling to 1 s. DialNow
// fails meanwhile.
//
// A broker id of -1 is for bootstrap connections. They have no metrics of their own and need no version of Produce.
//
// A broker that closes the connection on ApiVersions, or is silent for conf.Net.ReadTimeout, is dialled once more and not
// asked. Its versions are then those of conf.Version, or of 0.11 if that is older. It is asked again after an hour, or
// once such a connection fails before its first answer.
//
// With transactions it is not dialled without being asked: every broker that has transactions answers, and what was assumed
// could not be what a transaction of version 2 needs.
//
// The login takes Net.DialTimeout at most. A token of OAUTHBEARER that is refused is tried once more with a fresh one.
//
// Dial fails with a *VersionError if the broker has no usable version of Produce, with an *AuthError if the login
// failed, and with the context's cause if ctx ends.
func (d *Dialer) Dial(ctx context.Context, brokerID int32, addr string) (*Conn, error) {
	return d.dialPaced(ctx, brokerID, addr, false)
}

// DialNow is Dial for callers that can ask another broker, or count their tries: during the pause after a failed dial it
// fails with the error of that dial. After a refused login it waits, as Dial does.
func (d *Dialer) DialNow(ctx context.Context, brokerID int32, addr string) (*Conn, error) {
	return d.dialPaced(ctx, brokerID, addr, true)
}

func (d *Dialer) dialPaced(ctx context.Context, brokerID int32, addr string, share bool) (*Conn, error) {
	if err := d.pacing.wait(ctx, addr, share); err != nil {
		return nil, err
	}
	ctx, steps := d.beginDial(ctx, brokerID, addr)
	defer steps.End()
	recorder := d.Stats.Broker(brokerID, addr)
	began := time.Now()
	c, err := d.dial(ctx, brokerID, addr)
	if ctx.Err() == nil && d.tokenRefused(err) {
		// It may have been withdrawn before its end, or the broker has new keys. A fresh one is tried once.
		d.Log.Printf("sluice: %v: trying again with a fresh token\n", err)
		d.Log.Event(flow.LoginRepeated, addr, flow.BrokerAttr(brokerID), slog.String("addr", addr), flow.Cause(err))
		c, err = d.dial(ctx, brokerID, addr)
	}
	failed := d.pacing.dialled(ctx, addr, began, err)
	d.logDialled(ctx, c, brokerID, addr, began, failed, err)
	if err != nil && !givenUp(ctx, began) {
		recorder.DialFailed()
	}
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("dialling broker %s: %w", addr, flow.ContextError(ctx))
	}
	if err == nil && d.Dialled != nil {
		d.Dialled(brokerID, c)
	}
	return c, err
}

func (d *Dialer) dial(ctx context.Context, brokerID int32, addr string) (*Conn, error) {
	ask := d.conf.ApiVersionsRequest && !d.noApiVersions.has(addr, time.Now())
	c, err := d.open(ctx, brokerID, addr, ask)
	var unanswered *unansweredError
	if !errors.As(err, &unanswered) || ctx.Err() != nil || d.conf.Producer.Transaction.ID != "" {
		return c, err
	}
	d.Log.Printf("sluice: %v: dialling again without ApiVersions, for Kafka %v\n", err, configuredRelease(d.conf))
	d.logAssumed(addr, err)
	d.noApiVersions.add(addr, time.Now())
	c, again := d.open(ctx, brokerID, addr, false)
	if again != nil {
		d.noApiVersions.remove(addr)
		return nil, fmt.Errorf("%w; without ApiVersions: %w", err, again)
	}
	return c, nil
}

// peer is a broker that is connected, before there is a Conn.
type peer struct {
	net.Conn
	id   int32
	addr string
}

// open makes one connection. ask says whether to ask the broker for its versions.
func (d *Dialer) open(ctx context.Context, brokerID int32, addr string, ask bool) (_ *Conn, err error) {
	step(ctx, diallingStep)
	dialled, err := d.connect(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to broker %s: %w", addr, flow.External(err))
	}
	// Until Dial returns, the end of ctx closes the connection, and every Read and Write below fails.
	stop := context.AfterFunc(ctx, func() { dialled.Close() })
	defer func() {
		if err != nil {
			stop()
			dialled.Close()
		}
	}()

	nc, socket := dialled, dialled
	var filesChanged func() (bool, error)
	if d.conf.Net.TLS.Enable {
		step(ctx, "TLS handshake with %s")
		counted := &countingConn{Conn: dialled}
		if nc, filesChanged, err = d.handshake(ctx, counted, addr); err != nil {
			return nil, fmt.Errorf("TLS handshake with broker %s%s: %w", addr, plainPortHint(err), flow.External(shown(err)))
		}
		socket = counted
	}
	step(ctx, "asking %s for its versions")
	m := newConnMetrics(d.conf.MetricRegistry, brokerID)
	m.stats = d.Stats.Broker(brokerID, addr)
	peer := peer{nc, brokerID, addr}
	v, fromBroker, err := d.brokerVersions(peer, ask, m)
	if err != nil {
		return nil, err
	}
	if highest, ok := v.highest(keyProduce, produceTopicID); brokerID >= 0 && (!ok || highest < produceMin) {
		return nil, v.mismatch(addr, keyProduce, produceMin, produceTopicID)
	}
	ends, err := d.authenticateOrProbe(ctx, peer, v, fromBroker, m)
	if err != nil {
		if !fromBroker {
			d.noApiVersions.remove(addr)
		}
		return nil, err
	}
	if err = nc.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("connecting to broker %s: %w", addr, flow.External(err))
	}
	if !stop() {
		return nil, flow.ContextError(ctx)
	}
	c := newConn(nc, socket, addr, d, v, ends, m)
	c.brokerID = brokerID
	c.fromBroker, c.filesChanged = fromBroker, filesChanged
	if !fromBroker {
		c.onUnanswered = func() { d.noApiVersions.remove(addr) }
	}
	c.touch()
	m.stats.Opened()
	go c.read()
	return c, nil
}

// authenticateOrProbe authenticates, and returns when that ends.
//
// If other brokers answer ApiVersions and this one did not, it may be frozen, or cut off behind a proxy. It must answer
// another request before any message is written to it.
func (d *Dialer) authenticateOrProbe(ctx context.Context, p peer, v versions, fromBroker bool, m *connMetrics) (session, error) {
	if d.conf.Net.SASL.Enable {
		step(ctx, "logging in at %s with "+string(d.conf.Net.SASL.Mechanism))
		return d.authenticate(ctx, p, v, fromBroker, m)
	}
	if d.conf.ApiVersionsRequest && !fromBroker && d.answered.Load() {
		step(ctx, "asking %s for metadata")
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{} // Brokers alone
		req.Version, _ = v.highest(keyMetadata, req.MaxVersion())
		body, err := d.roundTrip(p, req, m, int(sarama.MaxResponseSize))
		if err == nil && req.IsFlexible() {
			body, _ = skipHeaderTags(body)
		}
		if err == nil {
			_, err = ReadMetadata(req, body)
		}
		if err != nil {
			return session{}, fmt.Errorf("asking broker %s for metadata: %w", p.addr, err)
		}
	}
	return session{}, nil
}

// connect opens the socket.
func (d *Dialer) connect(callers context.Context, addr string) (_ net.Conn, err error) {
	ctx, cancel := d.withDialTimeout(callers)
	defer cancel()
	defer func() { err = timeoutOf("dial", err, callers) }()
	if !d.conf.Net.Proxy.Enable {
		dialer := net.Dialer{KeepAlive: d.conf.Net.KeepAlive, LocalAddr: d.conf.Net.LocalAddr}
		return dialer.DialContext(ctx, "tcp", addr)
	}
	if d.conf.Net.Proxy.Dialer == nil {
		return nil, errors.New("Net.Proxy.Enable without a Net.Proxy.Dialer")
	}
	nc, err := dialProxy(ctx, d.conf.Net.Proxy.Dialer, addr)
	if err == nil && nc == nil {
		err = errors.New("Net.Proxy.Dialer returned no connection")
	}
	return nc, err
}

// dialProxy dials through a proxy. If ctx ends, a dialer that knows no contexts, or ignores them, is left behind, and its
// connection is closed when it returns. If it panics, it has failed.
func dialProxy(ctx context.Context, dialer proxy.Dialer, addr string) (net.Conn, error) {
	type result struct {
		nc  net.Conn
		err error
	}
	dialled := make(chan result)
	go func() {
		nc, err := net.Conn(nil), errDialerPanicked
		flow.Guard(func() {
			if d, ok := dialer.(proxy.ContextDialer); ok {
				nc, err = d.DialContext(ctx, "tcp", addr)
			} else {
				nc, err = dialer.Dial("tcp", addr)
			}
		})
		select {
		case dialled <- result{nc, err}:
		case <-ctx.Done():
			if err == nil && nc != nil { // with an error it may be anything
				nc.Close()
			}
		}
	}()
	select {
	case r := <-dialled:
		return r.nc, r.err
	case <-ctx.Done():
		return nil, flow.ContextError(ctx)
	}
}

var errDialerPanicked = errors.New("Net.Proxy.Dialer panicked, see sarama.PanicHandler")

func (d *Dialer) withDialTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.conf.Net.DialTimeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d.conf.Net.DialTimeout)
}

// timeoutOf turns the end of a step's own context, which is Net.DialTimeout, into the network's time-out that it is.
// Otherwise it would look like the end of the caller's context.
func timeoutOf(step string, err error, callers context.Context) error {
	if _, already := errors.AsType[*net.OpError](err); already || callers.Err() != nil ||
		!errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &net.OpError{Op: step, Net: "tcp", Err: os.ErrDeadlineExceeded}
}

// handshake begins TLS. filesChanged is as in Conn.
func (d *Dialer) handshake(ctx context.Context, socket net.Conn, addr string) (nc *tls.Conn, filesChanged func() (bool, error), err error) {
	conf := d.conf.Net.TLS.Config.Clone() // nil if it was nil
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if conf.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, nil, err
		}
		conf.ServerName = host
	}
	filesChanged = tlsfiles.Use(conf)
	limited, cancel := d.withDialTimeout(ctx)
	defer cancel()
	nc = tls.Client(socket, conf)
	return nc, filesChanged, timeoutOf("TLS handshake", nc.HandshakeContext(limited), ctx)
}

// plainPortHint says what a failed TLS handshake may mean: Kafka closes a connection without TLS on the first bytes of it.
func plainPortHint(err error) string {
	if noTLS, ok := errors.AsType[tls.RecordHeaderError](err); ok && noTLS.Conn != nil {
		return ": the broker does not speak TLS at this port, and Net.TLS.Enable is on"
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return ": it closed the connection, maybe this port has no TLS"
	}
	return ""
}

// readFrame reads an answer of at most longest bytes, without its correlation id.
func readFrame(nc net.Conn, correlationID int32, longest int) ([]byte, error) {
	var header [8]byte
	_, err := io.ReadFull(nc, header[:])
	if _, overTLS := nc.(*tls.Conn); !overTLS && isTLSRecord(header[:]) {
		return nil, tlsPortError(err)
	}
	if err != nil {
		return nil, err
	}
	size, got := int32(binary.BigEndian.Uint32(header[:])), int32(binary.BigEndian.Uint32(header[4:]))
	if longest = min(longest, int(sarama.MaxResponseSize)); size < 4 || int(size) > longest {
		return nil, fmt.Errorf("%w: length %d, at most %d", ErrMalformedAnswer, size, longest)
	}
	if got != correlationID {
		return nil, fmt.Errorf("%w: correlation id %d in place of %d", ErrUnexpectedAnswer, got, correlationID)
	}
	return readLarge(func(p []byte) error {
		_, err := io.ReadFull(nc, p)
		return err
	}, int(size)-4)
}

const modulePath = "github.com/sluice-kafka/sluice"

// SoftwareVersion is the version that brokers are told (KIP-511).
func SoftwareVersion() string { return softwareVersion() }

// softwareVersion is this module's version as the program was built with it.
var softwareVersion = sync.OnceValue(func() string {
	version := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == modulePath {
				version = m.Version
			}
		}
	}
	return cleanVersion(version)
})

// cleanVersion keeps what KIP-511 allows in a version: letters, digits, '-' and '.', no '-' or '.' at either end.
func cleanVersion(version string) string {
	version = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		case r == '+':
			return '-'
		}
		return -1
	}, version)
	if version = strings.Trim(version, "-."); version == "" {
		return "unknown"
	}
	return version
}
