package apitest

import (
	"context"
	"errors"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// atRest waits until nothing of a producer moves, in a bubble, and returns its Stats. It checks that so many records are in it, each
// in one state, and that topics have what is not refused before it has one.
func atRest(t *testing.T, p *sluice.Producer, records int64) sluice.Stats {
	t.Helper()
	synctest.Wait()
	s := p.Stats()
	if got := sumOf(&s.Records); got != records {
		t.Errorf("%d records are accounted for, of %d: %+v", got, records, s.Records)
	}
	var causes int64
	for _, n := range s.Records.FailedBy {
		causes += n
	}
	if causes != s.Records.Failed.Records {
		t.Errorf("%d have failed, by %v", s.Records.Failed.Records, s.Records.FailedBy)
	}
	return s
}

func sumOf(r *sluice.RecordStats) int64 {
	return r.Buffered.Records + r.InFlight.Records + r.Acknowledged.Records + r.Failed.Records
}

var statsTopic = []kfake.Opt{virtualBrokers(1), kfake.SeedTopics(2, "t")}

// inStats runs a test in a bubble with one broker that has the topic "t".
func inStats(t *testing.T, test func(*testing.T, *virtual)) { inBubble(t, test, statsTopic...) }

// A record is buffered, in flight, and acknowledged.
func TestStatsOfRecords(t *testing.T) {
	inStats(t, func(t *testing.T, v *virtual) {
		held := holdProduce(t, v.Cluster, nil)
		p := newAsync(t, v.Cluster, v.config())
		send(p, message(0, 0))
		receive(t, held.arrived)
		send(p, message(0, 100), message(0, 200)) // they wait for the first one's answer
		s := atRest(t, p, 3)
		const perRecord = 36 // sarama's ByteSize counts as much
		if r := &s.Records; r.Buffered != (sluice.Amount{Records: 2, Bytes: 2 * (perRecord + 3)}) || r.InFlight.Records != 1 ||
			r.InFlight != r.Sent || r.InFlight.Bytes < 61 || r.Retried.Records != 0 {
			t.Errorf("%+v", *r)
		}
		if len(s.Topics) != 1 || s.Topics[0].Topic != "t" || sumOf(&s.Topics[0].Records) != 3 || s.Topics[0].Records.InFlight != s.Records.InFlight {
			t.Errorf("topics: %+v", s.Topics)
		}
		b := brokerOf(t, &s, 0)
		if b.Records.InFlight != s.Records.InFlight || b.Records.Buffered.Records != 0 || b.Requests.InFlight != 1 || s.Requests.InFlight != 1 {
			t.Errorf("%+v", b)
		}
		if s.Memory.Used == 0 || s.Memory.Limit != 32<<20 {
			t.Errorf("memory: %+v", s.Memory)
		}
		held.open()
		successes(t, p, 3)
		s = atRest(t, p, 3)
		if r := &s.Records; r.Acknowledged.Records != 3 || r.Acknowledged != r.Sent || r.Failed != (sluice.Amount{}) || r.FailedBy != nil {
			t.Errorf("%+v", *r)
		}
		if b := brokerOf(t, &s, 0); b.Records.Acknowledged != s.Records.Acknowledged || b.Records.Sent != s.Records.Sent {
			t.Errorf("%+v", b)
		}
		if s.Memory.Used != 0 || s.Unread != 0 || s.Requests.InFlight != 0 || s.Requests.Answered != s.Requests.Sent {
			t.Errorf("%+v, %d unread, %+v", s.Memory, s.Unread, s.Requests)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		closed := atRest(t, p, 3)
		if closed.Records.Acknowledged != s.Records.Acknowledged || closed.Connections.Open != 0 || closed.Connections.Lost != 0 {
			t.Errorf("after Close: %+v, %+v", closed.Records, closed.Connections)
		}
	})
}

func brokerOf(t *testing.T, s *sluice.Stats, id int32) *sluice.BrokerStats {
	t.Helper()
	for i := range s.Brokers {
		if i > 0 && s.Brokers[i].ID < s.Brokers[i-1].ID {
			t.Errorf("brokers are not sorted: %+v", s.Brokers)
		}
		if s.Brokers[i].ID == id {
			return &s.Brokers[i]
		}
	}
	t.Fatalf("no broker %d in %+v", id, s.Brokers)
	return nil
}

// lateDialer dials late, once it is set.
type lateDialer struct {
	*virtual
	after atomic.Int64
}

func (d *lateDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	select {
	case <-time.After(time.Duration(d.after.Load())):
	case <-ctx.Done(): // the dial of pushed metrics, which Close cuts short
		return nil, ctx.Err()
	}
	return d.virtual.DialContext(ctx, network, addr)
}

// wantOne checks that a histogram has one duration.
func wantOne(t *testing.T, stage string, h sluice.Histogram, d time.Duration) {
	t.Helper()
	if h.Count != 1 || h.Sum != d || h.Max != d || h.Quantile(1) != d {
		t.Errorf("%s: %d of %v, at most %v, want %v", stage, h.Count, h.Sum, h.Max, d)
	}
}

// Each stage shows the time that was spent there, and no other one does.
func TestStatsOfStages(t *testing.T) {
	t.Run("queue", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			conf := v.config()
			conf.Producer.Flush.Frequency = 50 * time.Millisecond
			p := newAsync(t, v.Cluster, conf)
			send(p, message(0, 0))
			successes(t, p, 1)
			s := atRest(t, p, 1)
			for _, stages := range []sluice.StageStats{s.Stages, s.Topics[0].Stages} {
				wantOne(t, "queue", stages.Queue, 50*time.Millisecond)
				wantOne(t, "window", stages.Window, 0)
				wantOne(t, "broker", stages.Broker, 0)
				wantOne(t, "hand-over", stages.HandOver, 0)
			}
		})
	})
	t.Run("queue of an Appender", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			conf := v.config()
			conf.Producer.Flush.Frequency = 50 * time.Millisecond
			p := newAsync(t, v.Cluster, conf)
			time.Sleep(time.Minute)
			a, _ := newAppender(t, p)
			appendAt(t, a, 0, 0)
			time.Sleep(time.Second)
			s := atRest(t, p, 1)
			wantOne(t, "queue", s.Stages.Queue, 50*time.Millisecond)
		})
	})
	t.Run("queue with the back-off", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			conf := v.config()
			conf.Producer.Retry.Backoff = 3 * time.Second
			failProduce(v.Cluster, kerr.NotEnoughReplicas, 1)
			p := newAsync(t, v.Cluster, conf)
			send(p, message(0, 0))
			successes(t, p, 1)
			s := atRest(t, p, 1)
			if q := s.Stages.Queue; q.Count != 2 || q.Max != 3*time.Second || q.Sum != q.Max {
				t.Errorf("%+v", q)
			}
			if r := s.Records; r.Retried.Records != 1 || r.Sent.Records != 2 || r.Retried.Bytes*2 != r.Sent.Bytes {
				t.Errorf("%+v", r)
			}
		})
	})
	t.Run("window", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			conf := v.config()
			dialer := &lateDialer{virtual: v}
			conf.Net.Proxy.Dialer = dialer
			p := newAsync(t, v.Cluster, conf, sluice.WithMetricsPush(false)) // whose dial would be late, too
			dialer.after.Store(int64(3 * time.Second))
			send(p, message(0, 0))
			synctest.Wait()
			if s := p.Stats(); s.Records.Buffered.Records != 1 || s.Records.InFlight.Records != 0 {
				t.Errorf("while it is dialled: %+v", s.Records)
			}
			successes(t, p, 1)
			s := atRest(t, p, 1)
			wantOne(t, "queue", s.Stages.Queue, 0)
			wantOne(t, "window", s.Stages.Window, 3*time.Second)
			wantOne(t, "window", s.Topics[0].Stages.Window, 3*time.Second)
			wantOne(t, "window", brokerOf(t, &s, 0).Window, 3*time.Second)
		})
	})
	t.Run("broker", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			slow(t, v.Cluster, 2*time.Second)
			p := newAsync(t, v.Cluster, v.config())
			send(p, message(0, 0))
			successes(t, p, 1)
			s := atRest(t, p, 1)
			wantOne(t, "broker", s.Stages.Broker, 2*time.Second)
			wantOne(t, "broker", s.Topics[0].Stages.Broker, 2*time.Second)
			wantOne(t, "broker", brokerOf(t, &s, 0).Broker, 2*time.Second)
			if l := s.Requests.Latency; l.Max != 2*time.Second || l.Count != s.Requests.Answered {
				t.Errorf("%+v", l)
			}
		})
	})
	t.Run("hand-over", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			conf := v.config()
			conf.ChannelBufferSize = 1
			p := newAsync(t, v.Cluster, conf)
			p.InputBatch() <- messages(3, 1)
			s := atRest(t, p, 3)
			if s.Unread != 3 || s.Stages.HandOver.Count != 0 || s.Records.Acknowledged.Records != 3 {
				t.Errorf("%d unread, %+v", s.Unread, s.Stages.HandOver)
			}
			time.Sleep(7 * time.Second)
			successes(t, p, 3)
			s = atRest(t, p, 3)
			wantOne(t, "hand-over", s.Stages.HandOver, 7*time.Second)
			wantOne(t, "hand-over", s.Topics[0].Stages.HandOver, 7*time.Second)
			if s.Unread != 0 {
				t.Errorf("%d are unread", s.Unread)
			}
		})
	})
	t.Run("hand-over to a callback", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			p := newAsync(t, v.Cluster, v.config())
			err := p.Produce(t.Context(), message(0, 0), func(*sarama.ProducerMessage, error) { time.Sleep(5 * time.Second) })
			if err != nil {
				t.Fatal(err)
			}
			if s := atRest(t, p, 1); s.Unread != 1 {
				t.Errorf("%d unread while the callback runs", s.Unread)
			}
			time.Sleep(6 * time.Second)
			s := atRest(t, p, 1)
			wantOne(t, "hand-over", s.Stages.HandOver, 5*time.Second)
		})
	})
	t.Run("memory", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			held := holdProduce(t, v.Cluster, nil)
			conf := v.config()
			conf.Producer.Return.Successes = false
			p := newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(1024))
			send(p, messages(3, 1)...)
			receive(t, held.arrived)
			synctest.Wait()
			if m := p.Stats().Memory; m.Waiting != 1 || m.Waits != 1 || m.Limit != 1024 || m.Used == 0 {
				t.Errorf("%+v", m)
			}
			time.Sleep(9 * time.Second)
			held.open()
			s := atRest(t, p, 3)
			wantOne(t, "memory", s.Stages.MemoryWait, 9*time.Second)
			if m := s.Memory; m.Waiting != 0 || m.Waits != 1 || m.Used != 0 {
				t.Errorf("%+v", m)
			}
		})
	})
}

