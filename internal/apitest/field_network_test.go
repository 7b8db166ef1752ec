package apitest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
)

// Links and brokers that users of Kafka producers have met: slow ones, and those that close on what is too large for them.

// link is a dialer whose connections pass each Write on by way of write.
type link struct {
	*virtual
	write func(c *linkConn, p []byte) (int, error)
}

// over has a producer's connections made by a link.
func (v *virtual) over(conf *sarama.Config, write func(*linkConn, []byte) (int, error)) {
	conf.Net.Proxy.Dialer = &link{v, write}
}

// DialContext implements proxy.ContextDialer.
func (l *link) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := l.virtual.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &linkConn{Conn: conn, link: l}, nil
}

type linkConn struct {
	net.Conn
	link *link

	mu       sync.Mutex
	deadline time.Time // of writes

	left      int // of the frame that is being written; the writer's, as what follows
	header    []byte
	swallowed bool // that frame
}

func (c *linkConn) Write(p []byte) (int, error) { return c.link.write(c, p) }

func (c *linkConn) SetDeadline(t time.Time) error {
	_ = c.SetWriteDeadline(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *linkConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

func (c *linkConn) late() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.deadline.IsZero() && !time.Now().Before(c.deadline)
}

// slowly is a link that takes so many bytes a second.
func slowly(perSecond int) func(*linkConn, []byte) (int, error) {
	step := perSecond / 100
	return func(c *linkConn, p []byte) (n int, err error) {
		for n < len(p) {
			time.Sleep(time.Second / 100)
			if c.late() {
				return n, os.ErrDeadlineExceeded
			}
			m, err := c.Conn.Write(p[n:min(n+step, len(p))])
			n += m
			if err != nil {
				return n, err
			}
		}
		return n, nil
	}
}

// closing is a broker that closes the connection on frames above its limit.
type closing struct {
	limit int
	// swallows: the whole frame is gone by then, as a socket's buffer takes it, so the writer learns nothing.
	swallows bool

	mu     sync.Mutex
	sizes  []int // of all frames of 1,000 bytes or more
	closes int
}

func (b *closing) write(c *linkConn, p []byte) (n int, err error) {
	for len(p) > 0 {
		if c.left == 0 {
			take := min(4-len(c.header), len(p))
			c.header, p, n = append(c.header, p[:take]...), p[take:], n+take
			if len(c.header) < 4 {
				return n, nil
			}
			c.left = int(binary.BigEndian.Uint32(c.header))
			if !b.begins(c.left + 4) {
				if b.swallows {
					c.swallowed, p = true, append(c.header, p...)
					c.left += 4
					n -= 4
					continue
				}
				c.Conn.Close()
				return n, &net.OpError{Op: "write", Net: "tcp", Err: errors.New("connection reset by peer")}
			}
			if _, err := c.Conn.Write(c.header); err != nil {
				return n, err
			}
			c.header = c.header[:0]
		}
		if c.swallowed {
			m := min(len(p), c.left)
			n, p, c.left = n+m, p[m:], c.left-m
			if c.left == 0 {
				c.Conn.Close()
				return n, nil
			}
			continue
		}
		m, err := c.Conn.Write(p[:min(len(p), c.left)])
		n, p, c.left = n+m, p[m:], c.left-m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (b *closing) begins(size int) (ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if size >= 1000 {
		b.sizes = append(b.sizes, size)
	}
	if size > b.limit {
		b.closes++
		return false
	}
	return true
}

// sized is a message whose value is its number and padding.
func sized(partition int32, number, size int) *sarama.ProducerMessage {
	value := append(fmt.Appendf(nil, "%d ", number), bytes.Repeat([]byte("x"), size)...)
	return &sarama.ProducerMessage{Topic: "t", Partition: partition, Value: sarama.ByteEncoder(value)}
}

// sendSized sends n messages, in turn to each partition.
func sendSized(p *sluice.Producer, n int, partitions int32, size int) {
	go func() {
		for i := range n {
			p.Input() <- sized(int32(i)%partitions, i, size)
		}
	}()
}

// wantInOrder reads back n numbered messages over the virtual network: each once, in each partition in order.
func (v *virtual) wantInOrder(t *testing.T, n int) {
	t.Helper()
	synctest.Wait() // with acks 0 the broker may be behind
	client := newReader(t, v.Cluster, kgo.Dialer(v.DialContext), kgo.ConsumeTopics("t"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	if got := logged(v.Cluster, "t"); got != int64(n) {
		t.Errorf("the log holds %d records, want %d", got, n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen, last := map[int]bool{}, map[int32]int{}
	for len(seen) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d: %v", len(seen), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var number int
			if _, err := fmt.Sscan(string(r.Value[:min(10, len(r.Value))]), &number); err != nil {
				t.Fatal(err)
			}
			if before, ok := last[r.Partition]; seen[number] || ok && before >= number {
				t.Fatalf("partition %d: %d came after %d", r.Partition, number, before)
			}
			seen[number], last[r.Partition] = true, number
		})
	}
}

// A slow link delivers: bytes that move are progress, however long a request takes. (16 partitions with 256 KiB each at 300
// kB/s take 14 s; the write time-out is 2 s.)
func TestSlowLinkDelivers(t *testing.T) {
	for _, numbered := range []bool{false, true} {
		t.Run(fmt.Sprintf("idempotent %t", numbered), func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := v.config()
				conf.Net.WriteTimeout = 2 * time.Second
				conf.Producer.Flush.Frequency = 100 * time.Millisecond // all in one request
				if numbered {
					idempotent(conf)
				}
				v.over(conf, slowly(300_000))
				p := newAsync(t, v.Cluster, conf)
				sendSized(p, 32, 16, 256<<10)
				successes(t, p, 32)
				v.wantInOrder(t, 32)
				wantQuickClose(t, p)
			}, kfake.NumBrokers(1), kfake.SeedTopics(16, "t"))
		})
	}
}

// A link that stalls in the middle of a request costs the request, and no message is in doubt: a broker can't act on a part
// of one. So a producer that tries once only says that it failed, not that the outcome is unknown.
func TestStalledWriteIsNotInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Net.WriteTimeout = 2 * time.Second
		conf.Producer.Retry.Max = 0
		v.over(conf, func(c *linkConn, p []byte) (n int, err error) {
			if len(p) < 10_000 {
				return c.Conn.Write(p)
			}
			if c.left++; c.left == 1 {
				n, _ = c.Conn.Write(p[:5000])
			}
			for !c.late() {
				time.Sleep(time.Second / 10)
			}
			return n, os.ErrDeadlineExceeded
		})
		p := newAsync(t, v.Cluster, conf)
		send(p, sized(0, 0, 100_000))
		err := receive(t, p.Errors())
		if errors.Is(err.Err, sluice.ErrOutcomeUnknown) {
			t.Errorf("in doubt: %v", err.Err)
		}
		send(p, message(0, 0))
		successes(t, p, 1)
		v.wantInOrder(t, 1)
		wantQuickClose(t, p)
	}, kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
}

