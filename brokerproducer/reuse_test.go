package brokerproducer

import (
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	gometrics "github.com/rcrowley/go-metrics"

	"github.com/sluice-kafka/sluice/internal/wire"
	"github.com/sluice-kafka/sluice/produceset"
)

// Nothing of an ended request is left when it is used again.
func TestRequestIsUsedAgain(t *testing.T) {
	l := newLoop(&Producer{Config: newConfig(t, nil), conf: sarama.NewConfig()})
	used := &request{
		batches: []*Batch{{}}, records: 1, bytes: 2, err: errEnded, written: true, fatal: true, recalled: true,
		wire: wire.ProduceRequest{
			Written: true, User: l, Partitions: make([]wire.ProducePartition, 3),
			Answers: []wire.ProduceAnswer{{Message: "m"}}, Nodes: []wire.NodeEndpoint{{Host: "h"}},
		},
	}
	l.recycle(used)
	req := l.newRequest()
	if req != used || len(req.batches)+len(req.wire.Partitions)+len(req.wire.Answers)+len(req.wire.Nodes) != 0 ||
		req.records+req.bytes != 0 || req.err != nil || req.written || req.fatal || req.recalled ||
		req.wire.Written || req.wire.User != nil {
		t.Errorf("%+v", req)
	}
	if req.batches[:1][0] != nil || req.wire.Answers[:1][0].Message != "" || req.wire.Nodes[:1][0].Host != "" {
		t.Error("its slices still hold something")
	}
	for range requestsKept + 1 {
		l.recycle(&request{})
	}
	if len(l.spare) != requestsKept {
		t.Errorf("%d requests are kept", len(l.spare))
	}
}

// If a request has more batches than are measured, every topic is measured some time.
func TestMetricsLeaveNoTopicOut(t *testing.T) {
	conf := sarama.NewConfig()
	conf.MetricRegistry = gometrics.NewRegistry()
	m := newMetrics(conf)
	req := &request{}
	for i := range 3 * measured {
		req.batches = append(req.batches, &Batch{Batch: &produceset.Batch{Topic: fmt.Sprint(i)}, count: 1})
	}
	for range 200 { // one in three each time: a topic is never measured with a chance of 10^-33
		m.sending(req)
	}
	for _, b := range req.batches {
		if m.set().topic(b.Topic).batchSize.Count() == 0 {
			t.Fatalf("topic %s was never measured", b.Topic)
		}
	}
	if n := m.set().all.recordSendRate.Count(); n != 0 {
		t.Errorf("%d records are counted of requests that have none", n)
	}
	m.sending(&request{}) // no batch is left in it
}
