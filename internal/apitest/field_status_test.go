package apitest

import (
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// A Status tells what a producer waits for, before anything has failed for good.

func TestStatusSaysWhatIsWaitedFor(t *testing.T) {
	for _, line := range []struct {
		name string
		// prepare is as in TestExpiredMessagesSayWhy.
		prepare func(v *virtual, conf *sarama.Config) (later func())
		words   string // of the oldest wait, with %s for the leader's address
	}{
		{"produce is not answered", func(v *virtual, _ *sarama.Config) func() {
			silent(v, kmsg.Produce)
			return nil
		}, "waiting for an answer of broker 0 (%s) for "},
		{"the dial hangs", func(v *virtual, conf *sarama.Config) func() {
			h := &hang{virtual: v}
			conf.Net.Proxy.Dialer = h
			return func() { h.hangs.Store(true) }
		}, "dialling broker 0 (%s) for "},
		{"the dial fails", func(v *virtual, _ *sarama.Config) func() {
			return func() { v.refused.Store(&refusal{v.ListenAddrs()[0], errPlugged}) }
		}, errPlugged.Error()},
		{"the topic is not there", func(v *virtual, conf *sarama.Config) func() {
			conf.Metadata.Full = false
			v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.UnknownTopicOrPartition, Count: -1})
			return nil
		}, "looking up topic t for "},
		{"there is no leader", func(v *virtual, conf *sarama.Config) func() {
			conf.Metadata.Full = false
			return func() { answerMetadata(v.Cluster, func() (int32, int32) { return -1, 1 }) }
		}, "waiting for the leader of t/0 for "},
	} {
		t.Run(line.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				move(t, v.Cluster, 0, 0)
				conf := v.config()
				conf.Net.DialTimeout, conf.Net.ReadTimeout = time.Hour, time.Hour
				later := line.prepare(v, conf)
				var status sluice.Status
				p := newAsync(t, v.Cluster, conf, sluice.WithStatus(&status), sluice.WithDeliveryTimeout(15*time.Second))
				if waits := status.Waits(); len(waits) != 0 {
					t.Errorf("an idle producer waits for %v", waits)
				}
				if later != nil {
					later()
				}
				send(p, message(0, 0))
				time.Sleep(10 * time.Second)
				waits := status.Waits()
				want := strings.Replace(line.words, "%s", v.ListenAddrs()[0], 1)
				if len(waits) == 0 || !strings.Contains(waits[0].String(), want) {
					t.Fatalf("%v, want %q", waits, want)
				}
				if since := time.Since(waits[0].Since); since < 8*time.Second {
					t.Errorf("%v since %v", waits[0], since)
				}
				<-p.Errors()
			}, kfake.SeedTopics(1, "t"))
		})
	}
}

// New has not returned yet: nobody answers.
func TestStatusWhileConnecting(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Net.Proxy.Dialer = mute{}
		conf.Metadata.Timeout = 20 * time.Second
		var status sluice.Status
		made := make(chan error, 1)
		go func() {
			_, err := sluice.New([]string{"a:9092"}, conf, sluice.WithStatus(&status))
			made <- err
		}()
		time.Sleep(time.Second)
		if waits := status.Waits(); len(waits) != 1 || waits[0].What != "asking broker a:9092 for its versions" {
			t.Errorf("%v", waits)
		}
		<-made
	})
}
