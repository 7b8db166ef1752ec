package main

import (
	"context"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// cluster starts a broker that keeps what it gets, as a real one does.
func cluster(t *testing.T) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// topicNames asks a cluster which topics it has.
func topicNames(t *testing.T, addrs []string) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = nil
	response, err := request.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, topic := range response.Topics {
		names = append(names, *topic.Topic)
	}
	return names
}

// TestBrokers runs every client against a cluster that is not the sink: topics are made, counted and deleted.
func TestBrokers(t *testing.T) {
	c := cluster(t)
	for _, more := range [][]string{nil, {"-senders", "5", "-call", "7", "-goroutines", "3", "-compression", "lz4"}} {
		args := append([]string{"-clients", strings.Join(kindNames(), ","), "-records", "1003", "-rounds", "1",
			"-topics", "2", "-partitions", "3", "-brokers", strings.Join(c.ListenAddrs(), ",")}, more...)
		if status, _, problems := program(args...); status != 0 {
			t.Fatalf("%v: status %d: %s", more, status, problems)
		}
		if left := topicNames(t, c.ListenAddrs()); len(left) > 0 {
			t.Errorf("%v: topics are left: %v", more, left)
		}
	}
}

// TestBrokersCount: the count is what the cluster holds, not what the client says.
func TestBrokersCount(t *testing.T) {
	c := cluster(t)
	s, err := parse([]string{"-partitions", "2", "-brokers", strings.Join(c.ListenAddrs(), ",")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	to, err := open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(to.addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	for range 7 {
		record := &kgo.Record{Topic: to.topics()[0], Value: []byte("x")}
		if err := client.ProduceSync(context.Background(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	if records, _, err := to.finish(t.Context(), false); err != nil || records != 7 {
		t.Errorf("finish returns %d records, %v", records, err)
	}
}

func TestBrokersRefuseTopics(t *testing.T) {
	c := cluster(t)
	c.ControlKey(int16(kmsg.CreateTopics), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		response := request.ResponseKind().(*kmsg.CreateTopicsResponse)
		for _, asked := range request.(*kmsg.CreateTopicsRequest).Topics {
			topic := kmsg.NewCreateTopicsResponseTopic()
			topic.Topic, topic.ErrorCode = asked.Topic, 29 // TOPIC_AUTHORIZATION_FAILED
			response.Topics = append(response.Topics, topic)
		}
		return response, nil, true
	})
	status, _, problems := program("-clients", "sarama", "-brokers", strings.Join(c.ListenAddrs(), ","))
	if status != 1 || !strings.Contains(problems, "create topic sluice-bench-") || !strings.Contains(problems, "TOPIC_AUTHORIZATION_FAILED") {
		t.Errorf("status %d: %s", status, problems)
	}
	if strings.Count(problems, "\n") != 1 {
		t.Errorf("more than a line: %s", problems)
	}
}
