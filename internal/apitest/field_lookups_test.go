package apitest

import (
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// deposed lets a broker answer every Produce request with that error from now on, whoever leads the partition.
func deposed(c *kfake.Cluster, node int32, err *kerr.Error) {
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		if c.CurrentNode() != node {
			return nil, nil, false
		}
		c.KeepControl()
		return answerProduce(kreq, func(p *kmsg.ProduceResponseTopicPartition) {
			p.ErrorCode, p.BaseOffset = err.Code, -1
		}), nil, true
	})
}

// A broker that was deposed and does not know it refuses everything in a way that says nothing about the leader. Messages go
// to the new leader all the same, after a back-off at most, not at the next periodic refresh ten minutes later.
func TestDeposedLeaderThatDoesNotKnowItIsLeft(t *testing.T) {
	for _, code := range []*kerr.Error{
		kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut, kerr.ThrottlingQuotaExceeded, kerr.CorruptMessage,
	} {
		for _, numbered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s idempotent %v", code.Message, numbered), func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) {
					c := v.Cluster
					move(t, c, 0, 0)
					conf := v.config()
					conf.Producer.Retry.Backoff, conf.Metadata.Retry.Backoff = 100*time.Millisecond, 250*time.Millisecond
					if numbered {
						idempotent(conf)
					}
					p := newAsync(t, c, conf)
					send(p, message(0, 0))
					successes(t, p, 1)
					time.Sleep(time.Second)

					deposed(c, 0, code)
					move(t, c, 0, 1)
					begin := time.Now()
					send(p, message(0, 1), message(0, 2))
					successes(t, p, 2)
					if took := time.Since(begin); took > conf.Producer.Retry.Backoff {
						t.Errorf("delivered after %v", took)
					}
					if n := logged(c, "t"); n != 3 {
						t.Errorf("%d messages in the log, want 3", n)
					}
				}, kfake.NumBrokers(2), kfake.SeedTopics(1, "t"))
			})
		}
	}
}

// The look-up beside a back-off does not hold the retry up: a broker that refuses once takes the message at the second try,
// though no look-up is answered. And there is one look-up a back-off at most.
func TestRetryDoesNotWaitForTheLookUpBesideIt(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		c := v.Cluster
		conf := v.config()
		conf.Producer.Retry.Backoff = 100 * time.Millisecond
		p := newAsync(t, c, conf)
		send(p, message(0, 0))
		successes(t, p, 1)
		asked := metadataRequests(c, "t")
		g := holdLookUps(t, c)
		failProduce(c, kerr.NotEnoughReplicas, 3)
		begin := time.Now()
		send(p, message(0, 1))
		successes(t, p, 1)
		if took := time.Since(begin); took != 3*conf.Producer.Retry.Backoff {
			t.Errorf("delivered after %v", took)
		}
		g.open()
		if n := asked.Load(); n > 3 {
			t.Errorf("%d look-ups in three back-offs", n)
		}
	}, kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
}

// Through New a topic that is still being created, or whose brokers come up, only costs time: with NewConfig's own settings
// the message waits for it, however it was sent. Look-ups go on meanwhile, at a pace.
func TestUnknownTopicIsWaitedFor(t *testing.T) {
	for _, code := range []*kerr.Error{
		kerr.UnknownTopicOrPartition, kerr.LeaderNotAvailable, kerr.InvalidReplicationFactor, kerr.UnknownServerError,
	} {
		t.Run(code.Message, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				c := v.Cluster
				asked := metadataRequests(c, "t")
				unknown := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "t", Err: code, Count: -1})
				conf := sluice.NewConfig()
				conf.Producer.Return.Successes = true
				conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, v
				p := newAsync(t, c, conf)
				send(p, message(0, 0))
				p.InputBatch() <- []*sarama.ProducerMessage{message(0, 1)}
				produced := make(chan error, 2)
				if err := p.Produce(t.Context(), message(0, 2), func(_ *sarama.ProducerMessage, err error) { produced <- err }); err != nil {
					t.Fatal(err)
				}
				go func() {
					_, _, err := p.SendMessage(message(0, 3))
					produced <- err
				}()
				time.Sleep(30 * time.Second)
				if n := asked.Load(); n < 30 || n > 30*5 {
					t.Errorf("%d look-ups in 30 s", n)
				}
				unknown.Remove()
				successes(t, p, 2)
				for range 2 {
					if err := receive(t, produced); err != nil {
						t.Error(err)
					}
				}
			}, kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
		})
	}
}

// A topic that never comes fails with the delivery timeout, and the error says why.
func TestUnknownTopicFailsWithTheDeliveryTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		p := newAsync(t, v.Cluster, v.config(), sluice.WithDeliveryTimeout(10*time.Second))
		begin := time.Now()
		send(p, message(0, 0))
		wantError(t, receive(t, p.Errors()).Err, causes(sluice.ErrDeliveryTimeout, sarama.ErrUnknownTopicOrPartition), `"t"`)
		if took := time.Since(begin); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("it failed after %v", took)
		}
	})
}

