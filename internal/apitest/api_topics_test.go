package apitest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

func TestNewPartitionsAreUsed(t *testing.T) {
	c := newTopicCluster(t, 2, 1)
	conf := testConfig()
	conf.Metadata.RefreshFrequency = 5 * time.Millisecond
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	p := newAsync(t, c, conf)
	send(p, message(0, 0))
	successes(t, p, 1)

	addPartitions(t, c, 3)
	used := map[int32]bool{}
	for n := 1; len(used) < 3; n++ {
		send(p, message(0, n))
		used[successes(t, p, 1)[0].Partition] = true
	}
}

// addPartitions makes it so many of topic "t".
func addPartitions(t *testing.T, c *kfake.Cluster, partitions int32) {
	t.Helper()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = "t", partitions
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Topics = append(req.Topics, topic)
	if _, err := req.RequestWith(impatient(t), newReader(t, c)); err != nil {
		t.Fatal(err)
	}
}

func TestTopicIsCreated(t *testing.T) {
	c := newCluster(t, kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(2))
	conf := testConfig()
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	p := newAsync(t, c, conf)
	send(p, messages(10, 1)...)
	successes(t, p, 10)
	wantInOrder(t, c, 10)
}

func TestTopicIsNotCreated(t *testing.T) {
	c := newCluster(t, kfake.AllowAutoTopicCreation())
	conf := testConfig()
	conf.Metadata.AllowAutoTopicCreation = false
	p := newAsync(t, c, conf, sluice.WithDeliveryTimeout(200*time.Millisecond))
	send(p, message(0, 0))
	wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrUnknownTopicOrPartition))
	if c.TopicInfo("t") != nil {
		t.Error("the topic was created")
	}
}

// Through sarama's constructors an unknown topic fails after the tries of Metadata.Retry, as in sarama.
func TestUnknownTopic(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	asked := metadataRequests(c, "missing")
	conf := testConfig()
	conf.Metadata.Retry.Max = 2
	p := saramaDoor.newAsync(t, c, conf)
	p.Input() <- &sarama.ProducerMessage{Topic: "missing"}
	p.Input() <- message(0, 0)
	if failed := receive(t, p.Errors()); failed.Err != sarama.ErrUnknownTopicOrPartition || failed.Msg.Topic != "missing" {
		t.Errorf("a message to %q failed with %v", failed.Msg.Topic, failed.Err)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
	receive(t, p.Successes())
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// A topic whose name no broker takes is refused at once.
func TestInvalidTopicName(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	looked := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "bad name!", Err: kerr.InvalidTopicException, Count: -1})
	conf := testConfig()
	conf.Metadata.Retry.Max = 5
	p := newAsync(t, c, conf)
	send(p, &sarama.ProducerMessage{Topic: "bad name!"})
	wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrInvalidTopic), "bad name!")
	if n := looked.Hits(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

// Through sarama's constructors the breaker opens after three failures; ten seconds later the topic has another chance.
func TestBreaker(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		asked := metadataRequests(v.Cluster, "t")
		conf := v.config()
		conf.Metadata.Retry.Max = 0
		p := saramaDoor.newAsync(t, v.Cluster, conf)
		fails := func() {
			p.Input() <- message(0, 0)
			if err := receive(t, p.Errors()).Err; err != sarama.ErrUnknownTopicOrPartition {
				t.Errorf("failed with %v", err)
			}
		}
		for range 3 {
			fails()
		}
		before := asked.Load()
		for range 3 {
			fails()
		}
		if n := asked.Load() - before; n > 0 {
			t.Errorf("asked %d times with an open breaker", n)
		}
		if err := v.CreateTopic("t", 1, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		p.Input() <- message(0, 0)
		receive(t, p.Successes())
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A topic that exists only after the first look-ups is found by the retries.
func TestTopicAppears(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Metadata.Retry.Max = 10
		conf.Metadata.Retry.Backoff = time.Second
		p := newAsync(t, v.Cluster, conf)
		send(p, messages(5, 1)...)
		time.Sleep(4500 * time.Millisecond)
		if err := v.CreateTopic("t", 1, nil); err != nil {
			t.Fatal(err)
		}
		successes(t, p, 5)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}
