package apitest

import (
	"testing"

	"github.com/IBM/sarama"
)

// A sarama client that shares its registry with a producer keeps its request-rate when the producer is closed, if the
// client has registered that itself: after it had taken out the producer's, as its brokers do when they are closed.
func TestClientsMetricsOutliveTheProducer(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	p := newAsync(t, c, conf)
	send(p, message(0, 0))
	successes(t, p, 1)
	open := func() sarama.Client {
		client, err := sarama.NewClient(c.ListenAddrs(), conf)
		if err != nil {
			t.Fatal(err)
		}
		broker, err := client.Controller() // connects
		if err != nil {
			t.Fatal(err)
		}
		if _, err := broker.Connected(); err != nil {
			t.Fatal(err)
		}
		return client
	}
	first := open()
	for _, b := range first.Brokers() { // client.Close does not wait for it
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	defer first.Close()
	if conf.MetricRegistry.Get("request-rate") != nil {
		t.Fatal("the client took nothing out: this test shows nothing")
	}
	second := open()
	defer second.Close()
	rate := conf.MetricRegistry.Get("request-rate")
	if rate == nil {
		t.Fatal("the second client registered nothing: this test shows nothing")
	}
	send(p, message(0, 1))
	successes(t, p, 1)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if conf.MetricRegistry.Get("request-rate") != rate {
		t.Error("the client's request-rate is gone with the producer")
	}
}
