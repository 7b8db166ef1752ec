package wire

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestWindow: with N requests open, the next waits for an answer or for its context.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 2)
		outcomes := make(chan outcome, 3)
		sent := make(chan error)
		go func() {
			for range 3 {
				sent <- c.Produce(context.Background(), newRequest(outcomes, partition("a", 0, []byte("x"))))
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			sent <- c.Produce(ctx, newRequest(outcomes, partition("a", 0, []byte("x"))))
		}()
		first := broker.next()
		<-sent
		broker.next()
		<-sent
		synctest.Wait()
		select {
		case err := <-sent:
			t.Fatalf("a third request in a window of two: %v", err)
		default:
		}
		broker.reply(first.correlationID, accepted(first.body))
		broker.next()
		<-sent
		if o := <-outcomes; o.err != nil {
			t.Error(o.err)
		}
		mustError(t, <-sent, context.DeadlineExceeded)
		c.Close()
		for range 2 {
			mustError(t, (<-outcomes).err, ErrConnClosed)
		}
	})
}

// TestDoneWaitsForWrite: the broker answers before the write call has returned. Done still waits for the write, since the
// caller reuses the frames then.
func TestDoneWaitsForWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 2)
		outcomes := make(chan outcome, 1)
		returned := make(chan struct{})
		go func() {
			mustProduce(t, c, newRequest(outcomes, partition("a", 0, make([]byte, 100))))
			close(returned)
		}()
		// One byte is missing: on a pipe the write waits for it to be read.
		var p [1]byte
		var request []byte
		for len(request) < 4 || len(request) < 3+int(request[3]) {
			if _, err := broker.nc.Read(p[:]); err != nil {
				t.Fatal(err)
			}
			request = append(request, p[0])
		}
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = 10
		broker.reply(0, resp)
		synctest.Wait()
		if len(outcomes) != 0 {
			t.Error("Done before the write has returned")
		}
		if _, err := broker.nc.Read(p[:]); err != nil {
			t.Fatal(err)
		}
		<-returned
		if o := <-outcomes; o.err != nil || !o.r.Answers[0].Missing {
			t.Errorf("outcome %+v, answers %+v", o, o.r.Answers)
		}
	})
}

func TestReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := testConfig()
		conf.Net.ReadTimeout = 10 * time.Second
		c, broker := connect(t, conf, 5)
		time.Sleep(time.Hour) // Idle: there is no deadline
		outcomes := make(chan outcome, 3)
		go func() {
			for range 3 {
				mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
			}
		}()
		first := broker.next()
		broker.next()
		broker.next()
		time.Sleep(9 * time.Second)
		broker.reply(first.correlationID, accepted(first.body)) // The read timeout starts anew
		if o := <-outcomes; o.err != nil {
			t.Fatal(o.err)
		}
		start := time.Now()
		for range 2 {
			o := <-outcomes
			mustError(t, o.err, os.ErrDeadlineExceeded)
			if !o.r.Written || len(o.r.Answers) != 0 {
				t.Errorf("written %v, answers %v", o.r.Written, o.r.Answers)
			}
		}
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("timed out after %v", waited)
		}
		<-c.Done()
		mustError(t, c.Err(), os.ErrDeadlineExceeded)
	})
}

// TestWriteTimeout: a broker that takes no byte for WriteTimeout is given up. The request that it has not taken whole was
// certainly not written.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := testConfig()
		conf.Net.WriteTimeout = 5 * time.Second
		c, broker := connect(t, conf, 5)
		outcomes := make(chan outcome, 2)
		cut := make(chan error)
		second := newRequest(outcomes, partition("a", 0, make([]byte, 1000)))
		go func() {
			mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
			cut <- c.Produce(t.Context(), second)
		}()
		broker.next()
		broker.nc.Read(make([]byte, 10)) // A part of the second request
		err := <-cut
		mustError(t, err, os.ErrDeadlineExceeded)
		mustError(t, err, ErrCutOff)
		if second.Written {
			t.Error("a request that was cut off counts as written")
		}
		o := <-outcomes
		mustError(t, o.err, os.ErrDeadlineExceeded)
		if !o.r.Written {
			t.Error("the first request was written")
		}
		<-c.Done()
		if len(outcomes) != 0 {
			t.Error("a request that was not taken has an outcome")
		}
	})
}

