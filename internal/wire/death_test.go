package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestIdleCloseByBroker(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 5)
	if c.Err() != nil {
		t.Fatal(c.Err())
	}
	broker.nc.Close()
	<-c.Done()
	mustError(t, c.Err(), io.EOF)
	if !strings.Contains(c.Err().Error(), "fake:9092") {
		t.Errorf("%v does not name the broker", c.Err())
	}
	r := newRequest(nil, partition("a", 0, []byte("x")))
	mustError(t, c.Produce(t.Context(), r), io.EOF)
	if r.Written {
		t.Error("Written")
	}
	_, err := c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest())
	mustError(t, err, io.EOF)
}

// A port with SASL closes the connection on the first request. With acks 0 no answer ever comes, and a close says nothing.
func TestLoginHint(t *testing.T) {
	for name, line := range map[string]struct {
		acks int16
		hint bool
	}{
		"first request":         {-1, true},
		"nothing awaits answer": {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, broker := connectTCP(t, testConfig(), 5)
			c.fromBroker = true // the reader looks at it after the close
			outcomes := make(chan outcome, 1)
			r := newRequest(outcomes, partition("a", 0, []byte("x")))
			r.Acks = line.acks
			mustProduce(t, c, r)
			broker.next()
			broker.nc.Close()
			<-c.Done()
			mustError(t, c.Err(), io.EOF)
			if hint := strings.Contains(c.Err().Error(), "Net.SASL.Enable is off"); hint != line.hint {
				t.Error(c.Err())
			}
		})
	}
}

// TestDeathFailsOpenRequestsInOrder, however the connection dies.
func TestDeathFailsOpenRequestsInOrder(t *testing.T) {
	huge := make([]byte, 8)
	huge[0] = 0x7f
	for name, test := range map[string]struct {
		kill func(*Conn, *fakeBroker)
		want error
	}{
		"closed by broker": {func(_ *Conn, b *fakeBroker) { b.nc.Close() }, io.EOF},
		"closed by us":     {func(c *Conn, _ *fakeBroker) { c.Close() }, ErrConnClosed},
		"inside an answer": {func(_ *Conn, b *fakeBroker) {
			answer := appendAnswer(nil, 0, &kmsg.ProduceResponse{Version: 10})
			b.write(answer[:len(answer)-1])
			b.nc.Close()
		}, io.ErrUnexpectedEOF},
		"answer out of order": {func(_ *Conn, b *fakeBroker) { b.reply(1, &kmsg.ProduceResponse{Version: 10}) }, ErrUnexpectedAnswer},
		"malformed answer": {func(_ *Conn, b *fakeBroker) {
			b.write([]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 99, 99, 99})
		}, ErrMalformedAnswer},
		"malformed header": {func(_ *Conn, b *fakeBroker) {
			b.write([]byte{0, 0, 0, 6, 0, 0, 0, 0, 99, 99})
		}, ErrMalformedAnswer},
		"length too large": {func(_ *Conn, b *fakeBroker) { b.write(huge) }, ErrMalformedAnswer},
		"length too small": {func(_ *Conn, b *fakeBroker) { b.write(make([]byte, 8)) }, ErrMalformedAnswer},
		"socket breaks":    {func(c *Conn, _ *fakeBroker) { c.socket.Close() }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			conf := testConfig()
			c, broker := connectTCP(t, conf, 5)
			outcomes := make(chan outcome, 3)
			result := make(chan error, 1)
			for i := range 3 {
				r := newRequest(outcomes, partition("a", int32(i), []byte("x")))
				mustProduce(t, c, r)
				broker.next()
			}
			go func() {
				_, err := c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest())
				result <- err
			}()
			broker.next()
			test.kill(c, broker)
			for i := range 3 {
				o := <-outcomes
				mustError(t, o.err, test.want)
				if o.r.Partitions[0].Partition != int32(i) || !o.r.Written || len(o.r.Answers) != 0 {
					t.Errorf("outcome %d is of partition %d, written %v", i, o.r.Partitions[0].Partition, o.r.Written)
				}
			}
			mustError(t, <-result, test.want)
			<-c.Done()
			mustError(t, c.Err(), test.want)
			if n := conf.MetricRegistry.Get("requests-in-flight").(interface{ Count() int64 }).Count(); n != 0 {
				t.Errorf("%d requests in flight", n)
			}
		})
	}
}

