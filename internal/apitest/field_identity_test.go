package apitest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// A producer lives on whatever becomes of its producer id.

// producerOf is a batch's producer id and epoch.
func producerOf(batch []byte) (id int64, epoch int16) {
	return int64(binary.BigEndian.Uint64(batch[43:])), int16(binary.BigEndian.Uint16(batch[51:]))
}

// Some brokers take no epoch that they have not given out themselves. A batch that fails raises the epoch, so all that
// followed failed, for good.
func TestBrokerThatTakesNoEpochsOfTheClient(t *testing.T) {
	for _, refusal := range []*kerr.Error{kerr.InvalidProducerEpoch, kerr.ProducerFenced} {
		t.Run(refusal.Message, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			answerBatches(c, func(_ int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
				if bytes.Contains(batch, []byte("poison")) {
					return code(kerr.InvalidRecord)
				}
				if _, epoch := producerOf(batch); epoch > 0 {
					return code(refusal)
				}
				return nil
			})
			conf := idempotent(testConfig())
			conf.Producer.Flush.MaxMessages = 5
			p := newAsync(t, c, conf)
			const n = 50
			for i := range n {
				if i == n/2 {
					if err := p.Flush(impatient(t)); err != nil {
						t.Fatal(err)
					}
					send(p, &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("poison")})
					wantError(t, receive(t, p.Errors()).Err, causes(sarama.KError(kerr.InvalidRecord.Code)))
				}
				send(p, message(0, i))
			}
			successes(t, p, n)
			wantInOrder(t, c, n)
		})
	}
}

// A broker forgets the producer id under way. Another one is asked for; nothing is lost, doubled or out of order.
func TestBrokerForgetsTheProducerID(t *testing.T) {
	c := newTopicCluster(t, 1, 3)
	var first int64 = -1
	answerBatches(c, func(n int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
		id, _ := producerOf(batch)
		if first < 0 {
			first = id
		}
		if n > 10 && id == first {
			return code(kerr.InvalidProducerIDMapping)
		}
		return nil
	})
	conf := idempotent(testConfig())
	conf.Producer.Flush.MaxMessages = 10 // and so one batch a request
	p := newAsync(t, c, conf)
	const n = 600
	go send(p, messages(n, 3)...)
	successes(t, p, n)
	wantInOrder(t, c, n)
}

// forgetFirstID lets brokers refuse the first producer id that they see from now on.
func forgetFirstID(c *kfake.Cluster) {
	var first int64 = -1
	answerBatches(c, func(_ int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
		id, _ := producerOf(batch)
		if first < 0 {
			first = id
		}
		if id == first {
			return code(kerr.InvalidProducerIDMapping)
		}
		return nil
	})
}

// The producer id is lost, and no other one is granted: what waits fails at once with the broker's own error, whatever is
// retried. New messages ask again, and once an id is granted the same producer delivers.
func TestProducerIDIsRefusedLater(t *testing.T) {
	for _, d := range []door{saramaDoor, ownDoor} {
		t.Run(d.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := idempotent(v.config())
				conf.Producer.Retry.Max = 1_000_000
				p := d.newAsync(t, v.Cluster, conf)
				p.Input() <- message(0, 0)
				receive(t, p.Successes())
				forgetFirstID(v.Cluster)
				refused := v.Fault(kfake.Fault{
					Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.ClusterAuthorizationFailed, Count: -1,
				})
				for i := range 5 {
					start := time.Now()
					p.Input() <- message(0, 100+i)
					err := receive(t, p.Errors()).Err
					if d.bare && err != sarama.ErrClusterAuthorizationFailed || !errors.Is(err, sarama.ErrClusterAuthorizationFailed) {
						t.Errorf("%v", err)
					}
					if took := time.Since(start); took > 3*time.Second {
						t.Errorf("failed after %v", took)
					}
				}
				if hits := refused.Hits(); hits > 3*6 {
					t.Errorf("three brokers were asked %d times", hits)
				}
				refused.Remove()
				for i := range 5 {
					p.Input() <- message(0, 1+i)
				}
				for range 5 {
					receive(t, p.Successes())
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}, kfake.SeedTopics(1, "t"))
		})
	}
}

