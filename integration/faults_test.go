//go:build unix

package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

var long = flag.Bool("long", false, "the long forms: two rounds of faults and 500,000 messages, beside sarama's own producer; a broker stalled 10 s")

// TestFaults has producers write side by side to three nodes, so that all meet the same faults: each node in turn is
// killed and restarted, and one is paused until every message of a burst has gone elsewhere, which takes longer than
// the read time-out. Whatever is sent, every message is delivered: with idempotence once and in order, those of Appenders
// too; without it the first occurrences are in order. With -long sarama's producer takes part, for comparison only.
func TestFaults(t *testing.T) {
	messages, rounds := 60_000, 1
	if *long {
		messages, rounds = 500_000, 2
	}
	c := kafkatest.Start(t, 3,
		kafkatest.WithConfig("min.insync.replicas", "2"),
		// Leaders go back to their nodes soon, so that a node that is killed always has some.
		kafkatest.WithConfig("leader.imbalance.check.interval.seconds", "3"),
		kafkatest.WithConfig("leader.imbalance.per.broker.percentage", "0"))
	newTopic := func() string { return c.NewTopic(t, 6, nil) }

	idempotent := startSluice(t, "sluice, idempotent", newTopic(), c, faultsConfig(sluice.NewConfig()))
	plainConf := faultsConfig(sluice.NewConfig())
	plainConf.Producer.Idempotent = false
	plain := startSluice(t, "sluice, without idempotence", newTopic(), c, plainConf)
	shared := newAsync(t, c, faultsConfig(sluice.NewConfig()), sluice.WithDeliveryTimeout(5*time.Minute))
	appenders := []*load{
		startAppending(t, "an Appender, idempotent", newTopic(), shared),
		startAppending(t, "another one of its producer", newTopic(), shared),
	}
	script := faultScript{start: time.Now(), cluster: c, loads: append([]*load{idempotent, plain}, appenders...), watched: 4}
	if *long {
		script.loads = append(script.loads, startSarama(t, newTopic(), c))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()

	// Half of the messages come in bursts, one before each fault.
	script.burst = messages / 2 / (3*rounds + 1)
	for range rounds {
		for node := range 3 {
			script.killAndRestart(ctx, t, node)
		}
	}
	script.pause(ctx, t, 0)

	checkFaults(ctx, t, c, idempotent, messages, func(a audit) audit { return a })
	checkFaults(ctx, t, c, plain, messages, func(a audit) audit {
		a.duplicated = 0
		return a
	})
	for _, l := range appenders {
		checkFaults(ctx, t, c, l, messages, func(a audit) audit { return a })
	}
	if err := shared.Close(); err != nil {
		t.Error(err)
	}
	for _, l := range script.loads[script.watched:] {
		summary(t, c, l, l.end(ctx, t, messages))
	}
}

func startSluice(t *testing.T, name, topic string, c *kafkatest.Cluster, conf *sarama.Config) *load {
	t.Helper()
	return startLoad(name, topic, newAsync(t, c, conf, sluice.WithDeliveryTimeout(5*time.Minute)))
}

// startSarama starts sarama's producer with the settings that let it come through: idempotent, and with retries for as
// long as the faults may take.
func startSarama(t *testing.T, topic string, c *kafkatest.Cluster) *load {
	t.Helper()
	conf := faultsConfig(sarama.NewConfig())
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Idempotent = true
	conf.Net.MaxOpenRequests = 1
	conf.Producer.Compression = sarama.CompressionLZ4
	conf.Producer.Flush.Frequency = 5 * time.Millisecond
	conf.Producer.Retry.Max = 10_000
	conf.Metadata.Retry.Max = 100
	p, err := sarama.NewAsyncProducer(c.Brokers(), conf)
	if err != nil {
		t.Fatal(err)
	}
	return startLoad("sarama, idempotent", topic, p)
}

func faultsConfig(conf *sarama.Config) *sarama.Config {
	conf.Producer.Return.Successes = true
	conf.Net.ReadTimeout = 5 * time.Second
	return conf
}

// faultScript lets the nodes of a cluster fail under loads. Of the loads the first few are watched: each fault begins
// while they have messages under way, and is over when they have gone on.
type faultScript struct {
	cluster *kafkatest.Cluster
	loads   []*load
	watched int
	burst   int // messages
	start   time.Time
}

// startBurst has every load send a burst, waits until a part of it is acknowledged, and returns how many messages each
// watched load has sent by its end.
func (s *faultScript) startBurst(ctx context.Context, t *testing.T) []int64 {
	t.Helper()
	var topics []string
	for _, l := range s.loads {
		topics = append(topics, l.topic)
	}
	awaitInSync(ctx, t, s.cluster, topics...)
	before := make([]int64, s.watched)
	for i, l := range s.loads {
		if i < s.watched {
			before[i] = l.last.Load()
		}
		l.burst(s.burst)
	}
	ends := make([]int64, s.watched)
	for i, l := range s.loads[:s.watched] {
		l.awaitSettled(ctx, t, before[i]+int64(s.burst/10))
		ends[i] = before[i] + int64(s.burst)
	}
	return ends
}

// awaitInSync waits until every replica is in sync: with one that lags the next fault would leave too few to acknowledge
// anything, and the gap would tell of Kafka, not of the producer. All nodes must say so, and name the same leaders: one that
// was paused takes itself for a leader still, and tells an end that has long been passed.
func awaitInSync(ctx context.Context, t *testing.T, c *kafkatest.Cluster, topics ...string) {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, topic)
	}
	ticker := time.NewTicker(100 * time.Millisecond) // Kafka has no event for it
	defer ticker.Stop()
	var nodes []*kgo.Broker
	for _, addr := range c.Brokers() {
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		nodes = append(nodes, cl.SeedBrokers()[0])
	}
	for {
		agreed, err := inSync(ctx, nodes, req)
		if agreed {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("replicas don't come into sync: %v", errors.Join(ctx.Err(), err))
		}
	}
}