// What waiting does not change is told at once, each time that a message is sent, and is over as soon as the broker says so.
func TestFinalErrorsOfALookUpAreToldAtOnce(t *testing.T) {
	for _, test := range []struct {
		code *kerr.Error
		want error
	}{
		{kerr.InvalidTopicException, sarama.ErrInvalidTopic},
		{kerr.TopicAuthorizationFailed, sarama.ErrTopicAuthorizationFailed},
		{kerr.ClusterAuthorizationFailed, sarama.ErrClusterAuthorizationFailed},
	} {
		t.Run(test.code.Message, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				refused := v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "t", Err: test.code, Count: -1})
				conf := v.config()
				p := newAsync(t, v.Cluster, conf)
				begin := time.Now()
				for range 5 {
					send(p, message(0, 0))
					wantError(t, receive(t, p.Errors()).Err, causes(test.want), `"t"`)
				}
				if took := time.Since(begin); took > 4*conf.Metadata.Retry.Backoff {
					t.Errorf("five failures took %v", took)
				}
				refused.Remove()
				send(p, message(0, 1))
				successes(t, p, 1)
			}, kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
		})
	}
}

// grow gives topic "t" more partitions.
func grow(t testing.TB, c *kfake.Cluster, partitions int32) {
	t.Helper()
	req := kmsg.NewPtrCreatePartitionsRequest()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = "t", partitions
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(impatient(t), newReader(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}

// A partition that was just added is known to whoever added it, and not to a producer that looks the topic up every ten
// minutes. A message to it is delivered all the same, whichever way it comes in.
func TestMessageToANewPartitionIsDelivered(t *testing.T) {
	type ways = map[string]func(*testing.T, *sluice.Producer, *sarama.ProducerMessage) error
	outcome := func(p sarama.AsyncProducer) error {
		select {
		case <-p.Successes():
			return nil
		case failed := <-p.Errors():
			return failed.Err
		}
	}
	for name, deliver := range (ways{
		"Input": func(_ *testing.T, p *sluice.Producer, msg *sarama.ProducerMessage) error {
			p.Input() <- msg
			return outcome(p)
		},
		"InputBatch": func(_ *testing.T, p *sluice.Producer, msg *sarama.ProducerMessage) error {
			p.InputBatch() <- []*sarama.ProducerMessage{msg}
			return outcome(p)
		},
		"Produce": func(t *testing.T, p *sluice.Producer, msg *sarama.ProducerMessage) error {
			done := make(chan error, 1)
			if err := p.Produce(t.Context(), msg, func(_ *sarama.ProducerMessage, err error) { done <- err }); err != nil {
				return err
			}
			return receive(t, done)
		},
		"SendMessage": func(_ *testing.T, p *sluice.Producer, msg *sarama.ProducerMessage) error {
			_, _, err := p.SendMessage(msg)
			return err
		},
	}) {
		t.Run(name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 2)
			p := newAsync(t, c, testConfig())
			if err := deliver(t, p, message(0, 0)); err != nil {
				t.Fatal(err)
			}
			asked := metadataRequests(c, "t")
			grow(t, c, 3)
			before := asked.Load()
			if err := deliver(t, p, message(2, 1)); err != nil {
				t.Fatal(err)
			}
			if n := asked.Load() - before; n != 1 {
				t.Errorf("%d look-ups, want 1", n)
			}
			if n := c.PartitionInfo("t", 2).HighWatermark; n != 1 {
				t.Errorf("%d messages in the new partition", n)
			}
		})
	}
	t.Run("sarama's constructor", func(t *testing.T) {
		c := newTopicCluster(t, 1, 2)
		p := saramaDoor.newSync(t, c, testConfig())
		defer p.Close()
		for n := range int32(2) {
			if _, _, err := p.SendMessage(message(2*n, int(n))); err != nil {
				t.Fatal(err)
			}
			grow(t, c, 3+n)
		}
	})
}

// While the look-up for new partitions is under way, messages to the others go on. A message to a partition that is not
// there either is refused then, and a thousand of them cost a look-up or two.
func TestMessagesToUnknownPartitionsHoldNobodyUp(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Metadata.Retry.Backoff = 250 * time.Millisecond
		p := newAsync(t, v.Cluster, conf)
		send(p, message(0, 0))
		successes(t, p, 1)
		asked := metadataRequests(v.Cluster, "t")
		g := holdLookUps(t, v.Cluster)
		const bad = 1000
		for n := range bad {
			send(p, message(2+int32(n)%3, n), message(int32(n)%2, n))
		}
		successes(t, p, bad)
		select {
		case failed := <-p.Errors():
			t.Errorf("refused before the look-up ended: %v", failed.Err)
		default:
		}
		g.open()
		for range bad {
			wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrInvalidPartition), "of 2")
		}
		if n := asked.Load(); n < 1 || n > 2 {
			t.Errorf("%d look-ups", n)
		}
	}, kfake.NumBrokers(1), kfake.SeedTopics(2, "t"))
}

