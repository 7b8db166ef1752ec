package apitest

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
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
