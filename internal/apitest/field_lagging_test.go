package apitest

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// lag has broker 0 answer look-ups as one that has not heard of any topic yet.
func lag(v *virtual) {
	v.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		v.KeepControl()
		if v.CurrentNode() != 0 {
			return nil, nil, false
		}
		return answerUnknown(v.Cluster, kreq.(*kmsg.MetadataRequest)), nil, true
	})
}

// The only seed has not heard of a topic that two other brokers know: messages are delivered, with sarama's own retries.
func TestABrokerThatLagsIsNotTheOnlyOneAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		lag(v)
		conf := v.config()
		conf.Producer.Retry.Backoff, conf.Metadata.Retry.Backoff = 100*time.Millisecond, 250*time.Millisecond
		p, err := sluice.New([]string{"127.0.0.1:1"}, conf)
		if err != nil {
			t.Fatal(err)
		}
		closeAfter(t, p)
		send(p, messages(20, 1)...)
		successes(t, p, 20)
	}, kfake.SeedTopics(1, "t"))
}

// A broker that was deposed and does not know it also names itself when it is asked who leads. Messages go to the new leader
// all the same, within sarama's own few retries, though the producer's look-ups went to that broker.
func TestADeposedLeaderIsNotAskedAboutItself(t *testing.T) {
	for _, refusal := range []*kerr.Error{kerr.NotEnoughReplicas, kerr.RequestTimedOut, kerr.NotLeaderForPartition} {
		for seed, numbered := range map[string]bool{"localhost:1": false, "127.0.0.1:1": true} { // its own address, and an alias
			t.Run(fmt.Sprintf("%s idempotent %t", refusal.Message, numbered), func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) {
					move(t, v.Cluster, 0, 0)
					var isDeposed atomic.Bool
					answerMetadata(v.Cluster, func() (node, epoch int32) {
						if isDeposed.Load() && v.CurrentNode() != 0 {
							return 1, 11
						}
						return 0, 10
					})
					conf := v.config()
					conf.Producer.Retry.Backoff, conf.Metadata.Retry.Backoff = 100*time.Millisecond, 250*time.Millisecond
					if numbered {
						idempotent(conf)
					}
					p, err := sluice.New([]string{seed}, conf)
					if err != nil {
						t.Fatal(err)
					}
					closeAfter(t, p)
					send(p, message(0, 0))
					successes(t, p, 1)
					time.Sleep(time.Second)

					isDeposed.Store(true)
					move(t, v.Cluster, 0, 1)
					deposed(v.Cluster, 0, refusal)
					begin := time.Now()
					send(p, message(0, 1), message(0, 2))
					successes(t, p, 2)
					if took := time.Since(begin); took > conf.Producer.Retry.Backoff {
						t.Errorf("delivered after %v", took)
					}
				}, kfake.SeedTopics(1, "t"))
			})
		}
	}
}