// The permission to write under an id is taken away for a while: batches fail, each at its first try, and later ones are
// delivered under the same id.
func TestClusterAuthorizationIsTakenAway(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	sent := watch(c)
	ids := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Count: -1, Observe: true})
	p := newAsync(t, c, idempotent(testConfig()))
	send(p, message(0, 0))
	successes(t, p, 1)
	refused := failProduce(c, kerr.ClusterAuthorizationFailed, -1)
	for i := range 3 {
		send(p, message(0, 100+i))
		wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrClusterAuthorizationFailed))
	}
	refused.Remove()
	for i := range 2 {
		send(p, message(0, 1+i))
		successes(t, p, 1)
	}
	wantInOrder(t, c, 3)
	if requests := len(sent.seen()); requests != 6 {
		t.Errorf("%d requests, want one for each message", requests)
	}
	if n := ids.Hits(); n != 1 {
		t.Errorf("asked for a producer id %d times", n)
	}
}

// One broker of three has an error of its own when it is asked for an id. Nobody notices.
func TestOneBrokerGivesNoProducerID(t *testing.T) {
	for _, own := range []*kerr.Error{kerr.UnknownServerError, kerr.ClusterAuthorizationFailed, kerr.UnsupportedVersion} {
		t.Run(own.Message, func(t *testing.T) {
			c := newTopicCluster(t, 3, 3)
			c.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Nodes: []int32{0}, Err: own, Count: -1,
			})
			for range 10 { // the brokers are asked in random order
				p := newAsync(t, c, idempotent(testConfig()))
				send(p, messages(3, 3)...)
				successes(t, p, 3)
			}
		})
	}
}

// While no broker can give a producer id, each is asked ten times a second at first, then once. When one can, messages are
// delivered within a second or so.
func TestWaitingForAProducerIDIsNoStorm(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		var asked atomic.Int32
		var ready atomic.Bool
		v.ControlKey(int16(kmsg.InitProducerID), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			v.KeepControl()
			asked.Add(1)
			if ready.Load() {
				return nil, nil, false
			}
			resp := kreq.ResponseKind().(*kmsg.InitProducerIDResponse)
			resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
			return resp, nil, true
		})
		p := newAsync(t, v.Cluster, idempotent(v.config()))
		send(p, message(0, 0))
		time.Sleep(time.Minute)
		if n := asked.Load(); n < 3*60 || n > 3*(50+60) {
			t.Errorf("three brokers were asked %d times in a minute", n)
		}
		ready.Store(true)
		begin := time.Now()
		successes(t, p, 1)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("delivered after %v", took)
		}
	}, kfake.SeedTopics(1, "t"))
}

// oldBrokers lets some brokers say that they have no InitProducerId.
func oldBrokers(c *kfake.Cluster, old func(node int32) bool) {
	c.ControlKey(int16(kmsg.ApiVersions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if !old(c.CurrentNode()) {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.ApiVersionsResponse)
		for key, highest := range map[kmsg.Key]int16{kmsg.Produce: 7, kmsg.Metadata: 7, kmsg.ApiVersions: 2} {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MaxVersion = int16(key), highest
			resp.ApiKeys = append(resp.ApiKeys, k)
		}
		return resp, nil, true
	})
}

// A broker without InitProducerId: the constructor says so, with the way out. It does not have the request in its list of
// versions, or answers that it does not know it.
func TestBrokerWithoutProducerIDs(t *testing.T) {
	for name, without := range map[string]func(*kfake.Cluster){
		"not in the list": func(c *kfake.Cluster) { oldBrokers(c, func(int32) bool { return true }) },
		"refused": func(c *kfake.Cluster) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.UnsupportedVersion, Count: -1})
		},
	} {
		for _, d := range []door{saramaDoor, ownDoor} {
			t.Run(name+" "+d.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) {
					without(v.Cluster)
					start := time.Now()
					_, err := d.async(v.ListenAddrs(), idempotent(v.config()))
					wantError(t, err, causes(sarama.ErrUnsupportedVersion))
					if name != "refused" || !d.bare {
						wantError(t, err, nil, "InitProducer", "Producer.Idempotent")
					}
					if sluice.IsRetriable(err) {
						t.Error("it is retriable")
					}
					if took := time.Since(start); took > time.Second {
						t.Errorf("told after %v", took)
					}
				}, kfake.SeedTopics(1, "t"))
			})
		}
	}
}

// In the midst of an upgrade some brokers have it.
func TestBrokersOfMixedAge(t *testing.T) {
	for young := range int32(3) {
		t.Run(fmt.Sprint(young), func(t *testing.T) {
			c := newTopicCluster(t, 3, 3)
			oldBrokers(c, func(node int32) bool { return node != young })
			p := newAsync(t, c, idempotent(testConfig()))
			send(p, messages(3, 3)...)
			successes(t, p, 3)
		})
	}
}
