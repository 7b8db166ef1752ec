package sluice_test

import (
	"context"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

func TestAppenderTry(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(100, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conf := sluice.NewConfig()
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	var count int
	p, err := sluice.New(c.ListenAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	a, err := sluice.NewAppender(p, "t", sluice.WithAppendReport(func(r sluice.AppendReport) {
		if r.Err != nil {
			t.Error(r.Err)
		}
		for rec := range r.Records() {
			if string(rec.Value) != "hello" {
				t.Error(rec)
			}
			count++
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	for range 100000 {
		if err := a.Append(nil, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if count != 100000 {
		t.Error(count)
	}
}
