package wire

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/stats"
)

// Conn is an open connection to a broker. Produce and Drain are for one goroutine. Everything else may be called
// concurrently.
type Conn struct {
	// Set once.
	addr         string
	brokerID     int32     // -1: not known
	log          *flow.Log // may be nil
	wellKnown    *wellKnown
	clientID     string
	nc           net.Conn      // To read and write: the socket, or TLS over it
	socket       net.Conn      // To close: TLS would say goodbye first, and wait for a broker that does not read
	count        *countingConn // The socket below TLS, else nil
	versions     versions
	fromBroker   bool // The broker itself named the versions
	loggedIn     bool
	produce      versionRange // Common versions of Produce; max is -1 for none
	session      session
	filesChanged func() (bool, error) // Of tlsfiles.Use; nil: TLS is not from files
	readTimeout  time.Duration
	maxIdle      time.Duration // 0: for ever
	writeTimeout time.Duration
	metrics      *connMetrics
	dialer       *Dialer
	formatter    *kmsg.RequestFormatter
	// onUnanswered is called by the reader if the connection fails before its first answer. It may be nil.
	onUnanswered func()

	window chan struct{} // Holds an element for each produce request that is open or waits to be written
	turn   chan struct{} // Holds an element while somebody writes
	dying  chan struct{} // Closed when cause is set
	done   chan struct{} // Closed by the reader when it ends

	// For the reader goroutine only.
	reader    *bufio.Reader
	header    [8]byte
	body      []byte
	answers   answerDecoder
	anyAnswer bool // An answer has come

	// For whoever holds the turn.
	frame         frame
	correlationID int32

	mu             sync.Mutex // Guards what follows
	wrote          sync.Cond  // Signalled when writing becomes false; only the reader waits
	open           openQueue  // Unanswered requests in the order of writing; only the reader pops
	writing        bool       // The newest of the open requests is still being written
	throttledUntil time.Time
	readDeadline   time.Time // As the socket has it; zero: none
	lastUsed       time.Time // When a request was last written, or answered
	lastAnswered   time.Time // When a request was last answered
	unanswered     bool      // A request with acks 0 is being written
	cause          error     // Why the connection is dead; never changes once it is set
	lastAnswers    bool      // A write has failed; the reader takes the answers that are there
}

// call is a Request that waits for its answer. The channel has room for one, so that the reader never waits for a caller
// that has gone.
type call struct {
	flexible bool // The answer has header v1
	size     int  // Of the request
	longest  int  // Of the answer; 0: sarama.MaxResponseSize alone bounds it
	answer   chan callAnswer
}

type callAnswer struct {
	body []byte
	err  error
}

// newConn makes a connection of nc, which is authenticated already. The caller starts its reader.
func newConn(nc, socket net.Conn, addr string, d *Dialer, v versions, ends session, m *connMetrics) *Conn {
	c := &Conn{
		addr:         addr,
		brokerID:     -1,
		log:          d.Log,
		wellKnown:    &d.wellKnown,
		clientID:     d.conf.ClientID,
		nc:           nc,
		socket:       socket,
		versions:     v,
		loggedIn:     d.conf.Net.SASL.Enable,
		session:      ends,
		readTimeout:  d.conf.Net.ReadTimeout,
		writeTimeout: d.conf.Net.WriteTimeout,
		maxIdle:      max(d.MaxIdle, 0),
		metrics:      m,
		dialer:       d,
		window:       make(chan struct{}, d.maxOpenRequests),
		turn:         make(chan struct{}, 1),
		done:         make(chan struct{}),
		dying:        make(chan struct{}),
		reader:       bufio.NewReaderSize(nc, readBuffer),
		formatter:    kmsg.NewRequestFormatter(kmsg.FormatterClientID(d.conf.ClientID)),
	}
	if c.count, _ = socket.(*countingConn); c.count != nil {
		c.count.writeTimeout = c.writeTimeout
	}
	c.wrote.L = &c.mu
	c.produce = versionRange{min: -1, max: -1}
	if highest, ok := v.highest(keyProduce, produceTopicID); ok && highest >= produceMin {
		c.produce = versionRange{min: max(v[keyProduce].min, produceMin), max: highest}
	}
	return c
}

// Recorder counts for the broker; nil if nobody counts.
func (c *Conn) Recorder() *stats.Broker { return c.metrics.stats }

// Addr is the address that was dialled.
func (c *Conn) Addr() string { return c.addr }

// Supports tells whether the broker has named all of these requests in its answer to ApiVersions, in versions that are sent.
func (c *Conn) Supports(requests ...kmsg.Request) bool {
	for _, req := range requests {
		if _, ok := c.versions.highest(req.Key(), newest(req)); !ok || !c.fromBroker {
			return false
		}
	}
	return true
}

