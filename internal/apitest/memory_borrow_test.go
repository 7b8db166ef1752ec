package apitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// Large values are written out of the messages themselves: no sender may have a message back while that may still happen.

// largeValue is a value that is not copied: neither into a batch nor, as it would be up to twice 64 KiB, for a connection
// without writev.
func largeValue(i int) sarama.ByteEncoder {
	return bytes.Repeat([]byte{byte('a' + i%26)}, 200_000+i)
}

func mustClose(t *testing.T, p io.Closer) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func scribble(msg *sarama.ProducerMessage) { clear(msg.Value.(sarama.ByteEncoder)) }

// Each way of sending: values that are written over with their outcome are in the log as they were sent.
func TestValueIsFreeWithTheOutcome(t *testing.T) {
	const n = 60
	for name, sendAll := range map[string]func(*testing.T, *kfake.Cluster, *sarama.Config, []*sarama.ProducerMessage){
		"Input": func(t *testing.T, c *kfake.Cluster, conf *sarama.Config, msgs []*sarama.ProducerMessage) {
			p := newAsync(t, c, conf)
			go send(p, msgs...)
			for range msgs {
				scribble(receive(t, p.Successes()))
			}
			mustClose(t, p)
		},
		"Produce": func(t *testing.T, c *kfake.Cluster, conf *sarama.Config, msgs []*sarama.ProducerMessage) {
			p := newAsync(t, c, conf)
			for _, msg := range msgs {
				if err := p.Produce(t.Context(), msg, func(msg *sarama.ProducerMessage, err error) { scribble(msg) }); err != nil {
					t.Error(err)
				}
			}
			mustClose(t, p)
		},
		"SendMessages": func(t *testing.T, c *kfake.Cluster, conf *sarama.Config, msgs []*sarama.ProducerMessage) {
			p := newSync(t, c, conf)
			for i := 0; i < n; i += 20 {
				if err := p.SendMessages(msgs[i : i+20]); err != nil {
					t.Error(err)
				}
				for _, msg := range msgs[i : i+20] {
					scribble(msg)
				}
			}
			mustClose(t, p)
		},
		"SendMessageContext": func(t *testing.T, c *kfake.Cluster, conf *sarama.Config, msgs []*sarama.ProducerMessage) {
			p := newSync(t, c, conf)
			for i, msg := range msgs {
				ctx := context.Background() // it can't be withdrawn, and is not copied
				if i%2 == 1 {
					ctx = t.Context()
				}
				if _, _, err := p.SendMessageContext(ctx, msg); err != nil {
					t.Error(err)
				}
				scribble(msg)
			}
			mustClose(t, p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 2)
			// Every third request is lost with its connection, and sent again.
			var requests atomic.Int64
			c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				return nil, errors.New("gone"), requests.Add(1)%3 == 1
			})
			conf := testConfig()
			conf.Producer.Flush.Frequency = time.Millisecond
			conf.Producer.Retry.Max = 1000
			msgs, sent := make([]*sarama.ProducerMessage, n), map[string]bool{}
			for i := range msgs {
				msgs[i] = &sarama.ProducerMessage{Topic: "t", Partition: int32(i % 2), Value: largeValue(i)}
				sent[string(largeValue(i))] = true
			}
			sendAll(t, c, conf, msgs)
			for _, r := range readTopic(t, c, "t", n) {
				if !sent[string(r.Value)] {
					t.Errorf("partition %d, offset %d: %d bytes that were not sent like this", r.Partition, r.Offset, len(r.Value))
				}
				delete(sent, string(r.Value))
			}
			if len(sent) > 0 {
				t.Errorf("%d are missing", len(sent))
			}
		})
	}
}

// With acks 0 the outcome comes with the end of the write.
func TestValueIsFreeWithTheOutcomeOfAcksZero(t *testing.T) {
	const n = 60
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.RequiredAcks = sarama.NoResponse
	p := newAsync(t, c, conf)
	go func() {
		for i := range n {
			p.Input() <- &sarama.ProducerMessage{Topic: "t", Value: largeValue(i)}
		}
	}()
	for range n {
		scribble(receive(t, p.Successes()))
	}
	for i, r := range readTopic(t, c, "t", n) {
		if string(r.Value) != string(largeValue(i)) {
			t.Errorf("offset %d: %d bytes that were not sent like this", i, len(r.Value))
		}
	}
}

// stuckDialer makes connections that do not write more than so much at once, as if the broker did not read: such a write
// waits until the connection is closed. What it was given must still be there then.
type stuckDialer struct {
	*virtual
	most    atomic.Int64
	waiting chan struct{} // told when a write begins to wait
	pass    chan struct{} // lets one write go on
	mu      sync.Mutex
	changed error
}

type stuckConn struct {
	net.Conn
	*stuckDialer
	once   sync.Once
	closed chan struct{}
}

func (d *stuckDialer) Dial(network, addr string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, addr)
}

func (d *stuckDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.virtual.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &stuckConn{Conn: c, stuckDialer: d, closed: make(chan struct{})}, nil
}

