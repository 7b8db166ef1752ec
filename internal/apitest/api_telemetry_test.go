package apitest

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/telemetry/telemetrytest"
)

// refusePushes has every push of metrics refused.
func refusePushes(c *kfake.Cluster, with *kerr.Error) {
	c.ControlKey(int16(kmsg.PushTelemetry), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.PushTelemetryResponse)
		resp.ErrorCode = with.Code
		return resp, nil, true
	})
}

// pushes are the requests of KIP-714 that a cluster has got.
type pushes struct {
	mu   sync.Mutex
	asks []*kmsg.GetTelemetrySubscriptionsRequest
	all  []*kmsg.PushTelemetryRequest
}

// watchPushes has the cluster ask for what change makes of kfake's subscription: all metrics, as deltas, every 30 s.
func watchPushes(c *kfake.Cluster, change func(*kmsg.GetTelemetrySubscriptionsResponse)) *pushes {
	p := &pushes{}
	c.ControlKey(int16(kmsg.GetTelemetrySubscriptions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asks = append(p.asks, kreq.(*kmsg.GetTelemetrySubscriptionsRequest))
		if change == nil {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.GetTelemetrySubscriptionsResponse)
		resp.ClientInstanceID, resp.SubscriptionID, resp.PushIntervalMillis = [16]byte{1}, 2, 30_000
		resp.TelemetryMaxBytes, resp.DeltaTemporality, resp.RequestedMetrics = 1<<20, true, []string{"*"}
		change(resp)
		return resp, nil, true
	})
	c.ControlKey(int16(kmsg.PushTelemetry), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.all = append(p.all, kreq.(*kmsg.PushTelemetryRequest))
		if change == nil {
			return nil, nil, false
		}
		return kreq.ResponseKind(), nil, true
	})
	return p
}

// seen are the pushes so far, decoded, and how many requests for a subscription there were.
func (p *pushes) seen(t *testing.T) (all []*telemetrytest.Data, last []bool, asks int) {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, req := range p.all {
		data, err := telemetrytest.Push(req.CompressionType, req.Metrics)
		if err != nil {
			t.Fatalf("codec %d: %v", req.CompressionType, err)
		}
		all, last = append(all, data), append(last, req.Terminating)
	}
	return all, last, len(p.asks)
}

// A producer pushes each interval, and once more when it is closed, with the codec that the broker names first.
func TestMetricsArePushed(t *testing.T) {
	for _, codec := range []int8{0, 1, 2, 3, 4} {
		inBubble(t, func(t *testing.T, v *virtual) {
			got := watchPushes(v.Cluster, func(r *kmsg.GetTelemetrySubscriptionsResponse) {
				r.AcceptedCompressionTypes = []int8{17, codec}
			})
			conf := v.config()
			conf.RackID = "rack b"
			p := newAsync(t, v.Cluster, conf)
			send(p, message(0, 0))
			successes(t, p, 1)
			time.Sleep(50 * time.Second)
			if all, _, asks := got.seen(t); len(all) == 0 || asks != 1 {
				t.Fatalf("codec %d: %d pushes, %d requests for a subscription", codec, len(all), asks)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			all, last, _ := got.seen(t)
			for i, end := range last {
				if end != (i == len(last)-1) {
					t.Errorf("codec %d: terminating: %v", codec, last)
				}
				if all[i].Resource["client_rack"] != "rack b" || all[i].Scope == "" || len(all[i].Metrics) == 0 {
					t.Errorf("codec %d: %+v", codec, all[i])
				}
			}
			if c := got.all[0].CompressionType; c != codec {
				t.Errorf("compressed with codec %d, want %d", c, codec)
			}
		}, kfake.SeedTopics(1, "t"))
	}
}

// kfake keeps to the protocol: an id that it has given, and the subscription that it knows under it.
func TestMetricsPushedToKfake(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		got := watchPushes(v.Cluster, nil)
		log := newBook()
		p := newAsync(t, v.Cluster, v.config(), log.option())
		time.Sleep(10 * time.Minute)
		if all, _, asks := got.seen(t); len(all) < 19 || asks != 1 {
			t.Errorf("%d pushes, %d requests for a subscription", len(all), asks)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if refused := log.all("metrics not taken"); len(refused) > 0 {
			t.Error(log)
		}
		if told := log.all("metrics subscribed"); len(told) != 1 {
			t.Error(log)
		}
	}, kfake.SeedTopics(1, "t"))
}