// Failures that nobody reads are told apart from other outcomes, in Errors and beyond its room.
func TestStatsOfUnreadErrors(t *testing.T) {
	inStats(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.ChannelBufferSize = 2
		p := newAsync(t, v.Cluster, conf)
		refuse := func(n int) {
			for range n {
				send(p, &sarama.ProducerMessage{Topic: "t", Value: encoder{err: errPlugged}})
			}
		}
		want := func(records, unread, errors int64) {
			t.Helper()
			if s := atRest(t, p, records); s.Unread != unread || s.UnreadErrors != errors {
				t.Errorf("%d unread, %d of them errors; want %d and %d", s.Unread, s.UnreadErrors, unread, errors)
			}
		}
		send(p, message(0, 0))
		want(1, 1, 0)
		refuse(1)
		want(2, 2, 1)
		refuse(5) // two fit
		want(7, 7, 6)
		// Those of a callback are not for Errors.
		err := p.Produce(t.Context(), &sarama.ProducerMessage{Topic: "t", Value: encoder{err: errPlugged}},
			func(*sarama.ProducerMessage, error) { time.Sleep(time.Second) })
		if err != nil {
			t.Fatal(err)
		}
		want(8, 7, 6) // the callback's is a part of what the channel holds: see Unread
		for left := int64(5); left >= 0; left-- {
			receive(t, p.Errors())
			want(8, 1+left, left)
		}
		successes(t, p, 1)
		time.Sleep(time.Second)
		want(8, 0, 0)
	})
	t.Run("of a batch", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			failProduce(v.Cluster, kerr.InvalidRecord, 1)
			conf := v.config()
			conf.ChannelBufferSize, conf.Producer.Flush.Messages = 2, 5
			p := newAsync(t, v.Cluster, conf)
			p.InputBatch() <- messages(5, 1)
			for left := int64(5); left >= 0; left-- {
				if s := atRest(t, p, 5); s.UnreadErrors != left {
					t.Errorf("%d errors are unread, want %d", s.UnreadErrors, left)
				}
				if left > 0 {
					receive(t, p.Errors())
				}
			}
		})
	})
	t.Run("logged", func(t *testing.T) { // nobody could read them
		inStats(t, func(t *testing.T, v *virtual) {
			conf := v.config()
			conf.Producer.Return.Errors = false
			p := newAsync(t, v.Cluster, conf)
			send(p, &sarama.ProducerMessage{Topic: "t", Value: encoder{err: errPlugged}})
			if s := atRest(t, p, 1); s.UnreadErrors != 0 || s.Records.Failed.Records != 1 {
				t.Errorf("%d errors are unread, %+v", s.UnreadErrors, s.Records)
			}
		})
	})
}

