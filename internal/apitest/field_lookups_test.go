package apitest

import (
	"fmt"
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

func idempotent(conf *sarama.Config) {
	conf.Producer.Idempotent, conf.Net.MaxOpenRequests, conf.Producer.RequiredAcks = true, 1, sarama.WaitForAll
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
				if n := asked.Load(); n < 30 || n > 30*4 {
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
