package sink

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// readBuffer is large enough that a full batch takes few reads, and small enough to stay in the cache.
	readBuffer = 256 << 10
	// maxRequest bounds what a length prefix may claim: Kafka's own bound, socket.request.max.bytes.
	maxRequest = 100 << 20
	// maxOther bounds a request that is read into memory: all but Produce, whose records are skipped.
	maxOther = 4 << 20
	// maxWaiting bounds the answers that wait for their delay; clients keep far fewer requests open.
	maxWaiting = 1024
)

// connection reads requests and answers them in order. One goroutine owns it; with a delay a second one, answers,
// owns the writing.
type connection struct {
	broker *Broker
	conn   net.Conn
	frame  frame
	answer []byte // reused, where no delay keeps it

	// waiting goes from the reader to the delayer; nil without a delay. The reader closes it, and gone before it.
	waiting chan delayed
	gone    chan struct{}
}

// delayed is an answer and the time at which it is due.
type delayed struct {
	due    time.Time
	answer []byte
}

func newConnection(b *Broker, conn net.Conn) *connection {
	return &connection{broker: b, conn: conn, frame: frame{r: bufio.NewReaderSize(conn, readBuffer)}}
}

// run serves requests until the client goes, Close closes the connection, or a request makes no sense.
func (c *connection) run() error {
	if c.broker.config.Delay > 0 {
		c.waiting, c.gone = make(chan delayed, maxWaiting), make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.answerLate()
		}()
		defer func() {
			close(c.gone)
			close(c.waiting)
			<-done
		}()
	}
	for {
		err := c.request()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		default:
			return fmt.Errorf("sink: request from %v: %w", c.conn.RemoteAddr(), err)
		}
	}
}

// answerLate is the delayer. It ends when the reader has gone, and drops what cannot be written any more.
func (c *connection) answerLate() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := range c.waiting {
		timer.Reset(time.Until(next.due))
		select {
		case <-timer.C:
		case <-c.gone:
			continue
		}
		if _, err := c.conn.Write(next.answer); err != nil {
			c.conn.Close() // the reader ends with it
		}
	}
}

// request reads one request and answers it. io.EOF means that the client closed the connection between two.
func (c *connection) request() error {
	f := &c.frame
	f.left, f.err = 4, nil
	size := int(f.int32())
	if f.err != nil {
		return f.err
	}
	if size < 8 || size > maxRequest {
		return fmt.Errorf("length prefix %d", size)
	}
	f.left = size
	key, version, correlation := f.int16(), f.int16(), f.int32()
	if key == int16(kmsg.Produce) {
		return noEOF(c.produce(version, correlation, size))
	}
	request := kmsg.RequestForKey(key)
	if request == nil {
		return fmt.Errorf("unknown request key %d", key)
	}
	request.SetVersion(version)
	if n := f.length(false, false); n > 0 {
		f.skip(n) // the client id
	}
	if f.left > maxOther {
		return fmt.Errorf("%s of %d bytes", kmsg.NameForKey(key), f.left)
	}
	f.tags(request.IsFlexible() && version <= request.MaxVersion())
	body := f.rest()
	if f.err != nil {
		return noEOF(f.err)
	}
	response, err := c.broker.answer(request, body)
	if err != nil {
		return fmt.Errorf("%s v%d: %w", kmsg.NameForKey(key), version, err)
	}
	out := c.begin(correlation, response.IsFlexible() && key != int16(kmsg.ApiVersions))
	return c.send(response.AppendTo(out))
}

// begin starts an answer: room for its length, and its header, with tags where the response is flexible.
func (c *connection) begin(correlation int32, tags bool) []byte {
	out := c.answer[:0]
	if c.waiting != nil {
		out = nil
	}
	out = append(out, 0, 0, 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(correlation))
	if tags {
		out = append(out, 0)
	}
	return out
}

// send writes an answer, or leaves it to the delayer.
func (c *connection) send(out []byte) error {
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	if c.waiting != nil {
		c.waiting <- delayed{due: time.Now().Add(c.broker.config.Delay), answer: out}
		return nil
	}
	c.answer = out
	_, err := c.conn.Write(out)
	return err
}

// noEOF tells the end of the stream inside a request from the one between two.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
