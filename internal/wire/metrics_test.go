package wire

import (
	"slices"
	"testing"
	"time"

	"github.com/rcrowley/go-metrics"
)

func TestMetrics(t *testing.T) {
	conf := testConfig()
	c, broker := connectTCP(t, conf, 5)
	outcomes := make(chan outcome, 1)
	mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
	got := broker.next()
	r := conf.MetricRegistry
	for _, suffix := range []string{"", "-for-broker-1"} {
		if n := r.Get("requests-in-flight" + suffix).(metrics.Counter).Count(); n != 1 {
			t.Errorf("%d requests in flight", n)
		}
	}
	answer := appendAnswer(nil, got.correlationID, accepted(got.body))
	broker.write(answer)
	<-outcomes
	size := int64(len(kmsgRequest(got)))
	for _, suffix := range []string{"", "-for-broker-1"} {
		for name, want := range map[string]int64{"request-rate": 1, "response-rate": 1, "outgoing-byte-rate": size, "incoming-byte-rate": int64(len(answer))} {
			if n := r.Get(name + suffix).(metrics.Meter).Count(); n != want {
				t.Errorf("%s%s: %d, want %d", name, suffix, n, want)
			}
		}
		for name, want := range map[string]int64{"request-size": size, "response-size": int64(len(answer))} {
			if h := r.Get(name + suffix).(metrics.Histogram); h.Count() != 1 || h.Max() != want {
				t.Errorf("%s%s: %d of %d", name, suffix, h.Max(), want)
			}
		}
		if h := r.Get("request-latency-in-ms" + suffix).(metrics.Histogram); h.Count() != 1 {
			t.Errorf("%d latencies", h.Count())
		}
		if n := r.Get("requests-in-flight" + suffix).(metrics.Counter).Count(); n != 0 {
			t.Errorf("%d requests in flight", n)
		}
	}
}

// TestBootstrapMetrics: a connection without a broker id has no metrics per broker.
func TestBootstrapMetrics(t *testing.T) {
	r := metrics.NewRegistry()
	newConnMetrics(r, -1).requested(0, 5)
	m := newConnMetrics(r, -1)
	m.requested(0, 7)
	m.throttled(time.Second)
	var names []string
	r.Each(func(name string, _ any) { names = append(names, name) })
	slices.Sort(names)
	want := []string{
		"consumer-fetch-rate", "incoming-byte-rate", "outgoing-byte-rate", "protocol-requests-rate-0", "request-latency-in-ms", "request-rate", "request-size",
		"requests-in-flight", "response-rate", "response-size",
	}
	if !slices.Equal(names, want) {
		t.Errorf("%v", names)
	}
	if n := r.Get("outgoing-byte-rate").(metrics.Meter).Count(); n != 12 {
		t.Errorf("%d bytes", n)
	}
}

// oddMeter is a meter that can't be compared.
type oddMeter struct {
	metrics.NilMeter
	_ []int
}

// TestMetricsOfAnotherKind: the user has taken a name, or gives no registry, or switches metrics off.
func TestMetricsOfAnotherKind(t *testing.T) {
	r := metrics.NewRegistry()
	if err := r.Register("request-rate", metrics.NewCounter()); err != nil {
		t.Fatal(err)
	}
	use := func(m *connMetrics) {
		m.requested(0, 1)
		m.answered(1, time.Second)
		m.throttled(time.Second)
	}
	use(newConnMetrics(r, 1))
	use(newConnMetrics(nil, 1))
	odd := metrics.NewRegistry()
	for _, name := range []string{"request-rate", "request-rate-for-broker-1"} {
		if err := odd.Register(name, oddMeter{}); err != nil {
			t.Fatal(err)
		}
	}
	use(newConnMetrics(odd, 1))
	metrics.UseNilMetrics = true
	defer func() { metrics.UseNilMetrics = false }()
	use(newConnMetrics(metrics.NewRegistry(), 1))
	if n := r.Get("request-rate").(metrics.Counter).Count(); n != 0 {
		t.Errorf("the user's counter is at %d", n)
	}
}

// TestMetricsComeBack after a sarama client with the same registry has closed a broker, and taken them out.
func TestMetricsComeBack(t *testing.T) {
	r := metrics.NewRegistry()
	m := newConnMetrics(r, 1)
	m.requested(0, 10)
	r.UnregisterAll()
	theirs := metrics.GetOrRegisterCounter("requests-in-flight", r) // the client has connected again
	theirs.Inc(5)
	m.requested(0, 20)
	for _, suffix := range []string{"", "-for-broker-1"} {
		for _, name := range []string{"request-rate", "outgoing-byte-rate", "protocol-requests-rate-0"} {
			want := map[string]int64{"outgoing-byte-rate": 20}[name]
			if meter, ok := r.Get(name + suffix).(metrics.Meter); !ok || meter.Count() != max(want, 1) {
				t.Errorf("%s%s: %v", name, suffix, r.Get(name+suffix))
			}
		}
	}
	m.answered(1, time.Second)
	m.dropped()
	if n := theirs.Count(); n != 5 {
		t.Errorf("%d requests in flight, want the client's 5", n)
	}
	if n := r.Get("requests-in-flight-for-broker-1").(metrics.Counter).Count(); n != 0 {
		t.Errorf("%d requests in flight", n)
	}
}

// forgetful is a registry that keeps nothing.
type forgetful struct{ metrics.Registry }

func (forgetful) Get(string) any { return nil }

func (forgetful) GetOrRegister(_ string, metric any) any {
	if create, ok := metric.(func() metrics.Meter); ok {
		return create()
	}
	return metrics.NewCounter()
}

// TestMetricsAreNotMadeForever: if the registry keeps nothing, metrics are not looked up again. That would make new ones
// for each request.
func TestMetricsAreNotMadeForever(t *testing.T) {
	m := newConnMetrics(forgetful{}, 1)
	rate := m.all.requestRate
	m.requested(0, 1)
	if m.all.requestRate != rate || rate.Count() != 1 {
		t.Error("the meter was made anew")
	}
}
