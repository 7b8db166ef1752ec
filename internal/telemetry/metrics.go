package telemetry

import (
	"slices"
	"time"
)

// Snapshot is what the metrics are made of. All but LongestThrottle count since the producer was made.
type Snapshot struct {
	// ConnectionsOpened counts connections, with their logins.
	ConnectionsOpened int64
	// QueueTime is how long batches waited until they were taken into a request.
	QueueTime Timing
	// Answered are requests of any kind, Throttled how long their answers asked to wait, in all.
	Answered  int64
	Throttled time.Duration
	// LongestThrottle is the longest that one answer has asked for since the last snapshot.
	LongestThrottle time.Duration
	// Nodes are the brokers whose id is known, under each of their addresses, sorted by id.
	Nodes []Node
}

// Node is a broker at an address, and how long it took to answer.
type Node struct {
	ID      int32
	Addr    string
	Latency Timing
}

// Timing counts durations.
type Timing struct {
	Count    int64
	Sum, Max time.Duration
	// Buckets counts them by their size: those of bucket i are at most Config.Bounds[i], those of the last one above all bounds. It
	// may be nil if Count is 0.
	Buckets []int64
}

// Plus is both together.
func (t Timing) Plus(other Timing) Timing {
	longer, shorter := slices.Clone(t.Buckets), other.Buckets
	if len(longer) < len(shorter) {
		longer, shorter = slices.Clone(shorter), t.Buckets
	}
	for i, n := range shorter {
		longer[i] += n
	}
	return Timing{Count: t.Count + other.Count, Sum: t.Sum + other.Sum, Max: max(t.Max, other.Max), Buckets: longer}
}

// metric is one metric with one value.
type metric struct {
	name, unit string
	sum        bool // it counts; else it is a gauge
	value      float64
	node       int32 // the broker's id, or -1
}

const prefix = "org.apache.kafka.producer."

// collect makes the metrics of the time between two snapshots: KIP-714's standard producer metrics. A gauge of something that has not
// happened meanwhile is left out. Brokers come last: there may be many.
func collect(before, now *Snapshot, elapsed time.Duration, bounds []time.Duration, delta bool) []metric {
	opened := now.ConnectionsOpened - before.ConnectionsOpened
	total := now.ConnectionsOpened
	if delta {
		total = opened
	}
	all := []metric{{name: "connection.creation.total", unit: "1", sum: true, value: float64(total), node: -1}}
	gauge := func(name, unit string, value float64, node int32) {
		all = append(all, metric{name: name, unit: unit, value: value, node: node})
	}
	if elapsed > 0 {
		gauge("connection.creation.rate", "1/s", float64(opened)/elapsed.Seconds(), -1)
	}
	timing := func(name string, before, now Timing, node int32) {
		if now.Count > before.Count {
			gauge(name+".avg", "ms", millis(now.Sum-before.Sum)/float64(now.Count-before.Count), node)
			gauge(name+".max", "ms", millis(longest(before, now, bounds)), node)
		}
	}
	timing("record.queue.time", before.QueueTime, now.QueueTime, -1)
	if answered := now.Answered - before.Answered; answered > 0 {
		gauge("produce.throttle.time.avg", "ms", millis(now.Throttled-before.Throttled)/float64(answered), -1)
		gauge("produce.throttle.time.max", "ms", millis(now.LongestThrottle), -1)
	}
	// A broker may have changed its address, and is forgotten under the old one after a while: only addresses of now are compared.
	type place struct {
		id   int32
		addr string
	}
	known := make(map[place]Timing, len(before.Nodes))
	for _, n := range before.Nodes {
		known[place{n.ID, n.Addr}] = n.Latency
	}
	for i := 0; i < len(now.Nodes); {
		var was, is Timing
		id := now.Nodes[i].ID
		for ; i < len(now.Nodes) && now.Nodes[i].ID == id; i++ {
			latency := now.Nodes[i].Latency
			if k := known[place{id, now.Nodes[i].Addr}]; k.Count <= latency.Count { // else it was forgotten, and is in use again
				was = was.Plus(k)
			}
			is = is.Plus(latency)
		}
		timing("node.request.latency", was, is, id)
	}
	for i := range all {
		all[i].name = prefix + all[i].name
	}
	return all
}

// longest is the longest duration that was counted between two states of a Timing. If it is not the longest of all, only its bucket is
// known: then it is that bucket's bound.
func longest(before, now Timing, bounds []time.Duration) time.Duration {
	if now.Max > before.Max {
		return now.Max
	}
	for i := len(now.Buckets) - 1; i >= 0; i-- {
		if (i >= len(before.Buckets) || now.Buckets[i] > before.Buckets[i]) && now.Buckets[i] > 0 {
			if i < len(bounds) {
				return min(bounds[i], now.Max)
			}
			return now.Max
		}
	}
	return now.Max
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