func TestUnsolicitedAnswer(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 5)
	broker.reply(0, &kmsg.ProduceResponse{Version: 10})
	<-c.Done()
	mustError(t, c.Err(), ErrUnexpectedAnswer)
}

// TestCloseConcurrentSafe: many goroutines call Close while requests are sent. Each request that was taken has one outcome.
func TestCloseConcurrentSafe(t *testing.T) {
	c, broker := connectTCP(t, testConfig(), 3)
	go func() {
		for {
			got, err := broker.receive()
			if err != nil {
				return
			}
			p := appendAnswer(nil, got.correlationID, answerTo(got.body))
			if _, err := broker.nc.Write(p); err != nil {
				return
			}
		}
	}()
	var requests, closers sync.WaitGroup
	outcomes := make(chan outcome, 10_000)
	taken := 0
	answered := make(chan struct{}, 1)
	requests.Go(func() {
		for taken < cap(outcomes) {
			r := newRequest(outcomes, partition("a", 0, []byte("x")))
			if err := c.Produce(context.Background(), r); err != nil {
				mustError(t, err, ErrConnClosed)
				return
			}
			taken++
		}
	})
	for range 3 {
		requests.Go(func() {
			for {
				if _, err := c.Metadata(context.Background(), kmsg.NewPtrMetadataRequest()); err != nil {
					mustError(t, err, ErrConnClosed)
					return
				}
				select {
				case answered <- struct{}{}:
				default:
				}
			}
		})
	}
	<-answered
	for range 3 {
		closers.Go(func() { c.Close() })
	}
	closers.Wait()
	requests.Wait()
	if len(outcomes) != taken {
		t.Errorf("%d outcomes of %d requests", len(outcomes), taken)
	}
}

func answerTo(body kmsg.Request) kmsg.Response {
	if _, ok := body.(*kmsg.ProduceRequest); ok {
		return accepted(body)
	}
	return body.ResponseKind()
}

// TestCutOff: a broker closes the connection while a request is being written. It can't have acted on the part that it
// got, so the request is not taken.
func TestCutOff(t *testing.T) {
	for _, acks := range []int16{0, -1} {
		c, broker := connectTCP(t, testConfig(), 1)
		outcomes := make(chan outcome, 1)
		go func() {
			broker.nc.Read(make([]byte, 100))
			broker.nc.Close()
		}()
		r := newRequest(outcomes, partition("a", 0, make([]byte, 24<<20))) // More than a socket buffers
		r.Acks = acks
		mustError(t, c.Produce(t.Context(), r), ErrCutOff)
		<-c.Done()
		if r.Written || len(outcomes) != 0 {
			t.Errorf("written %v, %d outcomes", r.Written, len(outcomes))
		}
	}
}

// TestNotWritten: nor is a request taken by a connection that can no longer write.
func TestNotWritten(t *testing.T) {
	for _, acks := range []int16{0, -1} {
		c, _ := connect(t, testConfig(), 1)
		c.nc = failingConn{c.nc}
		outcomes := make(chan outcome, 1)
		r := newRequest(outcomes, partition("a", 0, []byte("x")))
		r.Acks = acks
		mustError(t, c.Produce(t.Context(), r), errNotWritten)
		if <-c.Done(); r.Written || len(outcomes) != 0 {
			t.Errorf("written %v, %d outcomes", r.Written, len(outcomes))
		}
		mustError(t, c.Err(), errNotWritten)
	}
}

var errNotWritten = errors.New("not written")

type failingConn struct{ net.Conn }

func (failingConn) SetWriteDeadline(time.Time) error { return errNotWritten }
