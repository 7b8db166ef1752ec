//go:build unix

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

var kafka = NewSuite(1)

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafka.Around(m)) }

// testContext ends with the test, or after a time that is enough for anything here.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newClient(t *testing.T, c *Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.Brokers()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// write produces values to a topic's partition 0, one by one.
func write(t *testing.T, c *Cluster, topic string, values ...string) {
	t.Helper()
	cl := newClient(t, c)
	for _, v := range values {
		if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatalf("produce %q: %v", v, err)
		}
	}
}

// read consumes n values from the start of a topic.
func read(t *testing.T, c *Cluster, topic string, n int) []string {
	t.Helper()
	cl := newClient(t, c, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx := testContext(t)
	var values []string
	for len(values) < n {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %d of %d values: %v", len(values), n, ctx.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func wantValues(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestDataSurvivesStopAndKill(t *testing.T) {
	c := kafka.Get(t)
	addr := c.Brokers()[0]
	topic := c.NewTopic(t, 1, nil)
	write(t, c, topic, "one")
	c.Stop(t, 0)
	c.Restart(t, 0)
	write(t, c, topic, "two")
	c.Kill(t, 0)
	c.Restart(t, 0)
	write(t, c, topic, "three")
	wantValues(t, read(t, c, topic, 3), "one", "two", "three")
	if got := c.Brokers()[0]; got != addr {
		t.Errorf("the address is %s after a restart, was %s", got, addr)
	}
}

func TestPausedNodeAnswersAfterResume(t *testing.T) {
	c := kafka.Get(t)
	topic := c.NewTopic(t, 1, nil)
	c.Pause(t, 0)
	cl := newClient(t, c)
	result := make(chan error, 1)
	cl.Produce(testContext(t), &kgo.Record{Topic: topic, Value: []byte("x")}, func(_ *kgo.Record, err error) { result <- err })

	// A frozen process does not answer.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := cl.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping of a paused node: error %v, want %v", err, context.DeadlineExceeded)
	}

	c.Resume(t, 0)
	if err := <-result; err != nil {
		t.Error(err)
	}
	wantValues(t, read(t, c, topic, 1), "x")
}

func TestTopicHasItsConfigAndPartitions(t *testing.T) {
	c := kafka.Get(t)
	name := c.NewTopic(t, 7, map[string]string{"message.timestamp.type": "LogAppendTime", "replication.factor": "1"})
	cl := newClient(t, c)

	meta := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(name)
	meta.Topics = append(meta.Topics, topic)
	answer, err := meta.RequestWith(testContext(t), cl)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(answer.Topics[0].Partitions); got != 7 {
		t.Errorf("%d partitions, want 7", got)
	}

	write(t, c, name, "x")
	consumer := newClient(t, c, kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	records := consumer.PollFetches(testContext(t)).Records()
	if len(records) != 1 || records[0].Attrs.TimestampType() != 1 {
		t.Errorf("got %v, want one record with LogAppendTime", records)
	}
}

func TestCreateTopicNamesTheFault(t *testing.T) {
	c := kafka.Get(t)
	for _, test := range []struct{ name, key, value, want string }{
		{"bad name!", "", "", "INVALID_TOPIC_EXCEPTION"},
		{"too-many-replicas", "replication.factor", "2", "INVALID_REPLICATION_FACTOR"},
		{"no-number", "replication.factor", "two", "replication.factor"},
		{"no-such-config", "retention.miles", "1", "INVALID_CONFIG"},
	} {
		configs := map[string]string{}
		if test.key != "" {
			configs[test.key] = test.value
		}
		err := c.createTopic(testContext(t), test.name, 1, configs)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("topic %q with %v: error %v, want one with %q", test.name, configs, err, test.want)
		}
	}
}

func TestThreeNodesOutliveALeader(t *testing.T) {
	if testing.Short() {
		t.Skip("three nodes take half a minute")
	}
	outliveALeader(t, Start(t, 3))
}

// outliveALeader kills a node of three and has it back: what was written is there, and can be written meanwhile.
func outliveALeader(t *testing.T, c *Cluster) {
	t.Helper()
	topic := c.NewTopic(t, 3, map[string]string{"min.insync.replicas": "2"})
	write(t, c, topic, "a", "b", "c")
	node := c.TransactionCoordinator(t, "x")
	c.Kill(t, node)
	write(t, c, topic, "d")
	if heir := c.TransactionCoordinator(t, "x"); heir == node {
		t.Errorf("node %d, which is down, is told as the coordinator", node)
	}
	c.Restart(t, node)
	write(t, c, topic, "e")
	if got := read(t, c, topic, 5); len(got) != 5 {
		t.Errorf("read %q, want five values", got)
	}
}

func TestStartFailureShowsTheLog(t *testing.T) {
	kafka.Get(t) // skips where there is no Kafka
	wantLogOfFailure(t)
	if _, err := start(maxNodes + 1); err == nil || !strings.Contains(err.Error(), "cluster of 6 nodes") {
		t.Errorf("error %v, want one that names the number of nodes", err)
	}
}

func wantLogOfFailure(t *testing.T, opts ...Option) {
	t.Helper()
	_, err := start(1, append(opts, WithConfig("num.io.threads", "many"))...)
	if err == nil || !strings.Contains(err.Error(), "num.io.threads") {
		t.Errorf("error %v, want the broker's own words on num.io.threads", err)
	}
}