// A broker that closes the connection on requests above 600 kB gets all that was sent, each message once, though three
// retries are all there are. It is found out once, and not tried again and again.
func TestBrokerThatClosesOnLargeRequests(t *testing.T) {
	for _, swallows := range []bool{false, true} {
		for _, numbered := range []bool{false, true} {
			t.Run(fmt.Sprintf("swallows %t idempotent %t", swallows, numbered), func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) {
					conf := v.config()
					conf.Producer.Flush.Frequency = 10 * time.Millisecond
					if numbered {
						idempotent(conf)
					}
					broker := &closing{limit: 600_000, swallows: swallows}
					v.over(conf, broker.write)
					p := newAsync(t, v.Cluster, conf)
					sendSized(p, 248, 8, 9000) // 280 kB for each
					successes(t, p, 248)
					if numbered {
						v.wantInOrder(t, 248)
					}
					if broker.closes > 2 { // one request is composed ahead
						t.Errorf("%d closes: %v", broker.closes, broker.sizes)
					}
					wantQuickClose(t, p)
				}, kfake.NumBrokers(1), kfake.SeedTopics(8, "t"))
			})
		}
	}
}

// A batch that a broker closes on, and that is not written for certain, is sent in parts.
func TestBatchAboveTheBrokersLimitIsSplit(t *testing.T) {
	for name, change := range map[string]func(*sarama.Config){
		"acks all": func(*sarama.Config) {}, "idempotent": func(conf *sarama.Config) { idempotent(conf) },
		"acks none": func(conf *sarama.Config) { conf.Producer.RequiredAcks = sarama.NoResponse },
	} {
		inBubble(t, func(t *testing.T, v *virtual) {
			conf := v.config()
			conf.Producer.Flush.Frequency = 10 * time.Millisecond
			change(conf)
			broker := &closing{limit: 300_000}
			v.over(conf, broker.write)
			p := newAsync(t, v.Cluster, conf)
			sendSized(p, 900, 1, 1000)
			successes(t, p, 900)
			v.wantInOrder(t, 900)
			sendSized(p, 2000, 1, 1000)
			successes(t, p, 2000)
			if broker.closes > 2 {
				t.Errorf("%s: %d closes: %v", name, broker.closes, broker.sizes)
			}
			wantQuickClose(t, p)
		}, kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	}
}

// A batch that may be written and that the broker closes on again ends with ErrOutcomeUnknown and its size, long before the
// delivery timeout. What comes after it is delivered, in requests that the broker takes.
func TestUnsureBatchAboveTheBrokersLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Retry.Max = 1_000_000
		conf.Producer.Flush.Frequency = 10 * time.Millisecond
		broker := &closing{limit: 300_000, swallows: true}
		v.over(conf, broker.write)
		p := newAsync(t, v.Cluster, conf)
		start := time.Now()
		sendSized(p, 500, 1, 1000)
		for range 500 {
			err := receive(t, p.Errors())
			wantError(t, err.Err, causes(sluice.ErrOutcomeUnknown), "request of 50", "up to 12")
		}
		if waited := time.Since(start); waited > 10*time.Second {
			t.Errorf("failed after %v", waited)
		}
		sendSized(p, 2000, 1, 1000)
		successes(t, p, 2000)
		v.wantInOrder(t, 2000)
		if broker.closes > 20 {
			t.Errorf("%d closes: %v", broker.closes, broker.sizes)
		}
		wantQuickClose(t, p)
	}, kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
}

