package apitest

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// A topic that was written to once, and then deleted, stays deleted, however often metadata are refreshed. A message to it
// creates it again where Metadata.AllowAutoTopicCreation is set, and fails where it is not.
func TestDeletedTopicStaysDeleted(t *testing.T) {
	for name, creates := range map[string]bool{"created by a message": true, "not created": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := v.config()
				conf.Metadata.AllowAutoTopicCreation = creates
				conf.Metadata.RefreshFrequency = 300 * time.Millisecond
				p := saramaDoor.newAsync(t, v.Cluster, conf).(*sluice.Producer) // which does not wait for topics
				if err := v.CreateTopic("t", 1, nil); err != nil {
					t.Fatal(err)
				}
				send(p, message(0, 0))
				successes(t, p, 1)
				if err := v.DeleteTopic("t"); err != nil {
					t.Fatal(err)
				}
				for range 20 {
					time.Sleep(300 * time.Millisecond)
					synctest.Wait()
					if v.TopicInfo("t") != nil {
						t.Fatal("the topic is back, and nobody wrote to it")
					}
				}
				// Nor does a look-up of another topic, which may be created, bring it back.
				send(p, &sarama.ProducerMessage{Topic: "other"})
				if creates {
					successes(t, p, 1)
				} else {
					wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrUnknownTopicOrPartition))
				}
				time.Sleep(time.Second)
				if v.TopicInfo("t") != nil {
					t.Fatal("the topic is back with the look-up of another")
				}

				send(p, message(0, 1))
				if !creates {
					receive(t, p.Errors())
					if v.TopicInfo("t") != nil {
						t.Error("the topic is back although Metadata.AllowAutoTopicCreation is false")
					}
				} else if got := successes(t, p, 1)[0]; got.Offset != 0 {
					t.Errorf("offset %d in the new topic", got.Offset)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}, kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1))
		})
	}
}

// A topic that a message could not create, since the message was given up, is not created behind its back.
func TestRefusedTopicIsNotCreatedLater(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Metadata.RefreshFrequency = 300 * time.Millisecond
		conf.Metadata.Retry.Max = 1
		var creating, refreshing int
		v.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			v.KeepControl()
			req := kreq.(*kmsg.MetadataRequest)
			for range req.Topics {
				if req.AllowAutoTopicCreation {
					creating++
				} else {
					refreshing++
				}
			}
			req.AllowAutoTopicCreation = false // this cluster's disks are full
			return nil, nil, false
		})
		p := saramaDoor.newAsync(t, v.Cluster, conf).(*sluice.Producer) // which does not wait for topics
		send(p, message(0, 0))
		wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrUnknownTopicOrPartition))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if creating != 2 || refreshing == 0 {
			t.Errorf("%d look-ups that may create the topic, want those two that the message waited for; %d others", creating, refreshing)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}, kfake.AllowAutoTopicCreation())
}

// idleTime is after which a topic that nothing is sent to is forgotten.
const idleTime = 5 * time.Minute

// eachIdempotence runs a test in a bubble without idempotence and with it.
func eachIdempotence(t *testing.T, test func(*testing.T, *virtual, *sarama.Config), opts ...kfake.Opt) {
	for name, change := range map[string]func(*sarama.Config) *sarama.Config{
		"idempotent": idempotent, "not idempotent": func(conf *sarama.Config) *sarama.Config { return conf },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) { test(t, v, change(v.config())) }, opts...)
		})
	}
}

func sendRate(conf *sarama.Config, topic string) metrics.Meter {
	m, _ := conf.MetricRegistry.Get("record-send-rate-for-topic-" + topic).(metrics.Meter)
	return m
}

// What is sent to a topic after it was forgotten is written. If sequence numbers began at 0 again, the broker would take it
// for what it knows already: acknowledged, and lost.
func TestForgottenTopicGoesOn(t *testing.T) {
	eachIdempotence(t, func(t *testing.T, v *virtual, conf *sarama.Config) {
		if err := v.CreateTopic("t", 3, nil); err != nil {
			t.Fatal(err)
		}
		p := newAsync(t, v.Cluster, conf)
		n := 0
		for _, partitions := range [][]int32{{0, 1}, {1}, {2, 0}, {0, 1, 2}} {
			for _, partition := range partitions {
				send(p, message(partition, n))
				successes(t, p, 1)
				n++
			}
			if sendRate(conf, "t") == nil {
				t.Error("the topic is in use, and has no metrics")
			}
			time.Sleep(idleTime)
			synctest.Wait()
			if sendRate(conf, "t") != nil {
				t.Error("the topic is not forgotten: its metrics are there")
			}
		}
		// The log is read outside of the producer's idle time: Close takes none.
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if got := logged(v.Cluster, "t"); got != int64(n) {
			t.Errorf("the log holds %d of %d acknowledged records", got, n)
		}
	})
}

