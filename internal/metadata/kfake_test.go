package metadata_test

import (
	"context"
	"errors"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// These tests look up topics of an in-process cluster over real connections.

type call struct {
	topic *metadata.Topic
	err   error
}

// dialer dials as the producer does.
func dialer(conf *sarama.Config) metadata.DialFunc {
	d := wire.NewDialer(conf, 1)
	return func(ctx context.Context, id int32, addr string) (metadata.Conn, error) {
		c, err := d.Dial(ctx, id, addr)
		if err != nil {
			return nil, err // not a nil *wire.Conn in an interface
		}
		return c, nil
	}
}

func newCluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.Metadata.Retry.Backoff = 1 // ns
	return conf
}

func start(t *testing.T, c *kfake.Cluster, conf *sarama.Config) *metadata.Service {
	t.Helper()
	s := metadata.New(conf, c.ListenAddrs()[:1], dialer(conf))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// watch returns the listener's calls.
func watch(s *metadata.Service, topic string) <-chan call {
	calls := make(chan call, 100)
	s.Watch(topic, func(t *metadata.Topic, err error) { calls <- call{t, err} })
	return calls
}

func TestClusterTopics(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(5, "t"))
	s := start(t, c, newConfig())
	if got := s.Brokers(); len(got) != 3 || got[0].Addr != c.ListenAddrs()[0] || got[0].Rack == "" {
		t.Errorf("brokers are %v, listening on %v", got, c.ListenAddrs())
	}
	calls := watch(s, "t")
	got := <-calls
	if got.err != nil {
		t.Fatal(got.err)
	}
	if len(got.topic.All) != 5 || len(got.topic.Writable) != 5 || got.topic.ID != c.TopicInfo("t").TopicID {
		t.Errorf("topic is %+v", got.topic)
	}
	for _, p := range got.topic.Partitions {
		if p.Leader != c.LeaderFor("t", p.ID) || p.Epoch < 0 || p.Code != 0 {
			t.Errorf("partition is %+v, leader %d", p, c.LeaderFor("t", p.ID))
		}
		if _, ok := s.Broker(p.Leader); !ok {
			t.Errorf("leader %d of partition %d has no address", p.Leader, p.ID)
		}
	}

	before, _ := got.topic.Partition(3)
	next := (before.Leader + 1) % 3
	if err := c.MoveTopicPartition("t", 3, next); err != nil {
		t.Fatal(err)
	}
	s.Refresh("t")
	got = <-calls
	if p, _ := got.topic.Partition(3); got.err != nil || p.Leader != next || p.Epoch <= before.Epoch {
		t.Errorf("partition is %+v after its leader moved from %+v to %d: %v", p, before, next, got.err)
	}
}

func TestClusterNewPartitions(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "t"), kfake.NumBrokers(1))
	conf := newConfig()
	s := start(t, c, conf)
	calls := watch(s, "t")
	if got := <-calls; got.err != nil || len(got.topic.All) != 1 {
		t.Fatalf("got %+v", got)
	}
	admin, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	more := kmsg.NewPtrCreatePartitionsRequest()
	more.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 4}}
	more.TimeoutMillis = 1000
	answer, err := more.RequestWith(t.Context(), admin)
	if err != nil || answer.Topics[0].ErrorCode != 0 {
		t.Fatalf("creating partitions: %+v, %v", answer, err)
	}
	s.Refresh("t")
	if got := <-calls; got.err != nil || len(got.topic.Writable) != 4 {
		t.Errorf("got %+v", got)
	}
}

func TestClusterUnknownTopics(t *testing.T) {
	s := start(t, newCluster(t), newConfig())
	if got := <-watch(s, "t"); !errors.Is(got.err, sarama.ErrUnknownTopicOrPartition) || got.topic != nil {
		t.Errorf("got %+v", got)
	}
	if n := s.Requests(); n != 5 { // bootstrap, one try, three retries
		t.Errorf("%d requests", n)
	}
}

func TestClusterCreatesTopics(t *testing.T) {
	c := newCluster(t, kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(2))
	conf := newConfig()
	conf.Metadata.AllowAutoTopicCreation = false
	if got := <-watch(start(t, c, conf), "t"); !errors.Is(got.err, sarama.ErrUnknownTopicOrPartition) {
		t.Errorf("got %+v, although creation is switched off", got)
	}
	if got := <-watch(start(t, c, newConfig()), "t"); got.err != nil || len(got.topic.Writable) != 2 {
		t.Errorf("got %+v", got)
	}
}

// Brokers of Kafka 0.11 have neither topic ids nor epochs.
func TestClusterOfAnOldVersion(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(2, "t"))
	conf := newConfig()
	conf.ApiVersionsRequest = false
	conf.Version = sarama.V0_11_0_0
	got := <-watch(start(t, c, conf), "t")
	if got.err != nil || len(got.topic.Writable) != 2 || got.topic.ID != [16]byte{} || got.topic.Partitions[0].Epoch != -1 {
		t.Errorf("got %+v", got)
	}
}

func TestClusterLosesTheBrokerThatWasAsked(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(3, "t"))
	s := start(t, c, newConfig())
	calls := watch(s, "t")
	if got := <-calls; got.err != nil {
		t.Fatal(got.err)
	}
	if err := c.RemoveNode(s.Brokers()[0].ID); err != nil { // the seed
		t.Fatal(err)
	}
	s.Refresh("t")
	if got := <-calls; got.err != nil || len(s.Brokers()) != 2 {
		t.Errorf("got %+v, brokers %v", got, s.Brokers())
	}
}

func TestClusterRefusesCredentials(t *testing.T) {
	c := newCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "right"))
	// kfake closes the connection on a wrong password; Kafka says why first.
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		refusal := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		refusal.ErrorCode = int16(sarama.ErrSASLAuthenticationFailed)
		return refusal, nil, true
	})
	conf := newConfig()
	conf.Net.SASL.Enable, conf.Net.SASL.User, conf.Net.SASL.Password = true, "user", "right"
	s := metadata.New(conf, c.ListenAddrs(), dialer(conf))
	err := s.Start(t.Context())
	if !errors.Is(err, sarama.ErrSASLAuthenticationFailed) || !errors.Is(err, sarama.ErrOutOfBrokers) {
		t.Error(err)
	}
	if err := s.Start(t.Context()); err != nil { // the control function refused once only
		t.Error(err)
	}
	s.Close()
}
