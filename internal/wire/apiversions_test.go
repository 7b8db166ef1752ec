package wire

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokers start a broker for each dial.
type brokers struct {
	t     *testing.T
	serve func(b *fakeBroker) // One connection
	dials int
}

func (d *brokers) dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	d.dials++
	go d.serve(newFakeBroker(d.t, theirs))
	return ours, nil
}

func (d *brokers) config() *sarama.Config {
	conf := clusterConfig()
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = dialFunc(d.dial)
	return conf
}

// refuseVersions are ways not to answer ApiVersions.
var refuseVersions = map[string]func(*fakeBroker){
	"closes": func(b *fakeBroker) { b.nc.Close() },
	"silent": func(b *fakeBroker) { io.Copy(io.Discard, b.nc) },
}

// old answers every request but ApiVersions.
func old(refuse func(*fakeBroker)) func(*fakeBroker) {
	return func(b *fakeBroker) {
		for {
			got, err := b.receive()
			if err != nil {
				return
			}
			if got.body.Key() == keyApiVersions {
				refuse(b)
				return
			}
			if req, ok := got.body.(*kmsg.ProduceRequest); ok {
				b.reply(got.correlationID, accepted(req))
				continue
			}
			b.reply(got.correlationID, got.body.ResponseKind())
		}
	}
}

func mustDial(t *testing.T, d *Dialer, addr string) *Conn {
	t.Helper()
	c, err := d.Dial(t.Context(), 1, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestApiVersionsUnanswered: the broker is dialled again and gets the versions of Config.Version. It is not asked again for
// an hour.
func TestApiVersionsUnanswered(t *testing.T) {
	for name, refuse := range refuseVersions {
		for _, test := range []struct {
			version sarama.KafkaVersion
			produce int16
		}{
			{sarama.V0_10_2_0, 3}, // at least 0.11
			{sarama.V2_1_0_0, 7},
			{sarama.MaxVersion, 10},
		} {
			t.Run(name+" "+test.version.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cluster := &brokers{t: t, serve: old(refuse)}
					conf := cluster.config()
					conf.Version = test.version
					conf.Net.ReadTimeout = 5 * time.Second
					d := NewDialer(conf, 1)
					start, wait := time.Now(), time.Duration(0)
					if name == "silent" {
						wait = conf.Net.ReadTimeout
					}
					c := mustDial(t, d, "fake:9092")
					if took := time.Since(start); took != wait || cluster.dials != 2 {
						t.Errorf("%d dials in %v", cluster.dials, took)
					}
					outcomes := make(chan outcome, 1)
					mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
					if o := <-outcomes; o.err != nil || c.produce.max != test.produce {
						t.Errorf("produce v%d: %v", c.produce.max, o.err)
					}
					c.Close()

					time.Sleep(59 * time.Minute)
					start = time.Now()
					if mustDial(t, d, "fake:9092"); cluster.dials != 3 || time.Since(start) != 0 {
						t.Errorf("%d dials, asked again soon", cluster.dials)
					}
					if mustDial(t, d, "other:9092"); cluster.dials != 5 {
						t.Errorf("%d dials, another broker was not asked", cluster.dials)
					}
					time.Sleep(time.Minute)
					if mustDial(t, d, "fake:9092"); cluster.dials != 7 {
						t.Errorf("%d dials, not asked after an hour", cluster.dials)
					}
				})
			})
		}
	}
}

// TestApiVersionsUnansweredWithTransactions: a broker that was silent once may have transaction.version 2 all the same. It is
// asked again at the next dial.
func TestApiVersionsUnansweredWithTransactions(t *testing.T) {
	for name, refuse := range refuseVersions {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := &brokers{t: t, serve: old(refuse)}
				conf := cluster.config()
				conf.Producer.Transaction.ID = "tx"
				d := NewDialer(conf, 1)
				if _, err := d.Dial(t.Context(), 1, "fake:9092"); err == nil || cluster.dials != 1 {
					t.Errorf("%d dials: %v", cluster.dials, err)
				}
				cluster.serve = func(b *fakeBroker) {
					got := b.next()
					b.reply(got.correlationID, supports(kmsg.ApiVersionsResponseApiKey{MaxVersion: 12})(got))
				}
				if c := mustDial(t, d, "fake:9092"); cluster.dials != 2 || !c.fromBroker {
					t.Errorf("%d dials, told by the broker: %t", cluster.dials, c.fromBroker)
				}
			})
		})
	}
}

// TestApiVersionsReset: over TCP a broker may also reset the connection.
func TestApiVersionsReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go old(func(b *fakeBroker) {
				nc.(*net.TCPConn).SetLinger(0)
				nc.Close()
			})(newFakeBroker(t, nc))
		}
	}()
	c := mustDial(t, NewDialer(clusterConfig(), 1), l.Addr().String())
	if c.produce.max != 10 {
		t.Errorf("produce v%d", c.produce.max)
	}
	if _, err := c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest()); err != nil {
		t.Error(err)
	}
}

