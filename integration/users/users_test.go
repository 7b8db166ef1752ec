package users

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

// TestMain lets a second Close of sarama's producer go: it sends on its closed Input, in a goroutine of its own.
func TestMain(m *testing.M) {
	sarama.PanicHandler = func(v any) {
		if fmt.Sprint(v) != "send on closed channel" {
			panic(v)
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// constructors are where a producer comes from: the library under test never learns which ones they are.
type constructors struct {
	name  string
	async func([]string, *sarama.Config) (sarama.AsyncProducer, error)
	sync  func([]string, *sarama.Config) (sarama.SyncProducer, error)
}

// seen is what a use of a library showed, a line each. Lines may be in any order where that is a matter of time.
type seen []string

func (s *seen) add(format string, args ...any) { *s = append(*s, fmt.Sprintf(format, args...)) }

// compare uses a library with sarama's producer and with ours.
func compare(t *testing.T, use func(t *testing.T, cluster *cluster, construct constructors) seen) {
	t.Helper()
	var both []seen
	for _, construct := range []constructors{
		{"sarama", sarama.NewAsyncProducer, sarama.NewSyncProducer},
		{"sluice", sluice.NewAsyncProducer, sluice.NewSyncProducer},
	} {
		t.Run(construct.name, func(t *testing.T) { both = append(both, use(t, start(t), construct)) })
	}
	if len(both) != 2 || t.Failed() {
		return
	}
	theirs, ours := both[0], both[1]
	if len(theirs) == 0 {
		t.Fatal("nothing was seen")
	}
	for i := range max(len(theirs), len(ours)) {
		var a, b string
		if i < len(theirs) {
			a = theirs[i]
		}
		if i < len(ours) {
			b = ours[i]
		}
		if a != b {
			t.Errorf("line %d\nsarama: %s\nsluice: %s", i, a, b)
		}
	}
}

// cluster is one broker with the topic "events" of one partition.
type cluster struct {
	*kfake.Cluster
	refuse atomic.Bool // every produce request is answered with ErrTopicAuthorizationFailed
}

func start(t *testing.T) *cluster {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := &cluster{Cluster: fake}
	fake.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		if !c.refuse.Load() {
			return nil, nil, false
		}
		response := request.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range request.(*kmsg.ProduceRequest).Topics {
			refused := kmsg.NewProduceResponseTopic()
			refused.Topic, refused.TopicID = topic.Topic, topic.TopicID
			for _, partition := range topic.Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition, p.ErrorCode = partition.Partition, int16(sarama.ErrTopicAuthorizationFailed)
				refused.Partitions = append(refused.Partitions, p)
			}
			response.Topics = append(response.Topics, refused)
		}
		return response, nil, true
	})
	return c
}

// readLog reads n records of "events".
func (c *cluster) readLog(t *testing.T, n int) (records []*kgo.Record) {
	t.Helper()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("events"))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for len(records) < n {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// log adds n records. Of headers it has the names alone: what tracers write there is chance.
func (s *seen) log(t *testing.T, c *cluster, n int) {
	t.Helper()
	for _, r := range c.readLog(t, n) {
		var names []string
		for _, h := range r.Headers {
			names = append(names, h.Key)
		}
		s.add("log: %d/%d: key %q, value %q, headers %q", r.Partition, r.Offset, r.Key, r.Value, names)
	}
}

// config is sarama's, with one look-up for a topic that is not there.
func config() *sarama.Config {
	c := sarama.NewConfig()
	c.Producer.Return.Successes = true
	c.Metadata.Retry.Max = 0
	return c
}

func event(i int) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "events", Value: sarama.StringEncoder(fmt.Sprintf("event %d", i)), Metadata: i}
}

func lost() *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "no-such-topic", Value: sarama.StringEncoder("lost"), Metadata: "lost"}
}

// kind names an error as a program may ask for it, by == where it can. For a topic that is not there it can't: sarama
// joins that look-up's errors. There errors.Is is all that is asked, and the value itself will do.
func kind(err error) string {
	if err == nil {
		return "none"
	}
	var several sarama.ProducerErrors
	if errors.As(err, &several) {
		var kinds []string
		for _, e := range several {
			kinds = append(kinds, kind(e.Err))
		}
		return fmt.Sprintf("ProducerErrors %q", kinds)
	}
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return "no such topic"
	}
	if err == sarama.ErrTopicAuthorizationFailed { //nolint:errorlint // programs do
		return "not authorized, the value itself"
	}
	return err.Error()
}

// outcomes reads both channels of a producer until they are closed.
type outcomes struct {
	successes, failures seen
	one                 chan struct{} // a token for each outcome
	closed              sync.WaitGroup
}

func read(p sarama.AsyncProducer) *outcomes {
	o := &outcomes{one: make(chan struct{}, 1000)}
	o.closed.Go(func() {
		for msg := range p.Successes() {
			o.successes.add("success: %v at %d/%d", msg.Metadata, msg.Partition, msg.Offset)
			o.one <- struct{}{}
		}
	})
	o.closed.Go(func() {
		for e := range p.Errors() {
			metadata := e.Msg.Metadata
			if id, ok := metadata.(trace.SpanID); ok && id.IsValid() {
				metadata = "a span's id" // otelsarama leaves it there without Return.Successes
			}
			o.failures.add("failure: %v: %s", metadata, kind(e.Err))
			o.one <- struct{}{}
		}
	})
	return o
}

// wait waits for n more outcomes.
func (o *outcomes) wait(n int) {
	for range n {
		<-o.one
	}
}

// all waits until both channels are closed. The failures, which may be of many batches, are sorted.
func (o *outcomes) all() seen {
	o.closed.Wait()
	slices.Sort(o.failures)
	return slices.Concat(o.successes, o.failures)
}

// count is all that can be compared of messages that are under way when the producer is closed: sarama fails those with
// ErrShuttingDown that it is just retrying. Each has one outcome, and those that succeeded are in the log.
func (s *seen) count(t *testing.T, c *cluster, o *outcomes) {
	t.Helper()
	all := o.all()
	slices.Sort(all)
	s.add("%d outcomes, all different: %v", len(all), len(slices.Compact(slices.Clone(all))) == len(all))
	if n := len(o.successes); n > 0 {
		c.readLog(t, n)
	}
}

// panicOf calls f and returns what it panics with.
func panicOf(f func()) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = "panic: " + strings.TrimPrefix(fmt.Sprint(v), "runtime error: ")
		}
	}()
	f()
	return "returned"
}
