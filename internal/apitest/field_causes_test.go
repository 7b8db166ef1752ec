package apitest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice"
)

// A message that expires says why: what failed last, or else what was going on.

// wantSaysWhy checks the error of a message that has expired.
func wantSaysWhy(t testing.TB, err error, words ...string) {
	t.Helper()
	wantError(t, err, causes(sluice.ErrDeliveryTimeout), words...)
	if strings.HasSuffix(err.Error(), "is over") {
		t.Errorf("%q does not say why", err)
	}
	if !sluice.IsRetriable(err) {
		t.Errorf("%q is not retriable", err)
	}
}

// hangsAt is a dialer whose dials to one address hang until their context ends.
type hangsAt struct {
	*virtual
	addr string
}

func (h hangsAt) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr == h.addr {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.virtual.DialContext(ctx, network, addr)
}

// hang is a dialer whose dials hang from some moment on, until their context ends.
type hang struct {
	*virtual
	hangs atomic.Bool
}

func (h *hang) Dial(string, string) (net.Conn, error) { panic("it has a context") }

func (h *hang) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if h.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.virtual.DialContext(ctx, network, addr)
}

// silent lets no broker answer these requests.
func silent(v *virtual, key kmsg.Key) {
	v.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		v.KeepControl()
		return nil, nil, true
	})
}

func TestExpiredMessagesSayWhy(t *testing.T) {
	leader := func(v *virtual) string { return v.ListenAddrs()[v.LeaderFor("t", 0)] }
	for _, line := range []struct {
		name string
		// prepare changes the configuration, and returns what changes the cluster once there is a producer.
		prepare func(t *testing.T, v *virtual, conf *sarama.Config) (later func(p *sluice.Producer))
		sarama  bool // through NewAsyncProducer without Metadata.Full, which asks no broker
		cause   error
		words   []string // %s is the leader's address
	}{
		{name: "produce is not answered", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			silent(v, kmsg.Produce)
			return nil
		}, words: []string{"broker ", "(%s) has not answered for 1"}},
		{name: "the dial hangs", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			h := &hang{virtual: v}
			conf.Net.Proxy.Dialer = h
			return func(*sluice.Producer) { h.hangs.Store(true) }
		}, words: []string{"dialling broker ", "(%s) for 1"}},
		{name: "the dial fails", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			return func(*sluice.Producer) { v.refused.Store(&refusal{leader(v), errPlugged}) }
		}, cause: errPlugged, words: []string{"(%s)"}},
		{name: "the TLS handshake of the first look-up hangs", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			conf.Net.TLS.Enable = true
			conf.Net.Proxy.Dialer = mute{}
			return nil
		}, sarama: true, words: []string{`"t"`, "TLS handshake with broker localhost:"}},
		{name: "ApiVersions of the first look-up is not answered", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			conf.Net.Proxy.Dialer = mute{}
			return nil
		}, sarama: true, words: []string{`"t"`, "asking broker localhost:", "for its versions for 2m0s"}},
		{name: "the dial of the first look-up hangs", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			h := &hang{virtual: v}
			h.hangs.Store(true)
			conf.Net.Proxy.Dialer = h
			return nil
		}, sarama: true, words: []string{`"t"`, "dialling broker localhost:"}},
		{name: "the first look-up is not answered", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			conf.Metadata.Full = false
			return func(*sluice.Producer) { silent(v, kmsg.Metadata) }
		}, words: []string{`looking up topic "t"`, "asking ", " localhost:", "for 1"}},
		{name: "the first look-up fails and is retried", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			conf.Metadata.Full = false
			conf.Metadata.Retry.Max, conf.Metadata.Retry.Backoff = 1000, time.Second
			return func(*sluice.Producer) {
				v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.LeaderNotAvailable, Count: -1})
			}
		}, cause: sarama.ErrLeaderNotAvailable, words: []string{`looking up topic "t"`}},
		{name: "there is no leader, and the look-up is not answered", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			conf.Metadata.Full = false
			return func(*sluice.Producer) {
				var asked atomic.Int32
				v.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
					v.KeepControl()
					return nil, nil, asked.Add(1) > 1
				})
				answerMetadata(v.Cluster, func() (int32, int32) { return -1, 1 })
			}
		}, words: []string{"looking up the leader: asking broker ", " localhost:", "for 1"}},
		{name: "no broker gives a producer id", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			idempotent(conf)
			silent(v, kmsg.InitProducerID)
			return nil
		}, words: []string{"waiting for a producer id: waiting for broker localhost:", "to answer InitProducerID for 1"}},
		{name: "brokers are not ready to give a producer id", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			idempotent(conf)
			v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.CoordinatorLoadInProgress, Count: -1})
			return nil
		}, cause: sarama.ErrOffsetsLoadInProgress, words: []string{"no producer id: broker localhost:"}},
		{name: "the broker throttles", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			v.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				resp := answerProduce(kreq, func(*kmsg.ProduceResponseTopicPartition) {})
				resp.ThrottleMillis = 60_000
				return resp, nil, true
			})
			return func(p *sluice.Producer) {
				send(p, message(0, 100))
				<-p.Successes()
			}
		}, words: []string{"throttled by broker ", "(%s) for another 4"}},
		{name: "the socket takes nothing", prepare: func(_ *testing.T, v *virtual, conf *sarama.Config) func(*sluice.Producer) {
			conf.Net.Proxy.Dialer = stalling{v}
			return nil
		}, words: []string{"writing to broker ", "(%s) for 1"}},
	} {
		t.Run(line.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := v.config()
				conf.Net.DialTimeout, conf.Net.ReadTimeout, conf.Net.WriteTimeout = time.Hour, time.Hour, time.Hour
				conf.Metadata.Timeout = 0
				later := line.prepare(t, v, conf)
				var p *sluice.Producer
				if line.sarama {
					conf.Metadata.Full = false
					p = saramaDoor.newAsync(t, v.Cluster, conf).(*sluice.Producer)
					closeAfter(t, p)
				} else {
					p = newAsync(t, v.Cluster, conf, sluice.WithDeliveryTimeout(15*time.Second))
				}
				addr := leader(v)
				if later != nil {
					later(p)
				}
				send(p, sized(0, 0, 2000), sized(0, 1, 2000))
				for range 2 {
					err := (<-p.Errors()).Err
					words := make([]string, len(line.words))
					for i, word := range line.words {
						words[i] = strings.Replace(word, "%s", addr, 1)
					}
					wantSaysWhy(t, err, words...)
					if line.cause != nil {
						wantError(t, err, causes(line.cause))
					}
				}
			}, kfake.SeedTopics(1, "t"))
		})
	}
}