// TestSlowLink: a request takes as long as it takes, while bytes move, with and without TLS.
func TestSlowLink(t *testing.T) {
	cert, pool := selfSigned(t)
	now := time.Now() // in the bubble it is another year
	for name, over := range map[string]func(*sarama.Config, net.Conn) net.Conn{
		"plain": func(_ *sarama.Config, theirs net.Conn) net.Conn { return theirs },
		"TLS": func(conf *sarama.Config, theirs net.Conn) net.Conn {
			conf.Net.TLS.Enable = true
			conf.Net.TLS.Config = &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", Time: func() time.Time { return now }}
			return tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conf := testConfig()
				conf.Net.WriteTimeout = 2 * time.Second
				ours, theirs := net.Pipe()
				link := &slowLink{Conn: theirs}
				broker := newFakeBroker(t, over(conf, link))
				if server, ok := broker.nc.(*tls.Conn); ok {
					go server.Handshake()
				}
				c := connectOver(t, conf, 5, ours)
				link.slow.Store(true)
				start := time.Now()
				outcomes := make(chan outcome, 1)
				go mustProduce(t, c, newRequest(outcomes, partition("a", 0, make([]byte, 100_000))))
				got := broker.next()
				broker.reply(got.correlationID, accepted(got.body))
				if o := <-outcomes; o.err != nil {
					t.Error(o.err)
				}
				if took := time.Since(start); took < time.Minute {
					t.Errorf("the link was not slow: %v", took)
				}
			})
		})
	}
}

// slowLink takes 1,000 bytes a second.
type slowLink struct {
	net.Conn
	slow atomic.Bool
}

func (l *slowLink) Read(p []byte) (int, error) {
	if !l.slow.Load() {
		return l.Conn.Read(p)
	}
	time.Sleep(time.Second)
	return l.Conn.Read(p[:min(len(p), 1000)])
}

// TestThrottle: writes and the read timeout pause (KIP-219).
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := testConfig()
		conf.Net.ReadTimeout = 10 * time.Second
		c, broker := connect(t, conf, 5)
		outcomes := make(chan outcome, 3)
		go func() {
			for range 2 {
				mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
			}
		}()
		first, second := broker.next(), broker.next()
		resp := accepted(first.body)
		resp.ThrottleMillis = 60_000
		broker.reply(first.correlationID, resp)
		<-outcomes
		start := time.Now()

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		mustError(t, c.Produce(ctx, newRequest(outcomes, partition("a", 0, []byte("x")))), context.DeadlineExceeded)

		go mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
		time.Sleep(30 * time.Second) // Longer than the read timeout
		broker.reply(second.correlationID, accepted(second.body))
		if o := <-outcomes; o.err != nil {
			t.Fatalf("a throttled request timed out: %v", o.err)
		}
		third := broker.next()
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("written %v after the throttle", waited)
		}
		broker.reply(third.correlationID, accepted(third.body))
		if o := <-outcomes; o.err != nil {
			t.Fatal(o.err)
		}
		if n := conf.MetricRegistry.Get("throttle-time-in-ms-for-broker-1").(interface{ Max() int64 }).Max(); n != 60_000 {
			t.Errorf("throttle metric %d", n)
		}
	})
}

// TestThrottleEndsWithConnection: nobody waits for the throttle of a dead connection. Answers to Request throttle too.
func TestThrottleEndsWithConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 5)
		go func() {
			got := broker.next()
			resp := got.body.ResponseKind().(*kmsg.MetadataResponse)
			resp.ThrottleMillis = 60_000
			broker.reply(got.correlationID, resp)
		}()
		if _, err := c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest()); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() {
			result <- c.Produce(context.Background(), newRequest(nil, partition("a", 0, []byte("x"))))
		}()
		synctest.Wait()
		start := time.Now()
		c.Close()
		mustError(t, <-result, ErrConnClosed)
		if time.Since(start) != 0 {
			t.Error("waited for the throttle")
		}
	})
}

// TestThrottleOfOldBrokers: before Produce v6 brokers throttle by answering late.
func TestThrottleOfOldBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := testConfig()
		conf.Version = sarama.V1_0_0_0
		c, broker := connect(t, conf, 5)
		outcomes := make(chan outcome, 2)
		start := time.Now()
		for range 2 {
			go mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
			got := broker.next()
			resp := accepted(got.body)
			resp.ThrottleMillis = 60_000
			broker.reply(got.correlationID, resp)
			if o := <-outcomes; o.err != nil {
				t.Fatal(o.err)
			}
		}
		if time.Since(start) != 0 {
			t.Error("throttled twice")
		}
	})
}

// TestTurn: the end of its context ends a Request that waits for another write.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 1)
		outcomes := make(chan outcome, 1)
		go mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
		synctest.Wait() // The write hangs: the broker does not read
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Metadata(ctx, kmsg.NewPtrMetadataRequest())
		mustError(t, err, context.DeadlineExceeded)
		got := broker.next()
		broker.reply(got.correlationID, accepted(got.body))
		if o := <-outcomes; o.err != nil {
			t.Error(o.err)
		}
	})
}