func (c *stuckConn) Write(p []byte) (int, error) {
	if len(p) <= int(c.most.Load()) {
		return c.Conn.Write(p)
	}
	before := bytes.Clone(p)
	c.waiting <- struct{}{}
	var err error
	select {
	case <-c.closed:
		err = net.ErrClosed
	case <-c.pass:
	}
	if !bytes.Equal(p, before) {
		c.mu.Lock()
		c.changed = fmt.Errorf("%d bytes have changed while they were written", len(p))
		c.mu.Unlock()
	}
	if err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *stuckConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// copiedAtOnce is what is written at most of what was copied.
const copiedAtOnce = 64 << 10

// inStuckBubble runs a test with a cluster that takes no more than most bytes in a write.
func inStuckBubble(t *testing.T, most int64, test func(*testing.T, *stuckDialer, *sarama.Config)) {
	inBubble(t, func(t *testing.T, v *virtual) {
		d := &stuckDialer{virtual: v, waiting: make(chan struct{}, 10), pass: make(chan struct{})}
		d.most.Store(most)
		conf := v.config()
		conf.Net.Proxy.Dialer = d
		test(t, d, conf)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.changed != nil {
			t.Error(d.changed)
		}
	}, kfake.SeedTopics(1, "t"))
}

// A message whose delivery timeout ends while it is being written has its outcome a little later, when the write has
// been ended.
func TestTimeoutWhileWriting(t *testing.T) {
	inStuckBubble(t, copiedAtOnce, func(t *testing.T, d *stuckDialer, conf *sarama.Config) {
		conf.Net.WriteTimeout = time.Hour
		p := newAsync(t, d.Cluster, conf, sluice.WithDeliveryTimeout(10*time.Second))
		begun := time.Now()
		p.Input() <- &sarama.ProducerMessage{Topic: "t", Value: largeValue(0)}
		<-d.waiting
		failed := <-p.Errors()
		scribble(failed.Msg)
		wantError(t, failed.Err, causes(sluice.ErrDeliveryTimeout))
		if errors.Is(failed.Err, sluice.ErrOutcomeUnknown) {
			t.Errorf("a request that was not written whole is not in doubt: %v", failed.Err)
		}
		if took := time.Since(begun); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("it took %v", took)
		}
		d.most.Store(math.MaxInt64)
		p.Input() <- &sarama.ProducerMessage{Topic: "t", Value: largeValue(1)}
		select {
		case <-p.Successes():
		case <-time.After(time.Minute):
			t.Error("the next message is not delivered")
		}
		closing, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.CloseContext(closing); err != nil {
			t.Error(err)
		}
	})
}

// A write that ends soon after is left alone: its connection may carry others.
func TestTimeoutShortlyBeforeTheEndOfWriting(t *testing.T) {
	inStuckBubble(t, copiedAtOnce, func(t *testing.T, d *stuckDialer, conf *sarama.Config) {
		conf.Net.WriteTimeout = time.Hour
		p := newAsync(t, d.Cluster, conf, sluice.WithDeliveryTimeout(10*time.Second)) // looked at each 200 ms
		p.Input() <- &sarama.ProducerMessage{Topic: "t", Value: largeValue(0)}
		<-d.waiting
		time.Sleep(10*time.Second + 100*time.Millisecond)
		select {
		case d.pass <- struct{}{}:
		case <-time.After(time.Minute):
			t.Error("the write was ended")
		}
		select {
		case <-p.Successes():
		case err := <-p.Errors():
			t.Error(err)
		}
		mustClose(t, p)
	})
}

// A Close that is cut short does not wait for a broker that does not read, and no message is told of before its write has
// ended.
func TestCloseContextWhileWriting(t *testing.T) {
	for size, most := range map[int]int64{200_000: copiedAtOnce, 8 << 10: 1000} { // borrowed, and copied
		inStuckBubble(t, most, func(t *testing.T, d *stuckDialer, conf *sarama.Config) {
			conf.Net.WriteTimeout = time.Hour
			p := newAsync(t, d.Cluster, conf)
			p.Input() <- &sarama.ProducerMessage{Topic: "t", Value: largeValue(0)[:size]}
			<-d.waiting
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begun := time.Now()
			var failed sarama.ProducerErrors
			if err := p.CloseContext(ctx); !errors.As(err, &failed) || len(failed) != 1 {
				t.Fatalf("CloseContext returned %v", err)
			}
			scribble(failed[0].Msg)
			wantError(t, failed[0].Err, causes(context.DeadlineExceeded))
			if took := time.Since(begun); took != time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// Who withdraws has the message back at once, whatever is being written.
func TestWithdrawWhileWriting(t *testing.T) {
	inStuckBubble(t, copiedAtOnce, func(t *testing.T, d *stuckDialer, conf *sarama.Config) {
		conf.Net.WriteTimeout = time.Minute
		p := newSync(t, d.Cluster, conf, sluice.WithDeliveryTimeout(2*time.Minute))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		msg := &sarama.ProducerMessage{Topic: "t", Value: largeValue(0)}
		_, _, err := p.SendMessageContext(ctx, msg)
		wantError(t, err, causes(sluice.ErrOutcomeUnknown, context.DeadlineExceeded))
		scribble(msg)
		closing, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.CloseContext(closing); err != nil {
			t.Error(err)
		}
	})
}
