package apitest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/certtest"
	"github.com/sluice-kafka/sluice/internal/flow"
)

// What each event of the log comes from. TestEachEventIsCausedAndDocumented wants a line here, and one in docs/logs.md, for every
// event.

// cause makes an event happen. The log is log's.
type cause struct {
	event  *flow.Event
	attrs  map[string]string // that its record must have, as text; an empty one only has to be there
	bubble []kfake.Opt       // not nil: it runs in a bubble, with a cluster of these
	happen func(t *testing.T, v *virtual, log *book)
}

var inABubble = []kfake.Opt{kfake.SeedTopics(1, "t")}

var eventCauses = []cause{
	{event: flow.Connected, attrs: map[string]string{"broker": "0", "addr": "", "took": "", "tls": "false"},
		happen: func(t *testing.T, _ *virtual, log *book) {
			p := newAsync(t, newTopicCluster(t, 1, 1), testConfig(), log.option())
			send(p, message(0, 0))
			successes(t, p, 1)
		}},
	{event: flow.ConnectedAgain, attrs: map[string]string{"broker": "", "addr": "", "took": "", "tls": "false"}, bubble: inABubble,
		happen: func(t *testing.T, v *virtual, log *book) {
			log.level.Set(slog.LevelDebug)
			p := newAsync(t, v.Cluster, v.config(), log.option(), sluice.WithConnectionsMaxIdle(time.Second), sluice.WithMetricsPush(false))
			for i := range 2 {
				send(p, message(0, i))
				successes(t, p, 1)
				time.Sleep(2 * time.Second) // the connection is idle, and closed
			}
		}},
	{event: flow.NotConnected, attrs: map[string]string{"addr": "", "cause": ""}, bubble: inABubble,
		happen: func(t *testing.T, v *virtual, log *book) {
			p := newAsync(t, v.Cluster, v.config(), log.option())
			v.refused.Store(&refusal{v.ListenAddrs()[v.LeaderFor("t", 0)], errPlugged})
			send(p, message(0, 0))
			log.await(t, "not connected", map[string]string{"addr": v.refused.Load().addr})
		}},
	{event: flow.LoginFailed, attrs: map[string]string{"addr": "", "mechanism": "PLAIN", "cause": ""}, bubble: withLogin(inABubble...),
		happen: func(t *testing.T, v *virtual, log *book) {
			countLogins(v.Cluster).refuse(sarama.ErrSASLAuthenticationFailed, accessDenied, 0)
			conf := v.saslConfig()
			if _, err := sluice.New(v.ListenAddrs(), conf, log.option()); !errors.Is(err, sarama.ErrSASLAuthenticationFailed) {
				t.Error(err)
			}
		}},
	{event: flow.LoginRepeated, attrs: map[string]string{"addr": "", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 1, 1)
			conf := testConfig()
			var n atomic.Int32
			c.ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				resp := kreq.ResponseKind().(*kmsg.SASLAuthenticateResponse)
				if n.Add(1) == 1 {
					resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
				}
				return resp, nil, true
			})
			oauth(c, conf, &hangingToken{})
			newAsync(t, c, conf, log.option())
		}},
	{event: flow.TokenNotRenewed, attrs: map[string]string{"cause": "the identity provider is down"},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 1, 1)
			conf := testConfig()
			oauth(c, conf, oldToken{})
			newAsync(t, c, conf, log.option())
		}},
	{event: flow.FilesChanged, attrs: map[string]string{"addr": ""}, happen: func(t *testing.T, _ *virtual, log *book) {
		withCertificates(t, []string{"localhost"}, func(t *testing.T, c *certified) {
			p := newAsync(t, c.Cluster, c.config(), log.option())
			for range 30 {
				send(p, message(0, 0))
				successes(t, p, 1)
				time.Sleep(time.Second)
				if c.rotations == 1 {
					c.rotate("localhost")
				}
			}
			p.Close()
		})
	}},
	{event: flow.FilesNotTaken, attrs: map[string]string{"cause": ""}, happen: func(t *testing.T, _ *virtual, log *book) {
		withCertificates(t, []string{"localhost"}, func(t *testing.T, c *certified) {
			p := newAsync(t, c.Cluster, c.config(), log.option())
			certtest.Write(t, filepath.Join(c.dir, "ca.pem"), []byte("half of a file"))
			for range 30 {
				send(p, message(0, 0))
				successes(t, p, 1)
				time.Sleep(time.Second)
			}
			told := len(log.all("TLS files not taken"))
			c.rotate("localhost")
			for range 30 {
				time.Sleep(time.Second)
				send(p, message(0, 0))
				successes(t, p, 1)
			}
			if now := len(log.all("TLS files not taken")); told == 0 || now > told+2 {
				t.Errorf("told %d times, %d when the files were good again", told, now)
			}
			p.Close()
		})
	}},
	{event: flow.VersionsAssumed, attrs: map[string]string{"addr": "", "version": "2.1.0", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 1, 1)
			c.ControlKey(int16(kmsg.ApiVersions), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				return nil, errors.New("connection lost"), true
			})
			conf := testConfig()
			conf.Version = sarama.V2_1_0_0
			newAsync(t, c, conf, log.option())
		}},
	{event: flow.ConnectionLost, attrs: map[string]string{"broker": "0", "addr": "", "open_requests": "1", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 1, 1)
			p := newAsync(t, c, testConfig(), log.option())
			loseConnections(c, 1)
			send(p, message(0, 0))
			successes(t, p, 1)
		}},
	{event: flow.SlowAnswer, attrs: map[string]string{"broker": "", "addr": "", "open_requests": "1", "waited": "5s", "cause": ""},
		bubble: inABubble, happen: func(t *testing.T, v *virtual, log *book) {
			held := holdProduce(t, v.Cluster, nil)
			p := newAsync(t, v.Cluster, v.config(), log.option())
			send(p, message(0, 0))
			log.await(t, "slow answer", nil)
			time.Sleep(10 * time.Second)
			held.open()
			successes(t, p, 1)
			log.await(t, "back to normal", map[string]string{"addr": v.ListenAddrs()[v.LeaderFor("t", 0)]})
		}},
	{event: flow.LeaderChanged, attrs: map[string]string{"topic": "t", "partition": "0", "from_broker": "0", "broker": "1", "leader_epoch": "", "partitions": "1"},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 2, 1)
			p := newAsync(t, c, testConfig(), log.option())
			send(p, message(0, 0))
			successes(t, p, 1)
			move(t, c, 0, 1)
			send(p, message(0, 1))
			successes(t, p, 1)
		}},
	{event: flow.LeaderEpochBack, attrs: map[string]string{"topic": "t", "partition": "0", "broker": "1", "leader_epoch": "1", "from_epoch": "100", "answers": "5"},
		bubble: inABubble, happen: func(t *testing.T, v *virtual, log *book) {
			move(t, v.Cluster, 0, 0)
			var node, epoch atomic.Int32
			epoch.Store(100)
			answerMetadata(v.Cluster, func() (int32, int32) { return node.Load(), epoch.Load() })
			conf := v.config()
			conf.Producer.Retry.Max = 1000
			p := newAsync(t, v.Cluster, conf, log.option())
			send(p, message(0, 0))
			successes(t, p, 1)
			move(t, v.Cluster, 0, 1)
			node.Store(1)
			epoch.Store(1)
			send(p, message(0, 1))
			successes(t, p, 1)
		}},
	{event: flow.NoLeader, attrs: map[string]string{"topic": "t", "partition": "0", "partitions": "1", "cause": ""}, bubble: inABubble,
		happen: func(t *testing.T, v *virtual, log *book) {
			conf := v.config()
			conf.Metadata.Full = false
			p := newAsync(t, v.Cluster, conf, log.option())
			answerMetadata(v.Cluster, func() (int32, int32) { return -1, 1 })
			send(p, message(0, 0))
		}},
	{event: flow.TopicNotFound, attrs: map[string]string{"topic": "absent", "topics": "1", "cause": ""}, bubble: inABubble,
		happen: func(t *testing.T, v *virtual, log *book) {
			conf := v.config()
			conf.Metadata.AllowAutoTopicCreation = false
			p := newAsync(t, v.Cluster, conf, log.option())
			send(p, &sarama.ProducerMessage{Topic: "absent"})
		}},
	{event: flow.LookUpFailed, attrs: map[string]string{"topic": "t", "cause": ""}, bubble: inABubble,
		happen: func(t *testing.T, v *virtual, log *book) {
			conf := v.config()
			conf.Metadata.Full = false
			p := newAsync(t, v.Cluster, conf, log.option())
			v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.LeaderNotAvailable, Count: -1})
			send(p, message(0, 0))
		}},
	{event: flow.Retrying, attrs: map[string]string{
		"topic": "t", "partition": "0", "broker": "0", "addr": "", "leader_epoch": "", "producer_id": "", "producer_epoch": "0",
		"failures": "1", "batches": "1", "partitions": "1", "cause": "",
	}, happen: func(t *testing.T, _ *virtual, log *book) {
		c := newTopicCluster(t, 1, 1)
		failProduce(c, kerr.NotEnoughReplicas, 2)
		p := newAsync(t, c, idempotent(testConfig()), log.option())
		send(p, message(0, 0))
		successes(t, p, 1)
	}},
	{event: flow.BackToNormal, attrs: map[string]string{"topic": "t", "partition": "0", "broker": "0", "addr": "", "took": "", "retries": "2"},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 1, 1)
			failProduce(c, kerr.NotEnoughReplicas, 2)
			p := newAsync(t, c, testConfig(), log.option())
			send(p, message(0, 0))
			successes(t, p, 1)
		}},
	{event: flow.BatchSplit, attrs: map[string]string{"topic": "t", "partition": "0", "broker": "0", "records": "2", "bytes": "", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 1, 1)
			failProduce(c, kerr.MessageTooLarge, 1)
			conf := testConfig()
			conf.Producer.Flush.Messages = 2
			p := newAsync(t, c, conf, log.option())
			send(p, messages(2, 1)...)
			successes(t, p, 2)
		}},
	{event: flow.EpochBumped, attrs: map[string]string{"topic": "t", "partition": "0", "producer_id": "", "from_epoch": "0", "producer_epoch": "1"},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 1, 1)
			failProduce(c, kerr.RequestTimedOut, 2)
			conf := idempotent(testConfig())
			conf.Producer.Retry.Max = 1
			p := newAsync(t, c, conf, log.option())
			send(p, message(0, 0))
			<-p.Errors()
			send(p, message(0, 1))
			successes(t, p, 1)
		}},
	{event: flow.NoProducerID, attrs: map[string]string{"tries": "", "final": "false", "cause": ""}, bubble: inABubble,
		happen: func(t *testing.T, v *virtual, log *book) {
			v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.CoordinatorNotAvailable, Count: -1})
			newAsync(t, v.Cluster, idempotent(v.config()), log.option())
		}},
	{event: flow.MemoryFull, attrs: map[string]string{
		"for": "1s", "limit": "2000", "used": "", "waiters": "1", "messages": "", "unread": "0", "unread_bytes": "0", "waits_for": "",
	}, bubble: inABubble, happen: fillMemory},
	{event: flow.MemoryFree, attrs: map[string]string{"took": ""}, bubble: inABubble, happen: fillMemory},
	{event: flow.OutcomesUnread, attrs: map[string]string{"unread_at": "Successes", "unread": "", "unread_bytes": "", "limit": "3000", "allowed": "15000"},
		bubble: inABubble, happen: func(t *testing.T, v *virtual, log *book) {
			conf := v.config()
			conf.ChannelBufferSize = 1
			p := newAsync(t, v.Cluster, conf, log.option(), sluice.WithBufferMemory(3000))
			go send(p, messages(40, 1)...)
			log.await(t, "outcomes unread", nil)
			successes(t, p, 40)
		}},
	{event: flow.MessagesFailed, attrs: map[string]string{"topic": "t", "messages": "1", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 1, 1)
			failProduce(c, kerr.InvalidRecord, 1)
			conf := testConfig()
			conf.Producer.Return.Errors = false
			p := newAsync(t, c, conf, log.option())
			send(p, message(0, 0))
		}},
	{event: flow.NilMessage, happen: func(t *testing.T, _ *virtual, log *book) {
		send(newAsync(t, newTopicCluster(t, 1, 1), testConfig(), log.option()), nil)
	}},
	{event: flow.InterceptorFailed, attrs: map[string]string{"interceptor": "apitest.panics", "topic": "t"},
		happen: func(t *testing.T, _ *virtual, log *book) {
			conf := testConfig()
			conf.Producer.Interceptors = []sarama.ProducerInterceptor{panics{}}
			send(newAsync(t, newTopicCluster(t, 1, 1), conf, log.option()), message(0, 0))
		}},
	{event: flow.TracerFailed, attrs: map[string]string{"topic": "t", "when": "as a message began", "panic": "string"},
		happen: func(t *testing.T, _ *virtual, log *book) {
			p := newAsync(t, newTopicCluster(t, 1, 1), testConfig(), log.option(), sluice.WithTracer(&tracer{panicAtBegin: "secret"}))
			send(p, message(0, 0))
		}},
	{event: flow.SettingAdjusted, attrs: map[string]string{"setting": "Producer.MaxMessageBytes", "from": "1073741824", "to": "", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			conf := testConfig()
			conf.Producer.MaxMessageBytes = 1 << 30
			newAsync(t, newTopicCluster(t, 1, 1), conf, log.option())
		}},
	{event: flow.SettingDoubtful, attrs: map[string]string{"setting": "Net.ReadTimeout", "value": "1s", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			conf := testConfig()
			conf.Producer.RequiredAcks, conf.Net.ReadTimeout = sarama.WaitForAll, time.Second
			newAsync(t, newTopicCluster(t, 1, 1), conf, log.option())
		}},
	{event: flow.SettingIgnored, attrs: map[string]string{"setting": "send.buffer.bytes", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			conf, opts, err := sluice.ConfigFromProperties(map[string]string{"send.buffer.bytes": "1000"})
			if err != nil {
				t.Fatal(err)
			}
			newAsync(t, newTopicCluster(t, 1, 1), conf, append(opts, log.option())...)
		}},
	{event: flow.RequestRepeated, attrs: map[string]string{"transactional_id": "tx", "request": "EndTxn", "pause": "", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 3, 4)
			p := newAsync(t, c, txnConfig(), log.option())
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.CoordinatorLoadInProgress})
			begin(t, p)
			send(p, message(0, 0))
			commit(t, p)
		}},
	{event: flow.EpochNotRenewed, attrs: map[string]string{"transactional_id": "tx", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 3, 4, kfake.MaxVersions(kversion.V3_9_0()))
			p := newAsync(t, c, txnConfig(), log.option())
			c.ControlKey(int16(kmsg.AddPartitionsToTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
				return nil, errors.New("connection lost"), true // it may come late: the next transaction needs another epoch
			})
			begin(t, p)
			send(p, message(0, 0))
			if err := p.Flush(impatient(t)); err != nil {
				t.Fatal(err)
			}
			fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.CoordinatorLoadInProgress, Count: -1})
			commit(t, p)
			fault.Remove()
		}},
	{event: flow.FeaturesUnknown, attrs: map[string]string{"transactional_id": "tx", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 3, 4)
			p := newAsync(t, c, txnConfig(), log.option())
			begin(t, p)
			send(p, message(0, 0))
			if err := p.Flush(impatient(t)); err != nil {
				t.Fatal(err)
			}
			c.ControlKey(int16(kmsg.ApiVersions), func(kmsg.Request) (kmsg.Response, error, bool) {
				return nil, errors.New("connection lost"), true
			})
			commit(t, p)
		}},
	{event: flow.TransactionFailed, attrs: map[string]string{"transactional_id": "tx", "producer_id": "", "producer_epoch": "0", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 3, 4)
			p := newAsync(t, c, txnConfig(), log.option())
			drainErrors(p)
			begin(t, p)
			failProduce(c, kerr.InvalidRecord, 1)
			send(p, message(0, 0))
			wantAbortable(t, p, p.CommitTxn(), sarama.KError(kerr.InvalidRecord.Code))
		}},
	{event: flow.NotAborted, attrs: map[string]string{"transactional_id": "tx", "timeout": "1m0s", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 3, 4)
			p := newAsync(t, c, txnConfig(), log.option())
			begin(t, p)
			send(p, message(0, 0))
			if err := p.Flush(impatient(t)); err != nil {
				t.Fatal(err)
			}
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.ProducerFenced, Count: -1})
			p.Close()
		}},
	{event: flow.CannotGoOn, attrs: map[string]string{"transactional_id": "tx", "producer_id": "", "producer_epoch": "0", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			c := newTopicCluster(t, 3, 4)
			p := newAsync(t, c, txnConfig(), log.option())
			begin(t, p)
			send(p, message(0, 0))
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.ProducerFenced, Count: -1})
			wantFatal(t, p, p.CommitTxn())
		}},
	{event: flow.MetricsSubscribed, attrs: map[string]string{"addr": "", "client_instance_id": "", "interval": "30s", "metrics": "*"},
		bubble: inABubble, happen: func(t *testing.T, v *virtual, log *book) {
			newAsync(t, v.Cluster, v.config(), log.option())
			time.Sleep(2 * time.Second)
		}},
	{event: flow.MetricsNotTaken, attrs: map[string]string{"addr": "", "cause": "", "final": "true"},
		bubble: inABubble, happen: func(t *testing.T, v *virtual, log *book) {
			refusePushes(v.Cluster, kerr.InvalidRecord)
			newAsync(t, v.Cluster, v.config(), log.option())
			time.Sleep(time.Minute)
		}},
	{event: flow.RequestAnswered, attrs: map[string]string{"broker": "0", "addr": "", "request": "Produce", "version": "", "batches": "1", "answer_bytes": "", "took": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			log.level.Set(slog.LevelDebug)
			p := newAsync(t, newTopicCluster(t, 1, 1), testConfig(), log.option())
			send(p, message(0, 0))
			successes(t, p, 1)
			log.await(t, "request answered", map[string]string{"request": "Produce"})
		}},
	{event: flow.RequestLost, attrs: map[string]string{"broker": "0", "addr": "", "request": "Produce", "version": "", "took": "", "cause": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			log.level.Set(slog.LevelDebug)
			c := newTopicCluster(t, 1, 1)
			p := newAsync(t, c, testConfig(), log.option())
			loseConnections(c, 1)
			send(p, message(0, 0))
			successes(t, p, 1)
		}},
	{event: flow.RecordsDropped, attrs: map[string]string{"records": ""},
		happen: func(t *testing.T, _ *virtual, log *book) {
			slow := &slowBook{book: log, opened: make(chan struct{})}
			p := newAsync(t, newTopicCluster(t, 1, 1), testConfig(), sluice.WithLogger(slog.New(slow)))
			for i := range 1100 {
				if _, _, err := p.SendMessage(message(0, i)); err != nil {
					t.Fatal(err)
				}
			}
			close(slow.opened)
			ctx := impatient(t)
			for n := 0; len(log.all("records dropped")) == 0 && ctx.Err() == nil; n++ {
				if _, _, err := p.SendMessage(message(0, n)); err != nil {
					t.Fatal(err)
				}
			}
		}},
}

