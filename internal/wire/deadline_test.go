package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

const maxIdle = time.Minute

// connectIdle is connect, over a connection that may be idle for maxIdle.
func connectIdle(t *testing.T, conf *sarama.Config, ours net.Conn) *Conn {
	t.Helper()
	d := NewDialer(through(conf, ours), 5)
	d.MaxIdle = maxIdle
	c, err := d.Dial(t.Context(), 1, "fake:9092")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wantIdleAt checks that a connection is closed as idle, after d from now and not before.
func wantIdleAt(t *testing.T, c *Conn, d time.Duration) {
	t.Helper()
	time.Sleep(d - time.Millisecond)
	synctest.Wait()
	if err := c.Err(); err != nil {
		t.Fatalf("closed too early: %v", err)
	}
	time.Sleep(time.Millisecond)
	<-c.Done()
	mustError(t, c.Err(), ErrIdle)
	mustError(t, c.Err(), ErrConnClosed)
	if c.failed() {
		t.Error("it counts as failed")
	}
}

// With nothing sent, a connection ends after the idle time, and its socket is closed.
func TestUnusedConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		broker := newFakeBroker(t, theirs)
		c := connectIdle(t, testConfig(), ours)
		wantIdleAt(t, c, maxIdle)
		if _, err := broker.receive(); err == nil {
			t.Error("the socket is open")
		}
		err := c.Produce(t.Context(), newRequest(make(chan outcome, 1), partition("a", 0, []byte("x"))))
		mustError(t, err, ErrIdle)
		if errors.Is(err, ErrCutOff) {
			t.Errorf("told as begun: %v", err)
		}
	})
}

// The idle time begins with an answer, or with the end of a throttle. A connection with a request open is not idle, however
// long the broker may take.
func TestIdleTimeBeginsWithTheAnswer(t *testing.T) {
	for name, throttle := range map[string]time.Duration{"answer": 0, "throttle": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				broker := newFakeBroker(t, theirs)
				conf := testConfig()
				conf.Net.ReadTimeout = 2 * maxIdle
				c := connectIdle(t, conf, ours)
				outcomes := make(chan outcome, 1)
				time.Sleep(maxIdle - time.Second)
				go mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
				got := broker.next()
				time.Sleep(maxIdle + time.Second)
				resp := accepted(got.body)
				resp.ThrottleMillis = int32(throttle.Milliseconds())
				broker.reply(got.correlationID, resp)
				if o := <-outcomes; o.err != nil {
					t.Fatal(o.err)
				}
				wantIdleAt(t, c, throttle+maxIdle)
			})
		})
	}
}

// The read timeout counts as before while a request is open.
func TestReadTimeoutBesideTheIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		broker := newFakeBroker(t, theirs)
		conf := testConfig()
		conf.Net.ReadTimeout = 10 * time.Second
		c := connectIdle(t, conf, ours)
		outcomes := make(chan outcome, 1)
		time.Sleep(maxIdle - time.Millisecond)
		go mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
		broker.next()
		begin := time.Now()
		err := (<-outcomes).err
		mustError(t, err, os.ErrDeadlineExceeded)
		if took := time.Since(begin); errors.Is(err, ErrIdle) || took != 10*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// The idle time ends in the middle of a write: the request is written and answered.
func TestIdleTimeEndsDuringAWrite(t *testing.T) {
	for _, acks := range []int16{0, -1} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			broker := newFakeBroker(t, theirs)
			conf := testConfig()
			conf.Net.WriteTimeout = time.Hour
			c := connectIdle(t, conf, ours)
			outcomes := make(chan outcome, 1)
			req := newRequest(outcomes, partition("a", 0, []byte("x")))
			req.Acks = acks
			time.Sleep(maxIdle - time.Second)
			go mustProduce(t, c, req)
			time.Sleep(maxIdle + 2*time.Second) // the pipe takes nothing meanwhile
			got := broker.next()
			if acks != 0 {
				broker.reply(got.correlationID, accepted(got.body))
			}
			if o := <-outcomes; o.err != nil {
				t.Error(o.err)
			}
			wantIdleAt(t, c, maxIdle)
		})
	}
}

// Requests with acks 0 keep a connection open, though no answer ever comes.
func TestUnansweredRequestsKeepAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		broker := newFakeBroker(t, theirs)
		c := connectIdle(t, testConfig(), ours)
		outcomes := make(chan outcome, 1)
		for range 5 {
			time.Sleep(maxIdle - time.Second)
			req := newRequest(outcomes, partition("a", 0, []byte("x")))
			req.Acks = 0
			go mustProduce(t, c, req)
			broker.next()
			if o := <-outcomes; o.err != nil {
				t.Fatal(o.err)
			}
		}
		wantIdleAt(t, c, maxIdle)
	})
}

// TLS goes on after a read that timed out for another reason than the connection's own.
func TestIdleTimeUnderTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, _ := selfSigned(t)
		ours, theirs := net.Pipe()
		server := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{cert}})
		broker := newFakeBroker(t, server)
		conf := testConfig()
		conf.Net.TLS.Enable = true
		conf.Net.TLS.Config = &tls.Config{InsecureSkipVerify: true}
		go server.HandshakeContext(context.Background())
		c := connectIdle(t, conf, ours)
		outcomes := make(chan outcome, 1)
		for range 3 {
			time.Sleep(maxIdle - time.Second)
			req := newRequest(outcomes, partition("a", 0, []byte("x")))
			req.Acks = 0
			go mustProduce(t, c, req)
			broker.next()
			if o := <-outcomes; o.err != nil {
				t.Fatal(o.err)
			}
		}
		go mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
		got := broker.next()
		broker.reply(got.correlationID, accepted(got.body))
		if o := <-outcomes; o.err != nil {
			t.Fatal(o.err)
		}
		time.Sleep(maxIdle)
		<-c.Done()
		mustError(t, c.Err(), ErrIdle)
	})
}
