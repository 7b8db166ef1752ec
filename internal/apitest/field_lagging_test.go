package apitest

import (
	"testing"
	"time"

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
