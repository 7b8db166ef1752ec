package brokerproducer

import (
	"testing"

	gometrics "github.com/rcrowley/go-metrics"
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