// Who does not want it, or can't ask for it not to be, pushes nothing. Nor does a producer whose brokers don't have the requests,
// or do not say so: it does not even dial.
func TestNothingIsPushed(t *testing.T) {
	plain := func(p sarama.AsyncProducer, err error) (*sluice.Producer, error) {
		if err != nil {
			return nil, err
		}
		return p.(*sluice.Producer), nil
	}
	for _, tt := range []struct {
		name string
		make func(addrs []string, conf *sarama.Config) (*sluice.Producer, error)
		opts []kfake.Opt
	}{
		{"switched off", func(addrs []string, conf *sarama.Config) (*sluice.Producer, error) {
			return sluice.New(addrs, conf, sluice.WithMetricsPush(false))
		}, nil},
		{"sarama's constructor", func(addrs []string, conf *sarama.Config) (*sluice.Producer, error) {
			return plain(sluice.NewAsyncProducer(addrs, conf))
		}, nil},
		{"Kafka 3.6", func(addrs []string, conf *sarama.Config) (*sluice.Producer, error) {
			return sluice.New(addrs, conf)
		}, []kfake.Opt{kfake.MaxVersions(kversion.V3_6_0())}},
		{"brokers that are not asked", func(addrs []string, conf *sarama.Config) (*sluice.Producer, error) {
			conf.ApiVersionsRequest, conf.Version = false, sarama.V4_1_0_0
			return sluice.New(addrs, conf)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				got := watchPushes(v.Cluster, nil)
				conf := v.config()
				d := v.countDials(conf)
				p, err := tt.make(v.ListenAddrs(), conf)
				if err != nil {
					t.Fatal(err)
				}
				closeAfter(t, p)
				send(p, message(0, 0))
				successes(t, p, 1)
				dials := d.count()
				time.Sleep(5 * time.Minute)
				if all, _, asks := got.seen(t); len(all)+asks > 0 || d.count() != dials {
					t.Errorf("%d pushes, %d requests for a subscription, %d dials", len(all), asks, d.count()-dials)
				}
			}, append(tt.opts, kfake.SeedTopics(1, "t"), virtualBrokers(1))...)
		})
	}
}

// A broker that answers no push holds up neither messages nor, for long, Close.
func TestPushesWithoutAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		v.ControlKey(int16(kmsg.PushTelemetry), func(kmsg.Request) (kmsg.Response, error, bool) {
			v.KeepControl()
			return nil, nil, true // it answers nothing
		})
		p := newAsync(t, v.Cluster, v.config())
		for i := range 10 {
			time.Sleep(13 * time.Second)
			begin := time.Now()
			send(p, message(0, i))
			successes(t, p, 1)
			if took := time.Since(begin); took > time.Second {
				t.Errorf("message %d took %v", i, took)
			}
		}
		begin := time.Now()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 1100*time.Millisecond {
			t.Errorf("Close took %v", took)
		}
		v.wantInOrder(t, 10)
	}, kfake.SeedTopics(1, "t"))
}

