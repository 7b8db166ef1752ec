package sluiceotel

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/sluice-kafka/sluice"
)

// numbers are a Source whose every number is another one.
type numbers struct{ stats sluice.Stats }

func (n *numbers) Stats() sluice.Stats { return n.stats }

func someStats() sluice.Stats {
	return sluice.Stats{
		Records: sluice.RecordStats{
			Sent: sluice.Amount{Records: 3}, Retried: sluice.Amount{Records: 4}, Acknowledged: sluice.Amount{Records: 5},
			FailedBy:       map[sluice.FailureCause]int64{sluice.CauseClosed: 6, sluice.CauseTooLarge: 7},
			OutcomeUnknown: 8, SplitBatches: 10,
		},
		Unread: 9, UnreadErrors: 37,
		Memory: sluice.MemoryStats{Used: 11, Limit: 12, Waiting: 13, Waits: 14},
		Stages: sluice.StageStats{
			MemoryWait: sluice.Histogram{Count: 15, Sum: 16 * time.Second}, Queue: sluice.Histogram{Count: 17, Sum: 18 * time.Second},
			Window: sluice.Histogram{Count: 19, Sum: 20 * time.Second}, Broker: sluice.Histogram{Count: 21, Sum: 22 * time.Second},
			HandOver: sluice.Histogram{Count: 23, Sum: 2500 * time.Millisecond},
		},
		Topics: []sluice.TopicStats{
			{Topic: "a", Records: sluice.RecordStats{Buffered: sluice.Amount{Records: 1}, InFlight: sluice.Amount{Records: 2}}},
			{Topic: "b", Records: sluice.RecordStats{Buffered: sluice.Amount{Records: 100}, InFlight: sluice.Amount{Records: 200}}},
		},
		Brokers: []sluice.BrokerStats{
			// One that is known by its address, and by its id.
			{ID: -1, Addr: "one:9092", Requests: sluice.RequestStats{Sent: 1000}},
			{ID: 1, Addr: "one:9092", Requests: sluice.RequestStats{
				InFlight: 25, Sent: 26, Answered: 27, Lost: 28, Latency: sluice.Histogram{Sum: 29 * time.Second}, Throttled: 30 * time.Second,
				BytesSent: 31, BytesReceived: 32,
			}, Connections: sluice.ConnectionStats{Open: 33, Opened: 34, Failed: 35, Lost: 36}},
			{ID: 2, Addr: "[::1]:9093"},
		},
	}
}

// observed are the values of a metric, by their attributes as text, without those that all have.
func (b *backend) observed(t *testing.T, name string) (values map[string]string, monotonic bool, unit string) {
	t.Helper()
	m := b.metric(t, name)
	if m == nil {
		return nil, false, ""
	}
	values = map[string]string{}
	add := func(set attribute.Set, value any) {
		var own []string
		for _, a := range set.ToSlice() {
			if a.Key == "messaging.system" {
				continue
			}
			own = append(own, string(a.Key)+"="+a.Value.String())
		}
		values[strings.Join(own, ",")] = fmt.Sprint(value)
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			add(p.Attributes, p.Value)
		}
		return values, data.IsMonotonic, m.Unit
	case metricdata.Sum[float64]:
		for _, p := range data.DataPoints {
			add(p.Attributes, p.Value)
		}
		return values, data.IsMonotonic, m.Unit
	}
	t.Fatalf("%q is %T", name, m.Data)
	return nil, false, ""
}