// With acks 0 what is written counts as acknowledged, and nothing is waited for.
func TestStatsOfAcksZero(t *testing.T) {
	inStats(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.RequiredAcks = sarama.NoResponse
		p := newAsync(t, v.Cluster, conf)
		send(p, messages(4, 2)...)
		successes(t, p, 4)
		s := atRest(t, p, 4)
		if r := &s.Records; r.Acknowledged.Records != 4 || r.Acknowledged != r.Sent || s.Stages.Broker.Count != 0 {
			t.Errorf("%+v", *r)
		}
		if q := &s.Requests; q.InFlight != 0 || q.Lost != 0 || q.Answered >= q.Sent {
			t.Errorf("%+v", *q)
		}
	})
}

// A batch that expires is in flight no longer. Its answer, which comes later, changes nothing.
func TestStatsOfLateAnswers(t *testing.T) {
	eachIdempotence(t, func(t *testing.T, v *virtual, conf *sarama.Config) {
		held := holdProduce(t, v.Cluster, nil)
		p := newAsync(t, v.Cluster, conf, sluice.WithDeliveryTimeout(time.Second))
		send(p, message(0, 0))
		receive(t, held.arrived)
		wantError(t, receive(t, p.Errors()).Err, causes(sluice.ErrDeliveryTimeout, sluice.ErrOutcomeUnknown))
		want := func(when string) {
			t.Helper()
			r := atRest(t, p, 1).Records
			if r.Failed != (sluice.Amount{Records: 1, Bytes: 37}) || r.OutcomeUnknown != 1 || r.Sent.Records != 1 ||
				!maps.Equal(r.FailedBy, map[sluice.FailureCause]int64{sluice.CauseDeliveryTimeout: 1}) {
				t.Errorf("%s: %+v", when, r)
			}
		}
		want("expired")
		held.open()
		want("answered")
		if s := p.Stats(); s.Requests.InFlight != 0 || brokerOf(t, &s, 0).Records.InFlight != (sluice.Amount{}) {
			t.Errorf("%+v", s.Requests)
		}
	}, virtualBrokers(1), kfake.SeedTopics(1, "t"))
}

