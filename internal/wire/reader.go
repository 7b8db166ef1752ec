package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

const (
	readBuffer = 64 << 10
	// bodyStep is how much memory is taken for an answer before its bytes have arrived: the length may be wrong. A larger
	// buffer is not kept.
	bodyStep = 1 << 20
)

// read is the connection's goroutine. It hands out answers until the connection is dead, then fails the open requests.
func (c *Conn) read() {
	cause := c.readAnswers()
	if errors.Is(cause, ErrIdle) || c.takesLastAnswers() { // it is dead already
		c.socket.Close()
	}
	c.die(cause)
	c.logLost()
	if c.onUnanswered != nil && !c.anyAnswer && c.failed() {
		c.onUnanswered()
	}
	for {
		o, ok := c.nextFailed()
		if !ok {
			break
		}
		c.metrics.dropped()
		c.logUnanswered(&o)
		if o.call != nil {
			o.call.answer <- callAnswer{err: c.cause}
			continue
		}
		<-c.window
		o.produce.Answers, o.produce.Nodes = o.produce.Answers[:0], o.produce.Nodes[:0]
		o.produce.Done(o.produce, c.cause)
	}
	c.metrics.stats.Ended(!errors.Is(c.cause, ErrConnClosed))
	close(c.done)
}

// failed tells whether a dead connection failed, rather than being closed with nothing open.
func (c *Conn) failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open.len() > 0 || !errors.Is(c.cause, ErrConnClosed)
}

// nextFailed pops the oldest open request of a dead connection, once its write call has returned.
func (c *Conn) nextFailed() (openRequest, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open.len() == 0 {
		return openRequest{}, false
	}
	c.awaitWritten()
	if c.open.len() == 0 { // it was not written whole
		return openRequest{}, false
	}
	return c.open.pop(), true
}

// awaitWritten waits until the oldest open request has been written. Only the newest ever is being written.
func (c *Conn) awaitWritten() {
	for c.writing && c.open.len() == 1 {
		c.wrote.Wait()
	}
}

// readAnswers reads until the connection fails, and returns why.
func (c *Conn) readAnswers() error {
	for {
		size, correlationID, err := c.readHeader()
		if err != nil {
			return c.readError(err)
		}
		o, err := c.match(correlationID)
		if err != nil {
			return err
		}
		if err := o.checkSize(c.addr, size); err != nil {
			return err
		}
		body, err := c.readBody(size - 4)
		if err != nil {
			return c.readError(err)
		}
		if err := c.answer(o, body, int64(size)+4); err != nil {
			return err
		}
		c.anyAnswer = true
		if c.answeredLast() {
			return c.Err()
		}
		if cap(c.body) > bodyStep {
			c.body = nil
		}
	}
}

// readHeader reads an answer's length and correlation id.
func (c *Conn) readHeader() (size int, correlationID int32, err error) {
	err = c.fill(c.header[:])
	if !c.anyAnswer && c.count == nil && isTLSRecord(c.header[:]) {
		return 0, 0, tlsPortError(err)
	}
	if err != nil {
		return 0, 0, err
	}
	size = int(int32(binary.BigEndian.Uint32(c.header[:4])))
	if size < 4 || size > int(sarama.MaxResponseSize) {
		return 0, 0, fmt.Errorf("%w: length %d, sarama.MaxResponseSize is %d", ErrMalformedAnswer, size, sarama.MaxResponseSize)
	}
	return size, int32(binary.BigEndian.Uint32(c.header[4:])), nil
}

// readBody reads n bytes, which stay valid until the next call, unless the caller sets c.body to nil.
func (c *Conn) readBody(n int) ([]byte, error) {
	if n > bodyStep {
		body, err := readLarge(c.fill, n)
		c.body = body
		return body, err
	}
	c.body = slices.Grow(c.body[:0], n)[:n]
	return c.body, cutShort(c.fill(c.body))
}

// readLarge reads n bytes. Memory for all of them is taken once a quarter has arrived: what a broker claims and does not
// send costs four times what it has sent.
func readLarge(fill func([]byte) error, n int) ([]byte, error) {
	var parts [][]byte
	for have := 0; n > bodyStep && have < n/4; {
		part := make([]byte, min(bodyStep, n-have))
		if err := fill(part); err != nil {
			return nil, cutShort(err)
		}
		parts = append(parts, part)
		have += len(part)
	}
	body := make([]byte, n)
	rest := body
	for _, part := range parts {
		rest = rest[copy(rest, part):]
	}
	return body, cutShort(fill(rest))
}

