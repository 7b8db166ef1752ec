package apitest

import (
	"maps"
	"slices"
	"testing"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"

	"github.com/sluice-kafka/sluice"
)

// gauges are the metrics that sarama has not. docs/metrics.md has a line for each.
var gauges = []string{
	"records-buffered", "records-in-flight", "outcomes-unread", "errors-unread",
	"record-send-total", "record-retry-total", "record-acknowledged-total", "record-error-total", "batch-split-total",
	"buffer-total-bytes", "buffer-used-bytes", "buffer-available-bytes",
	"waiting-threads", "bufferpool-wait-total", "bufferpool-wait-time-ns-total",
	"request-total", "response-total", "request-lost-total", "outgoing-byte-total", "incoming-byte-total",
	"connection-count", "connection-creation-total", "connection-failed-total", "connection-lost-total",
}

func gaugeOf(t *testing.T, r metrics.Registry, name string) int64 {
	t.Helper()
	g, ok := r.Get(name).(metrics.Gauge)
	if !ok {
		t.Fatalf("%s is a %T", name, r.Get(name))
	}
	return g.Value()
}

// Gauges say what Stats does.
func TestGauges(t *testing.T) {
	inStats(t, func(t *testing.T, v *virtual) {
		held := holdProduce(t, v.Cluster, nil)
		conf := v.config()
		p := newAsync(t, v.Cluster, conf)
		send(p, message(0, 0))
		receive(t, held.arrived)
		send(p, message(0, 1), message(0, 2), &sarama.ProducerMessage{})
		compare := func(when string) {
			t.Helper()
			s := atRest(t, p, 4)
			want := map[string]int64{
				"records-buffered": s.Records.Buffered.Records, "records-in-flight": s.Records.InFlight.Records, "outcomes-unread": s.Unread,
				"errors-unread":     s.UnreadErrors,
				"record-send-total": s.Records.Sent.Records, "record-retry-total": s.Records.Retried.Records,
				"record-acknowledged-total": s.Records.Acknowledged.Records, "record-error-total": s.Records.Failed.Records,
				"batch-split-total":  s.Records.SplitBatches,
				"buffer-total-bytes": s.Memory.Limit, "buffer-used-bytes": s.Memory.Used, "buffer-available-bytes": s.Memory.Limit - s.Memory.Used,
				"waiting-threads": s.Memory.Waiting, "bufferpool-wait-total": s.Memory.Waits,
				"bufferpool-wait-time-ns-total": int64(s.Stages.MemoryWait.Sum),
				"request-total":                 s.Requests.Sent, "response-total": s.Requests.Answered, "request-lost-total": s.Requests.Lost,
				"outgoing-byte-total": s.Requests.BytesSent, "incoming-byte-total": s.Requests.BytesReceived,
				"connection-count": s.Connections.Open, "connection-creation-total": s.Connections.Opened,
				"connection-failed-total": s.Connections.Failed, "connection-lost-total": s.Connections.Lost,
			}
			if len(want) != len(gauges) {
				t.Errorf("%d gauges of %d are compared", len(want), len(gauges))
			}
			for _, name := range gauges {
				if got := gaugeOf(t, conf.MetricRegistry, name); got != want[name] {
					t.Errorf("%s: %s is %d, want %d", when, name, got, want[name])
				}
			}
		}
		compare("in flight")
		if n := gaugeOf(t, conf.MetricRegistry, "records-in-flight"); n != 1 {
			t.Errorf("%d in flight", n)
		}
		if n := gaugeOf(t, conf.MetricRegistry, "errors-unread"); n != 1 {
			t.Errorf("%d errors are unread", n)
		}
		held.open()
		receive(t, p.Errors())
		successes(t, p, 3)
		compare("at rest")
		mustClose(t, p)
		for _, name := range gauges {
			if conf.MetricRegistry.Get(name) != nil {
				t.Errorf("%s stays after Close", name)
			}
		}
	})
}

// A sarama broker that is closed takes the meters that it shares with a producer out of the registry, and no gauge. If somebody takes
// out everything, all comes back.
func TestGaugesOutliveASaramaBroker(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	first, second := newAsync(t, c, conf), newAsync(t, c, conf)
	both := func() {
		for _, p := range []*sluice.Producer{first, second} {
			send(p, message(0, 0))
			successes(t, p, 1)
		}
	}
	both()
	broker := sarama.NewBroker(c.ListenAddrs()[0])
	if err := broker.Open(conf); err != nil {
		t.Fatal(err)
	}
	if _, err := broker.Connected(); err != nil {
		t.Fatal(err)
	}
	if err := broker.Close(); err != nil {
		t.Fatal(err)
	}
	if conf.MetricRegistry.Get("request-rate") != nil {
		t.Fatal("the broker took nothing out: this test shows nothing")
	}
	if n := gaugeOf(t, conf.MetricRegistry, "record-acknowledged-total"); n != 2 {
		t.Errorf("%d acknowledged, of two producers", n)
	}
	conf.MetricRegistry.UnregisterAll()
	both()
	for _, name := range gauges {
		gaugeOf(t, conf.MetricRegistry, name)
	}
	if n := gaugeOf(t, conf.MetricRegistry, "record-acknowledged-total"); n != 4 {
		t.Errorf("%d acknowledged, of two producers", n)
	}
	mustClose(t, first)
	if n := gaugeOf(t, conf.MetricRegistry, "record-acknowledged-total"); n != 2 {
		t.Errorf("%d acknowledged, of the second producer", n)
	}
	mustClose(t, second)
	if left := slices.Collect(maps.Keys(registered(conf.MetricRegistry))); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}