// A topic that gets a record every four minutes is kept, with its look-up and its metrics.
func TestSlowTopicIsKept(t *testing.T) {
	eachIdempotence(t, func(t *testing.T, v *virtual, conf *sarama.Config) {
		if err := v.CreateTopic("t", 1, nil); err != nil {
			t.Fatal(err)
		}
		conf.Metadata.RefreshFrequency, conf.Metadata.Full = 0, false
		p := newAsync(t, v.Cluster, conf)
		asked := metadataRequests(v.Cluster, "t")
		const n = 10
		for i := range n {
			send(p, message(0, i))
			successes(t, p, 1)
			time.Sleep(4 * time.Minute)
		}
		if rate := sendRate(conf, "t"); rate == nil || rate.Count() != n || asked.Load() != 1 {
			t.Errorf("record-send-rate is %v, want %d records; %d look-ups, want one", rate, n, asked.Load())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A topic is not forgotten while a message of it waits for its retry, however long that takes.
func TestTopicThatWaitsIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		if err := v.CreateTopic("t", 1, nil); err != nil {
			t.Fatal(err)
		}
		fault := v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
		conf := idempotent(v.config())
		conf.Producer.Retry.Max = 1_000_000
		conf.Producer.Retry.Backoff = 10 * time.Second
		p := newAsync(t, v.Cluster, conf, sluice.WithDeliveryTimeout(time.Hour))
		send(p, messages(3, 1)...)
		time.Sleep(50 * time.Minute)
		fault.Remove()
		successes(t, p, 3)
		time.Sleep(idleTime)
		synctest.Wait()
		if sendRate(conf, "t") == nil {
			t.Error("forgotten before the delivery timeout of an hour")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if sendRate(conf, "t") != nil {
			t.Error("not forgotten an hour later")
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Records that are sent at the very moment at which their topics are forgotten are written, once and in order.
func TestSentWhileForgotten(t *testing.T) {
	eachIdempotence(t, func(t *testing.T, v *virtual, conf *sarama.Config) {
		const partitions, rounds, senders = 4, 200, 4
		if err := v.CreateTopic("t", partitions, nil); err != nil {
			t.Fatal(err)
		}
		p := newAsync(t, v.Cluster, conf)
		var all sync.WaitGroup
		for s := range int32(senders) {
			all.Go(func() {
				for i := range rounds {
					for range rand.IntN(60) { // in the same instant of the bubble, but not always first
						runtime.Gosched()
					}
					msg := message(s, int(s)*rounds+i)
					if _, _, err := p.SendMessage(msg); err != nil {
						t.Error(err)
					}
					time.Sleep(idleTime)
				}
			})
		}
		all.Wait()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if got := logged(v.Cluster, "t"); got != senders*rounds {
			t.Errorf("the log holds %d of %d acknowledged records", got, senders*rounds)
		}
	})
}

// Twenty thousand topics that were used once leave next to nothing: no goroutine, no metrics, no look-ups, little memory.
func TestManyTopicsUsedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		const topics = 20_000
		conf := idempotent(v.config())
		p := newAsync(t, v.Cluster, conf)
		send(p, message(0, 0))
		successes(t, p, 1)
		goroutines := runtime.NumGoroutine()
		go func() {
			for i := range topics {
				p.Input() <- &sarama.ProducerMessage{Topic: fmt.Sprint("used-once-", i), Value: sarama.StringEncoder("once")}
			}
		}()
		successes(t, p, topics)
		inUse := heap()
		time.Sleep(idleTime + time.Second)
		synctest.Wait()
		if more := runtime.NumGoroutine() - goroutines; more > 100 { // of 40,000
			t.Errorf("%d goroutines are left", more)
		}
		conf.MetricRegistry.Each(func(name string, _ any) {
			if strings.Contains(name, "used-once") {
				t.Errorf("the metric %s is left", name)
			}
		})
		forgotten := heap()
		asked := metadataRequests(v.Cluster, "used-once-0")
		time.Sleep(time.Hour)
		if n := asked.Load(); n > 0 {
			t.Errorf("asked for a forgotten topic %d times", n)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if left := (forgotten - heap()) / topics; left > 1024 {
			t.Errorf("%d bytes of each topic are left, of %d", left, (inUse-heap())/topics)
		}
	}, kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1))
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