// cutShort is the error of an answer that ends too early.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// match returns the oldest open request, to which the next answer must belong: brokers answer in order. It waits until that
// has been written: if it is cut off, its caller has it back, and nothing may be read into it any more.
func (c *Conn) match(correlationID int32) (openRequest, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open.len() == 0 {
		return openRequest{}, fmt.Errorf("%w from broker %s: correlation id %d, but no request is open",
			ErrUnexpectedAnswer, c.addr, correlationID)
	}
	o := c.open.first()
	if o.correlationID != correlationID {
		return openRequest{}, fmt.Errorf("%w from broker %s: correlation id %d, but the oldest open request has %d",
			ErrUnexpectedAnswer, c.addr, correlationID, o.correlationID)
	}
	if c.awaitWritten(); c.open.len() == 0 {
		return openRequest{}, c.cause // answered before it was written whole
	}
	return o, nil
}

// answer pops o, the oldest open request, and hands it its answer. An error means that the connection is dead; then o stays
// open.
func (c *Conn) answer(o openRequest, body []byte, size int64) error {
	if o.call != nil && o.call.flexible || o.produce != nil && o.version >= produceFlexible {
		var ok bool
		if body, ok = skipHeaderTags(body); !ok {
			return fmt.Errorf("%w from broker %s: header of %d bytes", ErrMalformedAnswer, c.addr, size)
		}
	}
	var throttle time.Duration
	if o.produce != nil {
		var err error
		if throttle, err = c.answers.decode(o.produce, o.version, body); err != nil {
			return fmt.Errorf("broker %s: %w", c.addr, err)
		}
	}

	now := time.Now()
	c.mu.Lock()
	if c.cause != nil && !c.lastAnswers {
		c.mu.Unlock()
		return c.cause
	}
	c.open.pop()
	c.lastUsed, c.lastAnswered = now, now
	if o.version >= 6 { // Older versions: Kafka answers late instead (KIP-219)
		c.throttle(throttle, now)
	}
	if !c.lastAnswers {
		c.armReadDeadline(now)
	}
	c.mu.Unlock()

	c.metrics.answered(size, now.Sub(o.sent))
	if o.produce != nil {
		o.produce.Latency = now.Sub(o.sent)
	}
	if c.log != nil {
		batches := 0
		if o.produce != nil {
			batches = len(o.produce.Partitions)
		}
		c.logAnswered(o.key, o.version, batches, size, now.Sub(o.sent), throttle)
	}
	if o.call != nil {
		if len(body) < 4<<10 {
			body = slices.Clone(body)
		} else {
			c.body = nil // it is the caller's now
		}
		o.call.answer <- callAnswer{body: body}
		return nil
	}
	<-c.window
	o.produce.Done(o.produce, nil)
	return nil
}

// answeredLast tells whether a connection whose write has failed has the answers to all earlier requests.
func (c *Conn) answeredLast() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastAnswers && c.open.len() == 0
}

func skipHeaderTags(body []byte) ([]byte, bool) {
	d := decoder{src: body, flexible: true}
	d.tags(nil)
	return d.src, !d.bad
}

// throttle pauses writes (KIP-219), and the read deadline with them. Called with mu held.
func (c *Conn) throttle(d time.Duration, now time.Time) {
	if d <= 0 {
		return
	}
	c.metrics.throttled(d)
	c.dialer.throttled(d)
	if until := now.Add(d); until.After(c.throttledUntil) && !c.lastAnswers {
		c.throttledUntil = until
		c.armReadDeadline(now)
	}
}

func (c *Conn) readError(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("broker %s closed the connection%s: %w", c.addr, c.loginHint(), flow.External(err))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("broker %s has not answered within %v: %w", c.addr, c.readTimeout, flow.External(err))
	}
	return fmt.Errorf("reading from broker %s: %w", c.addr, flow.External(err))
}

// loginHint says what it may mean that the first request was not answered: Kafka's ports with SASL tell their versions to anyone,
// and close the connection on all else.
func (c *Conn) loginHint() string {
	if c.fromBroker && !c.loggedIn && !c.anyAnswer && c.asked() {
		return " on the first request, maybe this port wants a login, and Net.SASL.Enable is off"
	}
	return ""
}

// asked tells whether an answer is due. With acks 0 there may never be one.
func (c *Conn) asked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open.len() > 0
}

// fillUnanswered fills in the answers of a request with acks 0.
func (r *ProduceRequest) fillUnanswered() {
	r.Answers = slices.Grow(r.Answers[:0], len(r.Partitions))[:len(r.Partitions)]
	for i := range r.Answers {
		r.Answers[i] = ProduceAnswer{BaseOffset: -1, AppendTime: -1, LeaderID: -1, LeaderEpoch: -1}
	}
	r.Nodes = r.Nodes[:0]
}
