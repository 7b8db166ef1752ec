package telemetry

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/sluice-kafka/sluice/internal/telemetry/telemetrytest"
)

var (
	testHeader = header{resource: []label{{"transactional_id", "orders"}, {"client_rack", "b"}}, scope: "s", version: "v1"}
	testSpan   = span{created: time.Unix(1, 0), from: time.Unix(2, 0), to: time.Unix(3, 5)}
)

// TestEncoding: all fields are read back, as OTLP has them.
func TestEncoding(t *testing.T) {
	metrics := []metric{
		{name: "a.total", unit: "1", sum: true, value: 3, node: -1},
		{name: "a.rate", unit: "1/s", value: 0.25, node: -1},
		{name: "n.avg", unit: "ms", value: 1.5, node: 0},
		{name: "n.avg", unit: "ms", value: 2.5, node: 2147483647},
	}
	for _, delta := range []bool{true, false} {
		got, err := telemetrytest.Decode(encode(&testHeader, metrics, testSpan, delta, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		sum := telemetrytest.Metric{Name: "a.total", Unit: "1", Sum: true, Temporality: 2, Monotonic: true, Start: 1e9, Time: 3e9 + 5, Int: 3, Node: -1}
		if delta {
			sum.Temporality, sum.Start = 1, 2e9
		}
		want := &telemetrytest.Data{
			Resource: map[string]string{"transactional_id": "orders", "client_rack": "b"}, Scope: "s", Version: "v1",
			Metrics: []telemetrytest.Metric{
				sum,
				{Name: "a.rate", Unit: "1/s", Start: 2e9, Time: 3e9 + 5, Double: 0.25, Node: -1},
				{Name: "n.avg", Unit: "ms", Start: 2e9, Time: 3e9 + 5, Double: 1.5, Node: 0},
				{Name: "n.avg", Unit: "ms", Start: 2e9, Time: 3e9 + 5, Double: 2.5, Node: 2147483647},
			},
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("delta %v:\n%+v, want\n%+v", delta, got, want)
		}
	}
}

// TestLimitOfEncoding: what does not fit in is left out, the last metrics first.
func TestLimitOfEncoding(t *testing.T) {
	metrics := make([]metric, 100)
	for i := range metrics {
		metrics[i] = metric{name: "m", unit: "ms", node: int32(i)}
	}
	whole := len(encode(&testHeader, metrics, testSpan, true, 1<<20))
	for _, limit := range []int{whole, whole - 1, whole / 2, whole / 10, 100, 10, 0, -1} {
		data := encode(&testHeader, metrics, testSpan, true, limit)
		if len(data) > max(limit, 0) {
			t.Errorf("%d bytes, at most %d", len(data), limit)
		}
		got, err := telemetrytest.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range got.Metrics {
			if m.Node != int64(i) {
				t.Errorf("limit %d: metric %d is of node %d", limit, i, m.Node)
			}
		}
		if n := len(got.Metrics); limit == whole != (n == 100) || limit >= whole/2 && n < 25 {
			t.Errorf("limit %d of %d: %d of 100 metrics", limit, whole, n)
		}
	}
}

// FuzzEncoding: any name, value and node is read back.
func FuzzEncoding(f *testing.F) {
	f.Add("org.apache.kafka.producer.a", "ms", 1.5, int32(3), false)
	f.Add("", "", math.Copysign(0, -1), int32(-1), true)
	f.Fuzz(func(t *testing.T, name, unit string, value float64, node int32, sum bool) {
		m := metric{name: name, unit: unit, sum: sum, value: value, node: node}
		got, err := telemetrytest.Decode(encode(&testHeader, []metric{m}, testSpan, true, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Metrics) != 1 {
			t.Fatalf("%+v", got)
		}
		g := got.Metrics[0]
		if g.Name != name || g.Unit != unit || g.Sum != sum || g.Node != int64(max(node, -1)) {
			t.Errorf("%+v, want %+v", g, m)
		}
		if value == value && !sum && g.Double != value || sum && g.Int != int64(value) {
			t.Errorf("%+v, want %+v", g, m)
		}
	})
}
