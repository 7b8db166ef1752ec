package sluice

import (
	"reflect"
	"testing"
	"time"

	"github.com/sluice-kafka/sluice/internal/telemetry"
)

// What is pushed comes from these fields of Stats. Seeds are no nodes.
func TestTelemetrySnapshot(t *testing.T) {
	ms := time.Millisecond
	s := Stats{
		Connections: ConnectionStats{Opened: 3},
		Requests:    RequestStats{Answered: 10, Throttled: 20 * ms},
		Stages:      StageStats{Queue: Histogram{Count: 2, Sum: 5 * ms, Max: 3 * ms, Buckets: []int64{0, 2}}},
		Brokers: []BrokerStats{
			{ID: -1, Addr: "seed", Requests: RequestStats{Latency: Histogram{Count: 9}}},
			{ID: 1, Addr: "a", Requests: RequestStats{Latency: Histogram{Count: 1, Sum: ms, Max: ms, Buckets: []int64{1, 0}}}},
			{ID: 1, Addr: "b", Requests: RequestStats{Latency: Histogram{Count: 1, Sum: 2 * ms, Max: 2 * ms, Buckets: []int64{0, 1}}}},
			{ID: 2, Addr: "c"},
		},
	}
	want := telemetry.Snapshot{
		ConnectionsOpened: 3, Answered: 10, Throttled: 20 * ms,
		QueueTime: telemetry.Timing{Count: 2, Sum: 5 * ms, Max: 3 * ms, Buckets: []int64{0, 2}},
		Nodes: []telemetry.Node{
			{ID: 1, Addr: "a", Latency: telemetry.Timing{Count: 1, Sum: ms, Max: ms, Buckets: []int64{1, 0}}},
			{ID: 1, Addr: "b", Latency: telemetry.Timing{Count: 1, Sum: 2 * ms, Max: 2 * ms, Buckets: []int64{0, 1}}},
			{ID: 2, Addr: "c"},
		},
	}
	if got := telemetrySnapshot(s); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
}
