package brokerproducer

import (
	"strings"
	"testing"

	gometrics "github.com/rcrowley/go-metrics"

	"github.com/sluice-kafka/sluice/internal/meters"
)

// The metrics come back after a sarama producer with the same registry has unregistered them.
func TestMetricsComeBack(t *testing.T) {
	conf := newConfig(t, nil).Shared.Conf
	m := newMetrics(conf)
	req := &request{records: 7}
	m.sending(req)
	conf.MetricRegistry.UnregisterAll()
	for range 2 {
		m.sending(req)
	}
	if meter, ok := conf.MetricRegistry.Get("record-send-rate").(gometrics.Meter); !ok || meter.Count() != 14 {
		t.Errorf("record-send-rate is %v", conf.MetricRegistry.Get("record-send-rate"))
	}
	before := m.set().topic("t")
	conf.MetricRegistry.UnregisterAll()
	if m.set().topic("t") == before || conf.MetricRegistry.Get("batch-size-for-topic-t") == nil {
		t.Error("the topic's metrics did not come back")
	}
}

// The metrics of a forgotten topic are taken out, unless a topic whose name differs in dots alone has the same.
func TestMetricsOfForgottenTopics(t *testing.T) {
	conf := newConfig(t, nil).Shared.Conf
	parent := conf.MetricRegistry
	conf.MetricRegistry = meters.New(parent)
	m := newMetrics(conf)
	shared := m.set().topic("a.b")
	m.set().topic("a_b")
	m.forget("a.b")
	m.forget("a.b")
	m.forget("never used")
	if parent.Get("batch-size-for-topic-a_b") != shared.batchSize || m.set().topic("a_b").batchSize != shared.batchSize {
		t.Error("the other topic's metrics are gone")
	}
	m.forget("a_b")
	parent.Each(func(name string, _ any) {
		if strings.Contains(name, "-for-topic-") {
			t.Errorf("%s is left", name)
		}
	})
	if m.set().topic("a.b"); parent.Get("batch-size-for-topic-a_b") == nil {
		t.Error("a topic that is used again has no metrics")
	}
	parent.UnregisterAll() // as sarama does
	m.set()
	m.forget("a.b")
	if parent.Get("batch-size-for-topic-a_b") != nil || parent.Get("batch-size") == nil {
		t.Error("a topic that was not used since")
	}
}