// RenewDue tells whether another connection should be dialled in place of this one: its SASL session ends soon (KIP-368), or
// the files of sluice.TLSFiles have changed. Until SessionOver it may still be used.
func (c *Conn) RenewDue() bool {
	if c.filesChanged != nil {
		changed, bad := c.filesChanged()
		if c.logFiles(changed, bad); changed {
			return true
		}
	}
	return !c.session.renew.IsZero() && !time.Now().Before(c.session.renew)
}

// SessionOver tells whether the SASL session is about to end, so that nothing should be sent any more.
func (c *Conn) SessionOver() bool {
	return !c.session.over.IsZero() && !time.Now().Before(c.session.over)
}

// Done is closed when the connection is dead and every open request has its outcome.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the connection died; nil while it lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Close ends the connection. Before it returns, open requests fail in order with an error that wraps ErrConnClosed. It may
// be called more than once, but not from a request's Done.
func (c *Conn) Close() error {
	c.die(fmt.Errorf("broker %s: %w", c.addr, ErrConnClosed))
	<-c.done
	return nil
}

// Sever is like Close but waits for nothing. Closing the socket may run the user's code, so that happens on a goroutine.
// Open requests fail with an error that wraps cause.
func (c *Conn) Sever(cause error) {
	if c.setCause(fmt.Errorf("broker %s: %w", c.addr, cause)) || c.takesLastAnswers() {
		go c.socket.Close()
	}
}

// die ends the connection. Only the first cause counts. Closing the socket ends a Read and a Write under way; the reader
// does the rest.
func (c *Conn) die(cause error) {
	if c.setCause(cause) || c.takesLastAnswers() {
		c.socket.Close()
	}
}

func (c *Conn) takesLastAnswers() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastAnswers
}

// setCause sets the cause of death, unless there is one. If it returns true, the caller must close the socket.
func (c *Conn) setCause(cause error) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return false
	}
	c.cause = cause
	close(c.dying)
	return true
}

// Produce sends r. It waits for a place in the window of open requests, for the end of a throttle (KIP-219) and for the
// socket.
//
// An error means that the request was not taken: the connection is dead, ctx ended, OnTurn returned an error, r cannot
// be sent to this broker, or the connection died before it had taken all of r (ErrCutOff). Then Done is not called and
// Written is false. Otherwise Done is called once. With acks 0 it is called within Produce.
func (c *Conn) Produce(ctx context.Context, r *ProduceRequest) error {
	r.Written = false
	answered := r.Acks != 0
	var failed error // Of a write with acks 0
	if answered {
		if err := c.acquire(ctx, c.window); err != nil {
			return err
		}
	}
	err := c.startWriting(ctx)
	if err == nil {
		var version int16
		if version, err = c.makeFrame(r); err == nil {
			if answered {
				err = c.writeOpen(openRequest{key: keyProduce, version: version, produce: r})
			} else {
				failed, err = c.writeUnanswered(r)
			}
		}
		c.frame.release()
		<-c.turn
	}
	switch {
	case err == nil && !answered:
		r.Done(r, failed)
	case err != nil && answered:
		<-c.window
	}
	return err
}

// Drain waits until no produce request is open. It returns an error if ctx ends or the connection dies first. Only the
// goroutine that calls Produce may call it.
func (c *Conn) Drain(ctx context.Context) error {
	taken := 0
	defer func() {
		for range taken {
			<-c.window
		}
	}()
	for range cap(c.window) { // with every place taken, nothing is open
		if err := c.acquire(ctx, c.window); err != nil {
			return err
		}
		taken++
	}
	return nil
}

// makeFrame calls OnTurn, checks r, and encodes it as the frame to write.
func (c *Conn) makeFrame(r *ProduceRequest) (version int16, err error) {
	if r.OnTurn != nil {
		if err := r.OnTurn(r); err != nil {
			return 0, err
		}
	}
	if err := r.check(); err != nil {
		return 0, err
	}
	if version, err = c.produceVersion(r); err != nil {
		return 0, err
	}
	return version, c.frame.encode(r, version, c.correlationID, c.clientID)
}

// MaxProduce is the highest version of Produce that both sides support, or -1.
func (c *Conn) MaxProduce() int16 { return c.produce.max }

// produceVersion picks the highest common version that suits r.
func (c *Conn) produceVersion(r *ProduceRequest) (int16, error) {
	lowest, highest := int16(produceMin), int16(produceTopicID)
	if r.TransactionalID != nil && r.TxnVersion >= 2 {
		lowest = produceTxn2
	}
	if r.TransactionalID != nil && r.TxnVersion < 2 {
		highest = produceTxn2 - 1
	} else if c.produce.max >= produceTopicID {
		for i := range r.Partitions {
			if r.Partitions[i].TopicID == ([16]byte{}) {
				highest = produceMaxTopicName
				break
			}
		}
	}
	version := min(c.produce.max, highest)
	if version < c.produce.min || version < lowest {
		return 0, c.versions.mismatch(c.addr, keyProduce, lowest, highest)
	}
	return version, nil
}