func TestStatsOfSplits(t *testing.T) {
	inStats(t, func(t *testing.T, v *virtual) {
		failProduce(v.Cluster, kerr.MessageTooLarge, 1)
		conf := v.config()
		conf.Producer.Flush.Messages = 2
		p := newAsync(t, v.Cluster, conf)
		send(p, messages(2, 1)...)
		successes(t, p, 2)
		s := atRest(t, p, 2)
		if r := &s.Records; r.SplitBatches != 1 || r.Acknowledged.Records != 2 || r.Sent.Records != 4 || r.Retried.Records != 2 {
			t.Errorf("%+v", *r)
		}
		if b := brokerOf(t, &s, 0); b.Records.SplitBatches != 1 || s.Topics[0].Records.SplitBatches != 1 {
			t.Errorf("%+v, %+v", b.Records, s.Topics)
		}
	})
}

func TestStatsOfRequests(t *testing.T) {
	t.Run("throttled", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			v.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				resp := answerProduce(kreq, func(*kmsg.ProduceResponseTopicPartition) {})
				resp.ThrottleMillis = 1500
				return resp, nil, true
			})
			p := newAsync(t, v.Cluster, v.config())
			send(p, message(0, 0))
			successes(t, p, 1)
			s := atRest(t, p, 1)
			if b := brokerOf(t, &s, 0); s.Requests.Throttled != 1500*time.Millisecond || b.Requests.Throttled != s.Requests.Throttled {
				t.Errorf("throttled for %v, of these by the broker %v", s.Requests.Throttled, b.Requests.Throttled)
			}
		})
	})
	t.Run("lost", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			p := newAsync(t, v.Cluster, v.config())
			loseConnections(v.Cluster, 1)
			send(p, message(0, 0))
			successes(t, p, 1)
			s := atRest(t, p, 1)
			if b := brokerOf(t, &s, 0); b.Requests.Lost != 1 || s.Requests.Lost != 1 || b.Connections.Lost != 1 || b.Records.Retried.Records != 1 {
				t.Errorf("%+v", b)
			}
			if q := &s.Requests; q.Sent != q.Answered+1 || q.BytesSent == 0 || q.BytesReceived == 0 {
				t.Errorf("%+v", *q)
			}
		})
	})
}

