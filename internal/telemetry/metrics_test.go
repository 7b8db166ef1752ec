package telemetry

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

var bounds = []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond}

// timingOf counts durations as the producer does.
func timingOf(all ...time.Duration) (t Timing) {
	for _, d := range all {
		if t.Buckets == nil {
			t.Buckets = make([]int64, len(bounds)+1)
		}
		i := 0
		for i < len(bounds) && d > bounds[i] {
			i++
		}
		t.Buckets[i]++
		t.Count, t.Sum, t.Max = t.Count+1, t.Sum+d, max(t.Max, d)
	}
	return t
}

// values are metrics by short name and node.
func values(metrics []metric) map[string]float64 {
	all := map[string]float64{}
	for _, m := range metrics {
		name := m.name[len(prefix):]
		if m.node >= 0 {
			name += fmt.Sprint("#", m.node)
		}
		all[name] = m.value
	}
	return all
}

const ms = time.Millisecond

func TestCollect(t *testing.T) {
	empty := &Snapshot{}
	busy := &Snapshot{
		ConnectionsOpened: 6, Answered: 10, Throttled: 50 * ms, LongestThrottle: 30 * ms,
		QueueTime: timingOf(2*ms, 4*ms),
		Nodes:     []Node{{1, "a", timingOf(200 * ms)}, {2, "a", timingOf(3*ms, 5*ms)}},
	}
	later := &Snapshot{
		ConnectionsOpened: 7, Answered: 14, Throttled: 50 * ms,
		QueueTime: timingOf(2*ms, 4*ms, 3*ms, 3*ms),
		Nodes:     []Node{{1, "a", timingOf(200*ms, 20*ms)}, {2, "a", timingOf(3*ms, 5*ms)}, {3, "a", timingOf(ms)}},
	}
	for _, tt := range []struct {
		name        string
		before, now *Snapshot
		delta       bool
		want        map[string]float64
	}{
		{"nothing has happened", empty, empty, false, map[string]float64{"connection.creation.total": 0, "connection.creation.rate": 0}},
		{"all since the start", empty, busy, false, map[string]float64{
			"connection.creation.total": 6, "connection.creation.rate": 3,
			"record.queue.time.avg": 3, "record.queue.time.max": 4,
			"produce.throttle.time.avg": 5, "produce.throttle.time.max": 30,
			"node.request.latency.avg#1": 200, "node.request.latency.max#1": 200,
			"node.request.latency.avg#2": 4, "node.request.latency.max#2": 5,
		}},
		// The longest of the interval is known to its bucket: 4 ms is the longest of all, and 20 ms is in the bucket up to 100 ms.
		{"a later interval", busy, later, true, map[string]float64{
			"connection.creation.total": 1, "connection.creation.rate": 0.5,
			"record.queue.time.avg": 3, "record.queue.time.max": 4,
			"produce.throttle.time.avg": 0, "produce.throttle.time.max": 0,
			"node.request.latency.avg#1": 20, "node.request.latency.max#1": 100,
			"node.request.latency.avg#3": 1, "node.request.latency.max#3": 1,
		}},
		{"a later interval, cumulative", busy, later, false, map[string]float64{
			"connection.creation.total": 7, "connection.creation.rate": 0.5,
			"record.queue.time.avg": 3, "record.queue.time.max": 4,
			"produce.throttle.time.avg": 0, "produce.throttle.time.max": 0,
			"node.request.latency.avg#1": 20, "node.request.latency.max#1": 100,
			"node.request.latency.avg#3": 1, "node.request.latency.max#3": 1,
		}},
		{"a broker that begins anew", &Snapshot{Nodes: []Node{{1, "a", timingOf(ms, ms)}}}, &Snapshot{Nodes: []Node{{1, "a", timingOf(5 * ms)}}}, true, map[string]float64{
			"connection.creation.total": 0, "connection.creation.rate": 0,
			"node.request.latency.avg#1": 5, "node.request.latency.max#1": 5,
		}},
		// What it did there must not be taken off what it has done since.
		{
			"a broker's old address is forgotten",
			&Snapshot{Nodes: []Node{{1, "a", timingOf(1000 * ms)}, {1, "b", timingOf(10 * ms)}}},
			&Snapshot{Nodes: []Node{{1, "b", timingOf(10*ms, 20*ms, 20*ms)}}}, true, map[string]float64{
				"connection.creation.total": 0, "connection.creation.rate": 0,
				"node.request.latency.avg#1": 20, "node.request.latency.max#1": 20,
			},
		},
		{
			"a broker at two addresses",
			&Snapshot{Nodes: []Node{{1, "a", timingOf(ms)}}},
			&Snapshot{Nodes: []Node{{1, "a", timingOf(ms, 2*ms)}, {1, "b", timingOf(4 * ms)}}}, true, map[string]float64{
				"connection.creation.total": 0, "connection.creation.rate": 0,
				"node.request.latency.avg#1": 3, "node.request.latency.max#1": 4,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := values(collect(tt.before, tt.now, 2*time.Second, bounds, tt.delta)); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}

// TestLongest: also where the buckets say nothing.
func TestLongest(t *testing.T) {
	second := 1000 * ms
	for _, tt := range []struct {
		name        string
		before, now Timing
		want        time.Duration
	}{
		{"the longest of all", timingOf(ms), timingOf(ms, 2*ms), 2 * ms},
		{"a bucket", timingOf(50 * ms), timingOf(50*ms, 2*ms), 10 * ms},
		{"the first bucket", timingOf(50 * ms), timingOf(50*ms, ms), ms},
		{"above all bounds", timingOf(2 * second), timingOf(2*second, second), 2 * second},
		{"no buckets", Timing{Count: 1, Max: second}, Timing{Count: 2, Max: second}, second},
		{"the first", Timing{}, timingOf(3 * ms), 3 * ms},
	} {
		if got := longest(tt.before, tt.now, bounds); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPlus(t *testing.T) {
	a, b := timingOf(ms, 20*ms), timingOf(5*ms)
	if got, want := a.Plus(b), timingOf(ms, 20*ms, 5*ms); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := a.Plus(Timing{}); !reflect.DeepEqual(got, a) {
		t.Errorf("%v, want %v", got, a)
	}
	if got := (Timing{}).Plus(a); !reflect.DeepEqual(got, a) {
		t.Errorf("%v, want %v", got, a)
	}
	if a.Buckets[1] != 0 {
		t.Error("it changed what it was called on")
	}
}