// The leader moves while the old one does not answer: what came later waits for that.
func TestExpiredMessageBehindASilentOldLeader(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		move(t, v.Cluster, 0, 0)
		arrived := swallowProduce(v.Cluster, 0)
		conf := v.config()
		conf.Net.ReadTimeout, conf.Metadata.RefreshFrequency = time.Hour, time.Second
		p := newAsync(t, v.Cluster, conf, sluice.WithDeliveryTimeout(15*time.Second))
		send(p, message(0, 0))
		<-arrived
		move(t, v.Cluster, 0, 1)
		time.Sleep(5 * time.Second)
		send(p, message(0, 1))
		old := fmt.Sprintf("broker 0 (%s) has not answered for ", v.ListenAddrs()[0])
		wantSaysWhy(t, (<-p.Errors()).Err, old+"15s")
		wantSaysWhy(t, (<-p.Errors()).Err, "waiting for what was sent before: "+old+"20")
	}, kfake.SeedTopics(1, "t"))
}

func TestExpiredMessageToANewPartition(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Metadata.Timeout, conf.Net.ReadTimeout = 0, time.Hour
		p := newAsync(t, v.Cluster, conf, sluice.WithDeliveryTimeout(15*time.Second))
		send(p, message(0, 0))
		successes(t, p, 1)
		silent(v, kmsg.Metadata)
		send(p, message(5, 1))
		wantSaysWhy(t, (<-p.Errors()).Err, `looking up topic "t" for new partitions`, "asking ", " localhost:")
	}, kfake.SeedTopics(1, "t"))
}