func TestStatsOfConnections(t *testing.T) {
	t.Run("seeds", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			p := newAsync(t, v.Cluster, v.config())
			s := atRest(t, p, 0)
			if c := brokerOf(t, &s, -1).Connections; c != (sluice.ConnectionStats{Open: 1, Opened: 1}) || s.Brokers[0].Addr != v.ListenAddrs()[0] {
				t.Errorf("%+v", s.Brokers)
			}
			send(p, message(0, 0))
			successes(t, p, 1)
			s = atRest(t, p, 1)
			if c := brokerOf(t, &s, 0).Connections; c.Open != 1 || s.Connections.Open != 2 {
				t.Errorf("%+v, in all %+v", c, s.Connections)
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			p := newAsync(t, v.Cluster, v.config())
			v.refused.Store(&refusal{v.ListenAddrs()[0], errPlugged})
			send(p, message(0, 0))
			time.Sleep(time.Second)
			s := atRest(t, p, 1)
			if c := brokerOf(t, &s, 0).Connections; c.Failed == 0 || c.Opened != 0 {
				t.Errorf("%+v", c)
			}
			v.refused.Store(nil)
			successes(t, p, 1)
		})
	})
	t.Run("wrong password", func(t *testing.T) {
		inBubble(t, func(t *testing.T, v *virtual) {
			p := newAsync(t, v.Cluster, v.saslConfig())
			countLogins(v.Cluster).refuse(sarama.ErrSASLAuthenticationFailed, accessDenied, 0)
			send(p, message(0, 0))
			receive(t, p.Errors())
			s := atRest(t, p, 1)
			if c := brokerOf(t, &s, 0).Connections; c.Failed == 0 || c.Opened != 0 || s.Records.FailedBy[sluice.CauseNotAuthorized] != 1 {
				t.Errorf("%+v, %v", c, s.Records.FailedBy)
			}
		}, withLogin(statsTopic...)...)
	})
	t.Run("forgotten", func(t *testing.T) {
		inStats(t, func(t *testing.T, v *virtual) {
			p := newAsync(t, v.Cluster, v.config(), sluice.WithConnectionsMaxIdle(time.Minute), sluice.WithMetricsPush(false)) // which keeps its broker in use
			send(p, message(0, 0))
			successes(t, p, 1)
			before := atRest(t, p, 1)
			time.Sleep(20 * time.Minute)
			s := atRest(t, p, 1)
			for _, b := range s.Brokers {
				if b.ID == 0 {
					t.Errorf("a broker that was not used for long is there: %+v", b)
				}
			}
			if s.Records.Acknowledged != before.Records.Acknowledged || s.Requests.Sent < before.Requests.Sent || s.Connections.Opened < before.Connections.Opened {
				t.Errorf("before %+v, now %+v", before, s)
			}
		})
	})
}