// Each metric has what the producer has done: deltas add up to its own numbers, and node_id is the broker's.
func TestEachPushedMetric(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		got := watchPushes(v.Cluster, func(*kmsg.GetTelemetrySubscriptionsResponse) {})
		v.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) { // the first one
			resp := answerProduce(kreq, func(*kmsg.ProduceResponseTopicPartition) {})
			resp.ThrottleMillis = 700
			return resp, nil, true
		})
		const linger, latency = 40 * time.Millisecond, 15 * time.Millisecond
		conf := v.config()
		conf.Producer.Flush.Frequency, conf.Producer.Flush.Messages = linger, 1000
		move(t, v.Cluster, 0, 1)
		p := newAsync(t, v.Cluster, conf)
		send(p, message(0, 0))
		successes(t, p, 1)
		slow(t, v.Cluster, latency)
		time.Sleep(time.Second) // the throttle's end
		send(p, message(0, 1))
		successes(t, p, 1)
		time.Sleep(2 * time.Minute)
		all, _, _ := got.seen(t)
		if len(all) < 2 {
			t.Fatalf("%d pushes", len(all))
		}
		one := func(d *telemetrytest.Data, name string, node int64) float64 {
			t.Helper()
			for _, m := range d.Find("org.apache.kafka.producer." + name) {
				if m.Node == node {
					return m.Value()
				}
			}
			t.Errorf("there is no %s of node %d: %+v", name, node, d.Metrics)
			return -1
		}
		first := all[0]
		opened := 0.0
		for _, d := range all {
			opened += one(d, "connection.creation.total", -1)
		}
		stats := p.Stats()
		if opened != float64(stats.Connections.Opened) || opened < 3 {
			t.Errorf("%v connections are pushed, want %d", opened, stats.Connections.Opened)
		}
		seconds := float64(first.Metrics[0].Time-first.Metrics[0].Start) / 1e9
		if total, rate := one(first, "connection.creation.total", -1), one(first, "connection.creation.rate", -1); rate < total/seconds*0.999 || rate > total/seconds*1.001 {
			t.Errorf("%v connections in %v s are %v a second", total, seconds, rate)
		}
		if avg, most := one(first, "record.queue.time.avg", -1), one(first, "record.queue.time.max", -1); avg < 40 || avg > most || most > 45 {
			t.Errorf("queued for %v ms, %v at most, want %v", avg, most, linger)
		}
		if avg, most := one(first, "produce.throttle.time.avg", -1), one(first, "produce.throttle.time.max", -1); most != 700 || avg <= 0 || avg >= 700 {
			t.Errorf("throttled for %v ms, %v at most, want 700", avg, most)
		}
		if avg, most := one(first, "node.request.latency.avg", 1), one(first, "node.request.latency.max", 1); most != 15 || avg <= 0 || avg >= 15 {
			t.Errorf("broker 1 took %v ms, %v at most, want 15", avg, most)
		}
		if later := all[1]; len(later.Find("org.apache.kafka.producer.record.queue.time.avg")) > 0 {
			t.Error("a queue time is pushed, and nothing was queued")
		}
	}, kfake.SeedTopics(1, "t"))
}

// A broker that gives a subscription ten times a second, and takes no push of any, costs few records of the log.
func TestRefusedPushesAreToldRarely(t *testing.T) {
	for _, code := range []*kerr.Error{kerr.ThrottlingQuotaExceeded, kerr.UnknownSubscriptionID} {
		inBubble(t, func(t *testing.T, v *virtual) {
			refusePushes(v.Cluster, code)
			var last int32
			watchPushes(v.Cluster, func(r *kmsg.GetTelemetrySubscriptionsResponse) {
				last++
				r.SubscriptionID, r.PushIntervalMillis = last, 100
			})
			log := newBook()
			p := newAsync(t, v.Cluster, v.config(), log.option())
			time.Sleep(10 * time.Minute)
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if n := len(log.all("metrics not taken")); n != 1 {
				t.Errorf("%v: %d records of what was not taken", code, n)
			}
			if n := len(log.all("metrics subscribed")); n < 2 || n > 15 {
				t.Errorf("%v: %d records of subscriptions", code, n)
			}
		}, virtualBrokers(1), kfake.SeedTopics(1, "t"))
	}
}