// Request sends a small request in the highest version that the broker supports and returns its answer. Check the answer's
// error codes. If ctx ends first, the answer is dropped when it comes. The request takes no place in the window.
//
// It is for the requests that readAnswer knows.
func (c *Conn) Request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	return c.RequestUpTo(ctx, req, newest(req))
}

// newest is the highest version of a request that is sent.
func newest(req kmsg.Request) int16 {
	ours := req.MaxVersion()
	if limit, ok := maxVersions[req.Key()]; ok {
		ours = min(ours, limit)
	}
	return ours
}

// RequestUpTo is Request with a limit on the version.
func (c *Conn) RequestUpTo(ctx context.Context, req kmsg.Request, ours int16) (kmsg.Response, error) {
	return c.RequestBetween(ctx, req, 0, ours)
}

// RequestBetween is Request with limits on the version. It fails with a *VersionError, and sends nothing, if the broker has none
// between them.
func (c *Conn) RequestBetween(ctx context.Context, req kmsg.Request, lowest, ours int16) (kmsg.Response, error) {
	if !readable(req) {
		return nil, fmt.Errorf("answers to %s are not read here", kmsg.NameForKey(req.Key()))
	}
	body, err := c.exchange(ctx, req, lowest, ours, true)
	if err != nil {
		return nil, err
	}
	resp, err := readAnswer(req, body)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", c.addr, err)
	}
	if t, ok := resp.(kmsg.ThrottleResponse); ok {
		if millis, after := t.Throttle(); after {
			c.pause(time.Duration(millis) * time.Millisecond)
		}
	}
	return resp, nil
}

// Metadata is Request for Metadata.
func (c *Conn) Metadata(ctx context.Context, req *kmsg.MetadataRequest) (*Metadata, error) {
	body, err := c.exchange(ctx, req, 0, newest(req), false)
	if err != nil {
		return nil, err
	}
	answer, err := ReadMetadata(req, body)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", c.addr, err)
	}
	if req.Version >= 6 { // Older versions: Kafka answers late instead (KIP-219)
		c.pause(answer.Throttle)
	}
	return answer, nil
}

// RequestUnchecked is Request for any kind of request. kmsg reads the answer, and takes memory by what it claims: so it is for
// commands at a terminal, and no producer uses it.
func (c *Conn) RequestUnchecked(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	body, err := c.exchange(ctx, req, 0, newest(req), false)
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%w from broker %s: %s v%d: %w", ErrMalformedAnswer, c.addr, kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return resp, nil
}

// exchange sends a request and returns its answer's body, which is the caller's. small says that the answer is about as long
// as the request: one that is much longer ends the connection.
func (c *Conn) exchange(ctx context.Context, req kmsg.Request, lowest, ours int16, small bool) ([]byte, error) {
	version, ok := c.versions.highest(req.Key(), min(ours, req.MaxVersion()))
	if !ok || version < lowest {
		return nil, c.versions.mismatch(c.addr, req.Key(), lowest, ours)
	}
	req.SetVersion(version)
	// The answer to ApiVersions has header v0 in all versions (KIP-511).
	waiting := &call{flexible: req.IsFlexible() && req.Key() != keyApiVersions, answer: make(chan callAnswer, 1)}

	if err := c.startWriting(ctx); err != nil {
		return nil, err
	}
	c.frame.reset()
	c.frame.scratch = c.formatter.AppendRequest(c.frame.scratch, req, c.correlationID)
	if waiting.size = len(c.frame.scratch); small {
		waiting.longest = longestAnswer(waiting.size)
	}
	err := c.frame.complete()
	if err == nil {
		err = c.writeOpen(openRequest{key: req.Key(), version: version, call: waiting})
	}
	<-c.turn
	if err != nil {
		return nil, err
	}

	select {
	case answer := <-waiting.answer:
		return answer.body, answer.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for broker %s to answer %s: %w",
			c.addr, kmsg.NameForKey(req.Key()), flow.ContextError(ctx))
	}
}

// pause pauses writes for the throttle of an answer.
func (c *Conn) pause(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.throttle(d, time.Now())
}

// countingConn counts the bytes written below TLS. TLS also writes while it reads (key updates, alerts). It sets the write
// deadlines too: TLS can't go on after a write time-out, so it must not see one that bytes which moved have extended.
type countingConn struct {
	net.Conn
	written      atomic.Int64
	writeTimeout time.Duration // 0 before newConn, and for none
}

func (c *countingConn) Write(p []byte) (n int, err error) {
	for {
		if err := setTimeout(c.Conn.SetWriteDeadline, c.writeTimeout); err != nil {
			return n, err
		}
		moved, err := c.Conn.Write(p[n:])
		c.written.Add(int64(moved))
		n += moved
		switch {
		case n == len(p):
			return n, nil // an error shows again at the next call
		case err == nil:
			return n, io.ErrShortWrite
		case moved == 0 || c.writeTimeout <= 0 || !isTimeout(err):
			return n, err
		}
	}
}