// oldToken is a provider with a token that is still good, and no new one.
type oldToken struct{}

func (oldToken) Token() (*sarama.AccessToken, error) { return &sarama.AccessToken{Token: "t"}, nil }
func (oldToken) LastError() error                    { return errors.New("the identity provider is down") }

// slowBook is a handler that hangs until it is opened.
type slowBook struct {
	*book
	opened chan struct{}
}

func (b *slowBook) Enabled(context.Context, slog.Level) bool { return true }

func (b *slowBook) Handle(ctx context.Context, r slog.Record) error {
	<-b.opened
	return b.book.Handle(ctx, r)
}

type panics struct{}

func (panics) OnSend(*sarama.ProducerMessage) { panic("secret of a message") }

// fillMemory has a broker hold messages until the memory is used up for a while, then takes them.
func fillMemory(t *testing.T, v *virtual, log *book) {
	held := holdProduce(t, v.Cluster, nil)
	conf := v.config()
	conf.Producer.Return.Successes = false
	p := newAsync(t, v.Cluster, conf, log.option(), sluice.WithBufferMemory(2000))
	go send(p, messages(40, 1)...)
	log.await(t, "memory full", nil)
	held.open()
	log.await(t, "memory free again", nil)
}

func TestEventCauses(t *testing.T) {
	for _, cause := range eventCauses {
		t.Run(strings.ReplaceAll(cause.event.Name, " ", "_"), func(t *testing.T) {
			run := func(t *testing.T, v *virtual) {
				log := newBook()
				cause.happen(t, v, log)
				want := map[string]string{}
				for key, value := range cause.attrs {
					if value != "" {
						want[key] = value
					}
				}
				got := log.await(t, cause.event.Name, want)
				for key := range cause.attrs {
					if _, ok := got[key]; !ok {
						t.Errorf("there is no %q: %v", key, got)
					}
				}
				for _, r := range log.all(cause.event.Name) {
					if r.Level != cause.event.Level {
						t.Errorf("level %v", r.Level)
					}
				}
				wantNoSecrets(t, log)
			}
			if cause.bubble == nil {
				run(t, nil)
				return
			}
			inBubble(t, run, cause.bubble...)
		})
	}
}

// wantNoSecrets looks for what no record may hold: the password, and what an interceptor panicked with.
func wantNoSecrets(t *testing.T, log *book) {
	t.Helper()
	for _, secret := range []string{"secret", "StringEncoder"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q: %s", secret, log)
		}
	}
}

// rowForm is a row of a table of events.
var rowForm = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (debug|info|warn|error) \\| [^|]+ \\| [^|]+ \\|$")

func TestEachEventIsCausedAndDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, have []string
	for _, row := range rowForm.FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, row[1]+" "+row[2])
	}
	for _, e := range flow.Events {
		have = append(have, e.Name+" "+strings.ToLower(e.Level.String()))
		if !slices.ContainsFunc(eventCauses, func(c cause) bool { return c.event == e }) {
			t.Errorf("nothing causes %q", e.Name)
		}
	}
	if !slices.Equal(documented, have) {
		t.Errorf("docs/logs.md has\n%s\nwant\n%s", strings.Join(documented, "\n"), strings.Join(have, "\n"))
	}
	for _, c := range eventCauses {
		for key := range c.attrs {
			if text := string(page); !strings.Contains(text, "`"+key+"`") {
				t.Errorf("docs/logs.md does not say what %q of %q is", key, c.event.Name)
			}
		}
	}
}