// A topic that is forgotten is no more among the topics, and its records still count.
func TestStatsOfForgottenTopics(t *testing.T) {
	inStats(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.ChannelBufferSize = 1
		p := newAsync(t, v.Cluster, conf)
		p.InputBatch() <- messages(2, 1)
		time.Sleep(idleTime) // one of them is not taken meanwhile
		s := atRest(t, p, 2)
		if len(s.Topics) != 0 || s.Records.Acknowledged.Records != 2 || s.Unread != 2 || s.Stages.HandOver.Count != 0 {
			t.Errorf("%+v", s)
		}
		successes(t, p, 2)
		send(p, message(0, 0))
		successes(t, p, 1)
		s = atRest(t, p, 3)
		if len(s.Topics) != 1 || s.Topics[0].Records.Acknowledged.Records != 1 || s.Records.Acknowledged.Records != 3 {
			t.Errorf("%+v", s.Topics)
		}
		if h := s.Stages.HandOver; h.Count != 2 || h.Max < idleTime-time.Second || s.Topics[0].Stages.HandOver.Count != 1 {
			t.Errorf("%+v", h)
		}
	})
}

// Stats add up also while a producer runs, and whoever calls it.
func TestStatsConcurrentSafe(t *testing.T) {
	c := newTopicCluster(t, 2, 4)
	p := newAsync(t, c, testConfig())
	const senders, each = 4, 200
	stop := make(chan struct{})
	var readers, all sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				s := p.Stats()
				if r := &s.Records; r.Acknowledged.Records > senders*each || r.Failed.Records > 0 || len(s.Topics) > 1 {
					t.Errorf("%+v", s)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range senders {
		all.Go(func() {
			for i := range each {
				if _, _, err := p.SendMessage(message(int32(i)%4, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	// A sender's record is counted before the sender is told.
	if r := p.Stats().Records; r.Acknowledged.Records != senders*each || r.Buffered != (sluice.Amount{}) || r.InFlight != (sluice.Amount{}) {
		t.Errorf("%+v", r)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	close(stop)
	readers.Wait()
}

// Stats allocates its result, and nothing else.
func TestStatsAllocatesItsResult(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig())
	send(p, message(0, 0))
	successes(t, p, 1)
	s := p.Stats()
	want := 2.0 // topics and brokers
	count := func(histograms ...sluice.Histogram) {
		for _, h := range histograms {
			if h.Buckets != nil {
				want++
			}
		}
	}
	stages := func(s *sluice.StageStats) { count(s.MemoryWait, s.Queue, s.Window, s.Broker, s.HandOver) }
	stages(&s.Stages)
	count(s.Requests.Latency)
	for i := range s.Topics {
		stages(&s.Topics[i].Stages)
	}
	for i := range s.Brokers {
		count(s.Brokers[i].Window, s.Brokers[i].Broker, s.Brokers[i].Requests.Latency)
	}
	if got := testing.AllocsPerRun(100, func() { p.Stats() }); got != want {
		t.Errorf("%g allocations, and the result has %g parts", got, want)
	}
}

// Each cause comes from a failure.
func TestStatsOfFailures(t *testing.T) {
	failed := func(t *testing.T, p *sluice.Producer) {
		t.Helper()
		receive(t, p.Errors())
	}
	for cause, fail := range map[sluice.FailureCause]func(*testing.T, *virtual) *sluice.Producer{
		sluice.CauseDeliveryTimeout: func(t *testing.T, v *virtual) *sluice.Producer {
			swallowProduce(v.Cluster, 0)
			p := newAsync(t, v.Cluster, v.config(), sluice.WithDeliveryTimeout(time.Second))
			send(p, message(0, 0))
			failed(t, p)
			return p
		},
		sluice.CauseTooLarge: func(t *testing.T, v *virtual) *sluice.Producer {
			p := newAsync(t, v.Cluster, v.config())
			msg := &sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, 2<<20))}
			if err := p.Produce(t.Context(), msg, nil); err == nil {
				t.Error("it was taken")
			}
			return p
		},
		sluice.CauseInvalid: func(t *testing.T, v *virtual) *sluice.Producer {
			p := newAsync(t, v.Cluster, v.config())
			send(p, &sarama.ProducerMessage{Topic: "t", Value: encoder{err: errPlugged}})
			failed(t, p)
			return p
		},
		sluice.CauseUnknownTopic: func(t *testing.T, v *virtual) *sluice.Producer {
			conf := v.config()
			conf.Metadata.AllowAutoTopicCreation = false
			conf.Metadata.Retry.Max = 0
			p := newAsync(t, v.Cluster, conf)
			send(p, message(7, 0))
			failed(t, p)
			return p
		},
		sluice.CauseUnavailable: func(t *testing.T, v *virtual) *sluice.Producer {
			failProduce(v.Cluster, kerr.NotEnoughReplicas, 1)
			conf := v.config()
			conf.Producer.Retry.Max = 0
			p := newAsync(t, v.Cluster, conf)
			send(p, message(0, 0))
			failed(t, p)
			return p
		},
		sluice.CauseNotAuthorized: func(t *testing.T, v *virtual) *sluice.Producer {
			failProduce(v.Cluster, kerr.TopicAuthorizationFailed, 1)
			p := newAsync(t, v.Cluster, v.config())
			send(p, message(0, 0))
			failed(t, p)
			return p
		},
		sluice.CauseRefused: func(t *testing.T, v *virtual) *sluice.Producer {
			failProduce(v.Cluster, kerr.InvalidRecord, 1)
			p := newAsync(t, v.Cluster, v.config())
			send(p, message(0, 0))
			failed(t, p)
			return p
		},
		sluice.CauseTransaction: func(t *testing.T, v *virtual) *sluice.Producer {
			conf := idempotent(v.config())
			conf.Producer.Transaction.ID = "tx"
			p := newAsync(t, v.Cluster, conf)
			send(p, message(0, 0)) // outside of one
			failed(t, p)
			return p
		},
		sluice.CauseBufferFull: func(t *testing.T, v *virtual) *sluice.Producer {
			held := holdProduce(t, v.Cluster, nil)
			p := newAsync(t, v.Cluster, v.config(), sluice.WithBufferMemory(1024))
			p.InputBatch() <- messages(2, 1)
			synctest.Wait()
			if err := p.Produce(ended(), message(0, 2), nil); !errors.Is(err, sluice.ErrBufferFull) {
				t.Error(err)
			}
			held.open()
			successes(t, p, 2)
			return p
		},
		sluice.CauseCancelled: func(t *testing.T, v *virtual) *sluice.Producer {
			conf := v.config()
			conf.Metadata.Full = false
			p := newAsync(t, v.Cluster, conf)
			held := holdLookUps(t, v.Cluster)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, _, err := p.SendMessageContext(ctx, message(0, 0)); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			held.open()
			return p
		},
		sluice.CauseClosed: func(t *testing.T, v *virtual) *sluice.Producer {
			p := newAsync(t, v.Cluster, v.config())
			mustClose(t, p)
			if _, _, err := p.SendMessage(message(0, 0)); !errors.Is(err, sarama.ErrShuttingDown) {
				t.Error(err)
			}
			return p
		},
	} {
		t.Run(string(cause), func(t *testing.T) {
			inStats(t, func(t *testing.T, v *virtual) {
				p := fail(t, v)
				synctest.Wait()
				s := p.Stats()
				s = atRest(t, p, s.Records.Acknowledged.Records+1)
				if r := &s.Records; r.Failed.Records != 1 || r.FailedBy[cause] != 1 {
					t.Errorf("%+v", *r)
				}
			})
		})
	}
}

// What is left when Close runs out of time has failed.
func TestStatsOfCloseWithContext(t *testing.T) {
	inStats(t, func(t *testing.T, v *virtual) {
		held := holdProduce(t, v.Cluster, nil)
		p := newAsync(t, v.Cluster, v.config())
		send(p, message(0, 0))
		receive(t, held.arrived)
		send(p, message(0, 1))
		_ = p.CloseContext(ended())
		s := atRest(t, p, 2)
		if r := &s.Records; r.FailedBy[sluice.CauseClosed] != 2 || r.OutcomeUnknown != 1 || s.Unread != 0 {
			t.Errorf("%+v, %d unread", *r, s.Unread)
		}
	})
}