// TestApiVersionsFails: if every version of ApiVersions gets an error code, Config.Version counts.
func TestApiVersionsFails(t *testing.T) {
	fails := func(got received) kmsg.Response {
		resp := got.body.ResponseKind().(*kmsg.ApiVersionsResponse)
		resp.ErrorCode = int16(sarama.ErrClusterAuthorizationFailed)
		return resp
	}
	conf := clusterConfig()
	conf.Version = sarama.V2_1_0_0
	if c := mustDial(t, NewDialer(script(t, conf, fails, fails), 1), "fake:9092"); c.produce.max != 7 {
		t.Errorf("produce v%d", c.produce.max)
	}
}

// TestBrokerIsAskedAgain after a connection to it has failed before the first answer: it may be another broker by now. A
// connection that was closed in good order, or had answers, does not count.
func TestBrokerIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var frozen atomic.Bool
		cluster := &brokers{t: t}
		cluster.serve = func(b *fakeBroker) {
			if frozen.Load() {
				io.Copy(io.Discard, b.nc)
				return
			}
			old(refuseVersions["silent"])(b)
		}
		conf := cluster.config()
		d := NewDialer(conf, 1)
		dial := func(dials int) *Conn {
			t.Helper()
			before := cluster.dials
			c := mustDial(t, d, "fake:9092")
			if n := cluster.dials - before; n != dials {
				t.Errorf("%d dials, want %d", n, dials)
			}
			return c
		}
		dial(2).Close()
		c := dial(1)
		if _, err := c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest()); err != nil {
			t.Fatal(err)
		}
		c.die(io.EOF)
		<-c.Done()

		frozen.Store(true)
		c = dial(1)
		_, err := c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest())
		mustError(t, err, os.ErrDeadlineExceeded)
		frozen.Store(false)
		dial(2)
	})
}

// TestFrozenBrokerIsNotWrittenTo: if other brokers answer ApiVersions and this one does not, it must answer another request
// before it gets messages. Else they could lie in its socket, and be written after messages that were sent elsewhere.
func TestFrozenBrokerIsNotWrittenTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serve := map[string]func(*fakeBroker){
			"new": func(b *fakeBroker) {
				got := b.next()
				b.reply(got.correlationID, supports(kmsg.ApiVersionsResponseApiKey{MaxVersion: 7})(got))
			},
			"frozen": refuseVersions["silent"],
			"old":    old(refuseVersions["silent"]),
		}
		cluster := &brokers{t: t}
		conf := cluster.config()
		conf.Net.ReadTimeout = time.Second
		d := NewDialer(conf, 1)
		cluster.serve = serve["new"]
		if c := mustDial(t, d, "new:1"); c.produce.max != 7 {
			t.Errorf("produce v%d", c.produce.max)
		}
		cluster.serve = serve["frozen"]
		for range 2 {
			_, err := d.Dial(t.Context(), 1, "frozen:1")
			mustError(t, err, os.ErrDeadlineExceeded)
		}
		if cluster.dials != 5 {
			t.Errorf("%d dials: a frozen broker is asked each time", cluster.dials)
		}
		cluster.serve = serve["old"]
		mustDial(t, d, "old:1")
	})
}

// TestApiVersionsEndsWithContext: the end of ctx ends the wait for a silent broker, which is not dialled again.
func TestApiVersionsEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := &brokers{t: t, serve: old(refuseVersions["silent"])}
		d := NewDialer(cluster.config(), 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := d.Dial(ctx, 1, "fake:9092")
		mustError(t, err, context.DeadlineExceeded)
		if cluster.dials != 1 {
			t.Errorf("%d dials", cluster.dials)
		}
	})
}

// TestSASLWithoutApiVersions: Config.Version decides about the exchange, as in sarama.
func TestSASLWithoutApiVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var versions []int16
		cluster := &brokers{t: t}
		cluster.serve = func(b *fakeBroker) {
			for {
				got, err := b.receive()
				if err != nil {
					return
				}
				if got.body.Key() == keyApiVersions {
					b.nc.Close()
					return
				}
				if got.body.Key() == keySASLAuthenticate {
					versions = append(versions, got.body.GetVersion())
				}
				b.reply(got.correlationID, got.body.ResponseKind())
			}
		}
		conf := cluster.config()
		conf.Version = sarama.V2_2_0_0
		conf.Net.SASL.Enable, conf.Net.SASL.User, conf.Net.SASL.Password = true, "u", "p"
		mustDial(t, NewDialer(conf, 1), "fake:9092")
		if !slices.Equal(versions, []int16{1}) {
			t.Errorf("SaslAuthenticate v%v, want v1", versions)
		}
	})
}