// One message that the broker closes on fails by itself and soon. It is not written, and its error says what is the matter.
func TestMessageAboveTheBrokersLimit(t *testing.T) {
	for _, acks := range []sarama.RequiredAcks{sarama.WaitForAll, sarama.NoResponse} {
		inBubble(t, func(t *testing.T, v *virtual) {
			conf := v.config()
			conf.Producer.Retry.Max = 1_000_000
			conf.Producer.RequiredAcks = acks
			broker := &closing{limit: 300_000}
			v.over(conf, broker.write)
			p := newAsync(t, v.Cluster, conf)
			start := time.Now()
			send(p, sized(0, 0, 400_000), message(0, 0))
			err := receive(t, p.Errors())
			wantError(t, err.Err, nil, "request of 400", "socket.request.max.bytes")
			if waited := time.Since(start); errors.Is(err.Err, sluice.ErrOutcomeUnknown) || waited > 10*time.Second {
				t.Errorf("acks %d, after %v: %v", acks, waited, err.Err)
			}
			successes(t, p, 1)
			v.wantInOrder(t, 1)
			wantQuickClose(t, p)
		}, kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	}
}

// WithMaxRequestBytes bounds whole requests, so a broker's limit that is known is never met.
func TestMaxRequestBytes(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.ClientID = "a client with a name of some length"
		conf.Producer.Flush.Frequency = 10 * time.Millisecond
		broker := &closing{limit: 50_000}
		v.over(conf, broker.write)
		p := newAsync(t, v.Cluster, conf, sluice.WithMaxRequestBytes(50_000))
		sendSized(p, 1000, 3, 300)
		successes(t, p, 1000)
		send(p, sized(0, 0, 49_200), sized(1, 1, 49_000))
		successes(t, p, 2)
		if broker.closes > 0 {
			t.Errorf("closed on %v", broker.sizes)
		}
		send(p, sized(0, 0, 50_000))
		wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrMessageSizeTooLarge))
		wantQuickClose(t, p)

		_, err := sluice.New(v.ListenAddrs(), conf, sluice.WithMaxRequestBytes(100))
		wantError(t, err, nil, "WithMaxRequestBytes(100)", "4096")
		conf.ClientID = string(bytes.Repeat([]byte("x"), 5000))
		_, err = sluice.New(v.ListenAddrs(), conf, sluice.WithMaxRequestBytes(5000))
		wantError(t, err, nil, "WithMaxRequestBytes(5000)", "ClientID")
	}, kfake.NumBrokers(1), kfake.SeedTopics(3, "t"))
}