// Transactions of version 1: a partition must be added before its first batch.
func TestExpiredMessageOfATransaction(t *testing.T) {
	for name, line := range map[string]struct {
		code  *kerr.Error // nil: no answer
		cause error
		words string
	}{
		"no answer": {nil, nil, "to answer AddPartitionsToTxn for 1"},
		"refused":   {kerr.CoordinatorNotAvailable, sarama.ErrConsumerCoordinatorNotAvailable, "AddPartitionsToTxn: kafka server"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := txnConfig()
				conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, v
				conf.Net.ReadTimeout, conf.Producer.Transaction.Timeout = time.Hour, time.Minute
				if line.code == nil {
					silent(v, kmsg.AddPartitionsToTxn)
				} else {
					v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: line.code, Count: -1})
				}
				p := newAsync(t, v.Cluster, conf, sluice.WithDeliveryTimeout(15*time.Second))
				begin(t, p)
				send(p, message(0, 0))
				err := (<-p.Errors()).Err
				wantSaysWhy(t, err, "waiting for the partition to be added to the transaction: ", line.words)
				if line.cause != nil {
					wantError(t, err, causes(line.cause))
				}
			}, kfake.SeedTopics(1, "t"), kfake.MaxVersions(kversion.V3_9_0()))
		})
	}
}

var errPlugged = errors.New("the cable is not plugged in")

// stalling is a dialer of connections that take no large frame.
type stalling struct{ *virtual }

func (s stalling) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := s.virtual.DialContext(ctx, network, addr)
	return &stalledConn{Conn: conn, closed: make(chan struct{})}, err
}

type stalledConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *stalledConn) Write(p []byte) (int, error) {
	if len(p) < 1000 {
		return c.Conn.Write(p)
	}
	<-c.closed
	return 0, net.ErrClosed
}

func (c *stalledConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// mute is a dialer of connections to nobody.
type mute struct{}

func (mute) Dial(string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		for buf := make([]byte, 1000); ; {
			if _, err := theirs.Read(buf); err != nil {
				return
			}
		}
	}()
	return ours, nil
}

// hangingToken is a token provider that hangs from some moment on, until it is opened.
type hangingToken struct {
	hangs  atomic.Bool
	opened chan struct{}
}

func (h *hangingToken) Token() (*sarama.AccessToken, error) {
	if h.hangs.Load() {
		<-h.opened
	}
	return &sarama.AccessToken{Token: "t"}, nil
}

// oauth lets the cluster take every token.
func oauth(c *kfake.Cluster, conf *sarama.Config, provider sarama.AccessTokenProvider) {
	conf.ApiVersionsRequest = false
	conf.Net.SASL.Enable, conf.Net.SASL.Mechanism, conf.Net.SASL.TokenProvider = true, sarama.SASLTypeOAuth, provider
	c.ControlKey(int16(kmsg.SASLHandshake), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return kreq.ResponseKind(), nil, true
	})
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return kreq.ResponseKind(), nil, true
	})
}

// A token provider that hangs is named, by what is sent and by what is looked up. (Not in a bubble: a sarama.Broker holds a mutex
// meanwhile.)
func TestExpiredMessagesNameTheLogin(t *testing.T) {
	for name, line := range map[string]struct {
		topic, where, broker string
	}{
		"to the leader": {"t", `topic "t" partition 0`, "broker 0 (%s)"},
		"for a look-up": {"unknown", `looking up topic "unknown"`, "broker %s"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			conf := testConfig()
			h := &hangingToken{opened: make(chan struct{})}
			oauth(c, conf, h)
			p := newAsync(t, c, conf, sluice.WithDeliveryTimeout(200*time.Millisecond))
			t.Cleanup(func() { close(h.opened) })
			h.hangs.Store(true)
			c.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
				return nil, errors.New("connection lost"), true // that of the bootstrap
			})
			send(p, &sarama.ProducerMessage{Topic: line.topic})
			broker := fmt.Sprintf(line.broker, c.ListenAddrs()[0])
			wantSaysWhy(t, receive(t, p.Errors()).Err, line.where, "logging in at "+broker+" with OAUTHBEARER for ")
		})
	}
}