func TestObserve(t *testing.T) {
	b := newBackend()
	source := &numbers{someStats()}
	stop, err := Observe(source, b.options()...)
	if err != nil {
		t.Fatal(err)
	}
	alone := func(value string) map[string]string { return map[string]string{"": value} }
	topics := func(a, b string) map[string]string {
		return map[string]string{"messaging.destination.name=a": a, "messaging.destination.name=b": b}
	}
	brokers := func(one string) map[string]string {
		return map[string]string{"server.address=one,server.port=9092": one, "server.address=::1,server.port=9093": "0"}
	}
	stages := func(values ...string) map[string]string {
		all := map[string]string{}
		for i, stage := range []string{"memory_wait", "queue", "window", "broker", "hand_over"} {
			all["sluice.stage="+stage] = values[i]
		}
		return all
	}
	wants := map[string]map[string]string{
		"records.buffered":        topics("1", "100"),
		"records.in_flight":       topics("2", "200"),
		"records.sent":            alone("3"),
		"records.retried":         alone("4"),
		"records.acknowledged":    alone("5"),
		"records.failed":          {"sluice.cause=closed": "6", "sluice.cause=too_large": "7"},
		"records.outcome_unknown": alone("8"),
		"outcomes.unread":         alone("9"),
		"errors.unread":           alone("37"),
		"batches.split":           alone("10"),
		"memory.used":             alone("11"),
		"memory.limit":            alone("12"),
		"memory.waiting":          alone("13"),
		"memory.waits":            alone("14"),
		"stage.time":              stages("16", "18", "20", "22", "2.5"),
		"stage.passes":            stages("15", "17", "19", "21", "23"),
		"requests.in_flight":      brokers("25"),
		"requests.sent":           brokers("1026"),
		"requests.answered":       brokers("27"),
		"requests.lost":           brokers("28"),
		"requests.latency":        brokers("29"),
		"requests.throttled":      brokers("30"),
		"network.sent":            brokers("31"),
		"network.received":        brokers("32"),
		"connections.open":        brokers("33"),
		"connections.opened":      brokers("34"),
		"connections.failed":      brokers("35"),
		"connections.lost":        brokers("36"),
	}
	for _, in := range instruments {
		want := wants[strings.TrimPrefix(in.name, "sluice.producer.")]
		got, monotonic, unit := b.observed(t, in.name)
		if want == nil || !maps.Equal(got, want) || monotonic != (in.kind != upDown) || unit != in.unit {
			t.Errorf("%s: %v in %s, monotonic %v; want %v", in.name, got, unit, monotonic, want)
		}
	}

	// It is asked anew each time, until it is stopped.
	source.stats.Memory.Used = 77
	if got, _, _ := b.observed(t, "sluice.producer.memory.used"); got[""] != "77" {
		t.Errorf("then %v", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got, _, _ := b.observed(t, "sluice.producer.memory.used"); len(got) > 0 {
		t.Errorf("after stop: %v", got)
	}
}

// Producers of one process are told apart by attributes.
func TestObserveSeveral(t *testing.T) {
	b := newBackend()
	for i, name := range []string{"orders", "audit"} {
		stats := someStats()
		stats.Unread = int64(i)
		stop, err := Observe(&numbers{stats}, b.options(WithAttributes(semconv.MessagingClientID(name)))...)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	got, _, _ := b.observed(t, "sluice.producer.outcomes.unread")
	if want := map[string]string{"messaging.client.id=orders": "0", "messaging.client.id=audit": "1"}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A real producer may be observed while it works, and after Close.
func TestObserveProducer(t *testing.T) {
	c, b := newCluster(t), newBackend()
	p := newProducer(t, c, config())
	stop, err := Observe(p, b.options()...)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, _, _ := b.observed(t, "sluice.producer.memory.limit"); len(got) != 1 {
			t.Errorf("memory.limit is %v", got)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// refusing is a meter that takes no instruments, or no callback.
type refusing struct {
	noop.Meter
	instruments bool
}

type refusingProvider struct {
	noop.MeterProvider
	meter refusing
}

var errRefused = errors.New("refused")

func (p refusingProvider) Meter(string, ...metric.MeterOption) metric.Meter { return p.meter }

func (r refusing) Int64ObservableUpDownCounter(string, ...metric.Int64ObservableUpDownCounterOption) (metric.Int64ObservableUpDownCounter, error) {
	if r.instruments {
		return nil, errRefused
	}
	return noop.Int64ObservableUpDownCounter{}, nil
}

func (r refusing) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	return nil, errRefused
}

func TestObserveFails(t *testing.T) {
	for _, instruments := range []bool{true, false} {
		if stop, err := Observe(&numbers{}, WithMeterProvider(refusingProvider{meter: refusing{instruments: instruments}})); stop != nil || !errors.Is(err, errRefused) {
			t.Errorf("instruments %v: %v", instruments, err)
		}
	}
}

// rowForm is a row of README.md's table of metrics: name, kind, unit.
var rowForm = regexp.MustCompile("(?m)^\\| `(sluice\\.[a-z_.]+)` \\| ([a-z -]+) \\| `([^`]+)` \\|")

func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, have []string
	for _, row := range rowForm.FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, strings.Join(row[1:], " "))
	}
	for _, in := range instruments {
		kind := "counter"
		if in.kind == upDown {
			kind = "up-down counter"
		}
		have = append(have, strings.Join([]string{in.name, kind, in.unit}, " "))
	}
	if !slices.Equal(documented, have) {
		t.Errorf("README.md has\n%s\nwant\n%s", strings.Join(documented, "\n"), strings.Join(have, "\n"))
	}
}

// The entry of a seed address is left out of Stats when it has had no connection for a while. The counters of that address must not
// fall with it: the broker itself is still there.
func TestBrokerCountersNeverFall(t *testing.T) {
	b := newBackend()
	source := &numbers{someStats()}
	stop, err := Observe(source, b.options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	sent := func() string {
		got, _, _ := b.observed(t, "sluice.producer.requests.sent")
		return got["server.address=one,server.port=9092"]
	}
	if got := sent(); got != "1026" {
		t.Errorf("at first it is %s", got)
	}
	source.stats.Brokers = source.stats.Brokers[1:] // the seed's entry is dropped
	source.stats.Brokers[0].Requests.Sent += 4
	if got := sent(); got != "1030" {
		t.Errorf("without the seed it is %s, want 1030", got)
	}
	source.stats.Brokers = append([]sluice.BrokerStats{{ID: -1, Addr: "one:9092", Requests: sluice.RequestStats{Sent: 5}}}, source.stats.Brokers...)
	if got := sent(); got != "1035" {
		t.Errorf("with a new seed it is %s, want 1035", got)
	}
	// One that begins anew between two collections has all that it counts since then.
	source.stats.Brokers[0].Requests.Sent = 3
	if got := sent(); got != "1038" {
		t.Errorf("with a seed that began anew it is %s, want 1038", got)
	}
}
