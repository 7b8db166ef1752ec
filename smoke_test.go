package sluice

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestSmoke(t *testing.T) {
	c := kfake.MustCluster(kfake.NumBrokers(3), kfake.SeedTopics(4, "t"))
	defer c.Close()
	conf := NewConfig()
	conf.Producer.Return.Successes = true
	p, err := NewAsyncProducer(c.ListenAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	go func() {
		for i := range n {
			p.Input() <- &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(fmt.Sprint(i))}
		}
	}()
	for range n {
		select {
		case <-p.Successes():
		case err := <-p.Errors():
			t.Fatal(err)
		case <-time.After(5 * time.Second):
			t.Fatal("timeout")
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	cl, _ := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("t"))
	defer cl.Close()
	got := 0
	for got < n {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		f := cl.PollFetches(ctx)
		cancel()
		if f.Err() != nil {
			t.Fatal(f.Err())
		}
		got += f.NumRecords()
	}
}
