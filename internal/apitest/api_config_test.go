package apitest

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/brokerproducer"
)

// Where the broker is asked for its versions, Version may be any: sarama.MinVersion is what sarama's tests use.
func TestAnyVersionWhereBrokersAreAsked(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	for i, version := range []sarama.KafkaVersion{sarama.MinVersion, sarama.V0_10_2_0, sarama.MaxVersion} {
		conf := testConfig()
		conf.Version = version
		p := newAsync(t, c, conf)
		send(p, message(0, i))
		successes(t, p, 1)
	}
	wantInOrder(t, c, 3)
}

// As in sarama a MaxMessageBytes that no request has room for is no error. It is lowered, and the log says so.
func TestMaxMessageBytesIsLowered(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	limit := int(sarama.MaxRequestSize) - brokerproducer.RequestSlack
	for _, test := range []struct {
		set    int
		logged bool
	}{{limit, false}, {limit + 1, true}, {int(sarama.MaxRequestSize), true}, {math.MaxInt32, true}} {
		t.Run(fmt.Sprint(test.set), func(t *testing.T) {
			lines := captureLog(t)
			conf := testConfig()
			conf.Producer.MaxMessageBytes = test.set
			p := newAsync(t, c, conf)
			send(p, message(0, 0))
			successes(t, p, 1)
			if got := lines.holds("MaxMessageBytes", "lowered", fmt.Sprint(test.set), fmt.Sprint(limit)); got != test.logged {
				t.Errorf("logged %v, want %v: %q", got, test.logged, lines.lines)
			}
			if conf.Producer.MaxMessageBytes != test.set {
				t.Error("the user's configuration was changed")
			}
		})
	}
}

// A broker that waits for its replicas for longer than the producer waits for the broker is no error. But it makes
// duplicates and unknown outcomes, so the log says so.
func TestShortReadTimeoutIsLogged(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	for name, test := range map[string]struct {
		acks         sarama.RequiredAcks
		read, broker time.Duration
		logged       bool
	}{
		"the defaults":      {sarama.WaitForAll, 30 * time.Second, 10 * time.Second, false},
		"shorter":           {sarama.WaitForAll, 5 * time.Second, 10 * time.Second, true},
		"as long":           {sarama.WaitForAll, 10 * time.Second, 10 * time.Second, false},
		"one replica":       {sarama.WaitForLocal, 5 * time.Second, 10 * time.Second, false},
		"no acknowledgment": {sarama.NoResponse, 5 * time.Second, 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			lines := captureLog(t)
			conf := testConfig()
			conf.Producer.RequiredAcks, conf.Net.ReadTimeout, conf.Producer.Timeout = test.acks, test.read, test.broker
			newAsync(t, c, conf)
			if got := lines.holds("Net.ReadTimeout", "Producer.Timeout"); got != test.logged {
				t.Errorf("logged %v, want %v: %q", got, test.logged, lines.lines)
			}
		})
	}
}