// Messages to a new partition keep their order: those that waited for the look-up come first.
func TestMessagesToANewPartitionKeepTheirOrder(t *testing.T) {
	c := newTopicCluster(t, 1, 2)
	p := newAsync(t, c, testConfig())
	send(p, message(0, 0))
	successes(t, p, 1)
	grow(t, c, 4)
	const n = 5000
	go func() {
		for i := 1; i < n; i++ {
			send(p, message(int32(i)%4, i))
		}
	}()
	successes(t, p, n-1)
	wantInOrder(t, c, n)
}

// brokersOf is what Metadata answers have of the brokers.
func brokersOf(c *kfake.Cluster) (brokers []kmsg.MetadataResponseBroker) {
	for node, addr := range c.ListenAddrs() {
		b := kmsg.NewMetadataResponseBroker()
		host, port, _ := net.SplitHostPort(addr)
		number, _ := strconv.Atoi(port)
		b.NodeID, b.Host, b.Port = int32(node), host, int32(number)
		brokers = append(brokers, b)
	}
	return brokers
}

// answerMetadata answers every Metadata request in the cluster's place: topic "t" has one partition, with what leader
// returns.
func answerMetadata(c *kfake.Cluster, leader func() (node, epoch int32)) {
	id := c.TopicInfo("t").TopicID
	brokers := brokersOf(c)
	c.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.MetadataResponse)
		resp.Brokers = brokers
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Leader, p.LeaderEpoch = leader()
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.TopicID = kmsg.StringPtr("t"), id
		topic.Partitions = append(topic.Partitions, p)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
}

// A cluster that was restored begins again from a lower leader epoch. The producer follows within a few look-ups, not never.
func TestLeaderEpochThatGoesBackIsBelieved(t *testing.T) {
	for _, numbered := range []bool{false, true} {
		for _, unaware := range []bool{false, true} {
			t.Run(fmt.Sprintf("idempotent %v old leader unaware %v", numbered, unaware), func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) {
					c := v.Cluster
					move(t, c, 0, 0)
					var node, epoch atomic.Int32
					epoch.Store(100)
					asked := metadataRequests(c, "t")
					answerMetadata(c, func() (int32, int32) { return node.Load(), epoch.Load() })
					conf := v.config()
					conf.Producer.Retry.Max = 1000
					conf.Producer.Retry.Backoff, conf.Metadata.Retry.Backoff = 100*time.Millisecond, 250*time.Millisecond
					if numbered {
						idempotent(conf)
					}
					p := newAsync(t, c, conf)
					send(p, message(0, 0))
					successes(t, p, 1)
					before := asked.Load()

					move(t, c, 0, 1)
					node.Store(1)
					epoch.Store(1)
					if unaware {
						deposed(c, 0, kerr.NotEnoughReplicas)
					}
					begin := time.Now()
					send(p, message(0, 1), message(0, 2))
					successes(t, p, 2)
					if took := time.Since(begin); took > 2*time.Second {
						t.Errorf("delivered after %v", took)
					}
					if n := asked.Load() - before; n < 5 || n > 6 {
						t.Errorf("%d look-ups, want five", n)
					}
					if n := logged(c, "t"); n != 3 {
						t.Errorf("%d messages in the log, want 3", n)
					}
				}, kfake.NumBrokers(2), kfake.SeedTopics(1, "t"))
			})
		}
	}
}

// While the known leader acknowledges, answers of lagging brokers change nothing, however many there are.
func TestOldAnswersMoveNoHealthyPartition(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		c := v.Cluster
		move(t, c, 0, 0)
		var node, epoch atomic.Int32
		epoch.Store(100)
		answerMetadata(c, func() (int32, int32) { return node.Load(), epoch.Load() })
		conf := v.config()
		conf.Metadata.RefreshFrequency = 300 * time.Millisecond
		conf.Producer.Retry.Max = 1000
		w := watch(c)
		p := newAsync(t, c, conf)
		send(p, message(0, 0))
		successes(t, p, 1)
		node.Store(1)
		epoch.Store(99)
		for n := range 100 {
			if n%10 == 0 {
				failProduce(c, kerr.NotEnoughReplicas, 2)
			}
			send(p, message(0, n))
			successes(t, p, 1)
			time.Sleep(100 * time.Millisecond)
		}
		for _, r := range w.seen() {
			if r.node != 0 {
				t.Fatal("a message was sent to the broker of an older epoch")
			}
		}
	}, kfake.NumBrokers(2), kfake.SeedTopics(1, "t"))
}