// A broker that refuses connections for five seconds is dialled now and then, however many of its partitions wait, and all
// is delivered when it is back.
func TestDialsToOneBrokerArePaced(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Retry.Max = 1_000_000
		conf.Producer.Retry.Backoff = 20 * time.Millisecond
		for partition := range int32(200) {
			move(t, v.Cluster, partition, 1)
		}
		addr := v.ListenAddrs()[1]
		v.refused.Store(&refusal{addr, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}})
		d := v.countDials(conf)
		p := newAsync(t, v.Cluster, conf)
		go send(p, messages(200, 200)...)
		time.Sleep(5 * time.Second)
		d.mu.Lock()
		dials := d.dials[addr]
		d.mu.Unlock()
		if dials < 5 || dials > 50 {
			t.Errorf("%d dials in 5 s", dials)
		}
		v.refused.Store(nil)
		successes(t, p, 200)
		v.wantInOrder(t, 200)
		wantQuickClose(t, p)
	}, kfake.SeedTopics(200, "t"))
}

// All that dials one broker shares the pauses: its partitions, look-ups, and the asking for a producer id. What needs
// another broker goes on.
func TestLookUpsDialsArePaced(t *testing.T) {
	for _, test := range []struct {
		brokers    int
		idempotent bool
	}{{1, false}, {1, true}, {3, false}, {3, true}} {
		t.Run(fmt.Sprintf("brokers %d idempotent %t", test.brokers, test.idempotent), func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := v.config()
				conf.Producer.Retry.Max = 1_000_000
				conf.Metadata.Retry.Max = 1_000_000
				conf.Producer.Transaction.Retry.Backoff = time.Millisecond
				if test.idempotent {
					idempotent(conf)
				}
				for partition := range int32(40) {
					move(t, v.Cluster, partition, 0)
				}
				f := v.behindFirewall(conf)
				addr := "localhost:1"
				refused := &refusal{addr, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}
				p := newAsync(t, v.Cluster, conf)
				v.refused.Store(refused) // and the producer id, if any, is still to be asked for
				before := f.cut(addr)
				go send(p, messages(40, 40)...)
				time.Sleep(5 * time.Second)
				if dials := f.cut(addr) - before; dials < 5 || dials > 20 {
					t.Errorf("%d dials in 5 s", dials)
				}
				left := 40
				if test.brokers > 1 {
					begin := time.Now()
					move(t, v.Cluster, 7, 1) // it is noticed with the next dial that fails
					if got := successes(t, p, 1)[0].Partition; got != 7 || time.Since(begin) > 1300*time.Millisecond {
						t.Errorf("partition %d after %v", got, time.Since(begin))
					}
					left--
				}
				v.refused.Store(nil)
				successes(t, p, left)
				v.wantInOrder(t, 40)
				wantQuickClose(t, p)
			}, virtualBrokers(test.brokers), kfake.SeedTopics(40, "t"))
		})
	}
}