// inSync asks all nodes once.
func inSync(ctx context.Context, nodes []*kgo.Broker, req *kmsg.MetadataRequest) (agreed bool, err error) {
	epochs := make(map[string]int32) // of the leaders, by partition
	for _, node := range nodes {
		resp, err := node.Request(ctx, req)
		if err != nil {
			return false, err
		}
		for _, topic := range resp.(*kmsg.MetadataResponse).Topics {
			if topic.ErrorCode != 0 {
				return false, nil
			}
			for _, p := range topic.Partitions {
				partition := fmt.Sprint(*topic.Topic, "-", p.Partition)
				epoch, known := epochs[partition]
				if p.ErrorCode != 0 || len(p.ISR) < len(p.Replicas) || known && epoch != p.LeaderEpoch {
					return false, nil
				}
				epochs[partition] = p.LeaderEpoch
			}
		}
	}
	return true, nil
}

func (s *faultScript) awaitBurst(ctx context.Context, t *testing.T, ends []int64) {
	t.Helper()
	for i, l := range s.loads[:s.watched] {
		l.awaitSettled(ctx, t, ends[i])
	}
}

// killAndRestart kills a node in the middle of a burst, and starts it again when the burst is through.
func (s *faultScript) killAndRestart(ctx context.Context, t *testing.T, node int) {
	t.Helper()
	ends := s.startBurst(ctx, t)
	s.log(t, "kill", node)
	s.cluster.Kill(t, node)
	s.awaitBurst(ctx, t, ends)
	s.log(t, "restart", node)
	s.cluster.Restart(t, node)
}

// pause freezes a node in the middle of a burst. What it holds unanswered only the read time-out frees: so when the
// burst is through, that has passed.
func (s *faultScript) pause(ctx context.Context, t *testing.T, node int) {
	t.Helper()
	ends := s.startBurst(ctx, t)
	s.log(t, "pause", node)
	s.cluster.Pause(t, node)
	s.awaitBurst(ctx, t, ends)
	s.log(t, "resume", node)
	s.cluster.Resume(t, node)
}

func (s *faultScript) log(t *testing.T, what string, node int) {
	t.Helper()
	t.Logf("%.0f s: %s node %d", time.Since(s.start).Seconds(), what, node)
}

// checkFaults ends a load and fails the test if a message failed, or if the audit, after what may be is taken off, is
// not all zero.
func checkFaults(ctx context.Context, t *testing.T, c *kafkatest.Cluster, l *load, messages int, beyond func(audit) audit) {
	t.Helper()
	r := l.end(ctx, t, messages)
	a := summary(t, c, l, r)
	if wrong := beyond(a); wrong != (audit{}) {
		t.Errorf("%s: %+v", l.name, a)
	}
	for _, problem := range r.problems {
		t.Errorf("%s: %v", l.name, problem)
	}
}

// summary prints a load's line.
func summary(t *testing.T, c *kafkatest.Cluster, l *load, r loadResult) audit {
	t.Helper()
	awaitInSync(testContext(t), t, c, l.topic)
	a := auditLog(r.outcomes, readTopic(t, c, l.topic))
	longest := r.longest(0)
	t.Logf("%s: sent %d, acked %d, failed %d, lost %d, duplicated %d, reordered %d, longest gap between acks %.1f s (until %.0f s), %.0f s",
		l.name, len(r.outcomes), r.acked(), r.failed(), a.lost, a.duplicated, a.reordered, longest.length.Seconds(), longest.until.Seconds(), r.took.Seconds())
	return a
}
