package sluiceprom

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/sluice-kafka/sluice"
)

var update = flag.Bool("update", false, "write testdata/metrics.txt anew; read the difference")

const golden = "testdata/metrics.txt"

// TestExactValues compares all that a collector tells, of Stats in which each number is another one.
func TestExactValues(t *testing.T) {
	source := &fake{}
	source.set(everything())
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(source, "orders-1", WithTopicStages()))
	if *update {
		writeGolden(t, registry)
	}
	want, err := os.Open(golden)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	if err := testutil.GatherAndCompare(registry, want); err != nil {
		t.Error(err)
	}
}

func writeGolden(t *testing.T, registry prometheus.Gatherer) {
	t.Helper()
	if err := os.WriteFile(golden, exposition(t, registry), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestNoFieldIsForgotten changes each number of Stats in turn, and wants the exposition to change.
func TestNoFieldIsForgotten(t *testing.T) {
	told := func(stats sluice.Stats) []byte {
		source := &fake{}
		source.set(stats)
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(NewCollector(source, "", WithTopicStages()))
		return exposition(t, registry)
	}
	// These say nothing that the others don't, or are nothing's that README.md could explain.
	left := []string{
		"Count",                                                                                         // the sum of Buckets
		"Max",                                                                                           // since New: a scrape wants the time since the last one
		"Topics[0].Stages.MemoryWait",                                                                   // of senders, before the topic
		"Records.Failed.Records",                                                                        // the sum of FailedBy
		"Brokers[0].Records.Buffered", "Brokers[0].Records.Failed", "Brokers[0].Records.OutcomeUnknown", // no broker's
	}
	before := told(everything())
	stats := everything()
	eachNumber(reflect.ValueOf(&stats).Elem(), "", func(path string, v reflect.Value) {
		old := v.Int()
		v.SetInt(old + int64(time.Second))
		changed := !bytes.Equal(before, told(stats))
		v.SetInt(old)
		if !changed && !slices.ContainsFunc(left, func(l string) bool { return path == l || hasPart(path, l) }) {
			t.Errorf("%s is in no metric", path)
		}
	})
}

// TestCausesAreAll compares causes with the constants of sluice.
func TestCausesAreAll(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../stats.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var want []sluice.FailureCause
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "FailureCause" {
			cause, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, sluice.FailureCause(cause))
		}
		return true
	})
	if len(want) == 0 || !slices.Equal(causes, want) {
		t.Errorf("%q, want %q", causes, want)
	}
}

// TestBucketsAreExact: a bound between two of Stats' would count what is below it wrongly.
func TestBucketsAreExact(t *testing.T) {
	for i, bound := range buckets {
		if !slices.Contains(sluice.HistogramBounds(), bound) {
			t.Errorf("%v is none of HistogramBounds", bound)
		}
		if i > 0 && bound <= buckets[i-1] {
			t.Errorf("%v comes after %v", bound, buckets[i-1])
		}
	}
}

// TestEachBucketIsCounted: what Stats counts in one of its buckets is in all of ours that end there or later.
func TestEachBucketIsCounted(t *testing.T) {
	desc := prometheus.NewDesc("a", "a", nil, nil)
	for i := range len(statsBounds) + 1 {
		h := sluice.Histogram{Count: 1, Buckets: make([]int64, len(statsBounds)+1)}
		h.Buckets[i] = 1
		var m dto.Metric
		if err := constHistogram(desc, &h).Write(&m); err != nil {
			t.Fatal(err)
		}
		if m.GetHistogram().GetSampleCount() != 1 || len(m.GetHistogram().GetBucket()) != len(buckets) {
			t.Fatalf("bucket %d: %v", i, m.GetHistogram())
		}
		for _, b := range m.GetHistogram().GetBucket() {
			want := uint64(0)
			if i < len(statsBounds) && statsBounds[i].Seconds() <= b.GetUpperBound() {
				want = 1
			}
			if b.GetCumulativeCount() != want {
				t.Errorf("bucket %d: %d up to %v s, want %d", i, b.GetCumulativeCount(), b.GetUpperBound(), want)
			}
		}
	}
}

func TestLint(t *testing.T) {
	source := &fake{}
	source.set(everything())
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(source, "orders-1", WithTopicStages()))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestProducersInOneProcess(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	var sources [2]*fake
	var collectors [2]prometheus.Collector
	for i, clientID := range []string{"a", "b"} {
		sources[i] = &fake{}
		sources[i].set(everything())
		collectors[i] = NewCollector(sources[i], clientID)
		registry.MustRegister(collectors[i])
	}
	if err := registry.Register(NewCollector(sources[0], "a")); err == nil {
		t.Error("two collectors of one client id are registered")
	}
	all := series(t, registry)
	for _, clientID := range []string{"a", "b"} {
		if v := all[`sluice_producer_unread_outcomes{client_id="`+clientID+`"}`]; v != float64(everything().Unread) {
			t.Errorf("client %s: %v unread outcomes", clientID, v)
		}
	}
	if !registry.Unregister(collectors[0]) {
		t.Error("the collector was not registered")
	}
	left := len(series(t, registry))
	if 2*left != len(all) {
		t.Errorf("%d of %d series are left", left, len(all))
	}
	registry.MustRegister(collectors[0]) // once more
	if again := len(series(t, registry)); again != len(all) {
		t.Errorf("%d of %d series are back", again, len(all))
	}
}

// TestDifferentOptions: producers with and without metrics of topics go into one registry.
func TestDifferentOptions(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	for i, opts := range [][]Option{nil, {WithTopics(0)}, {WithTopicStages()}} {
		source := &fake{}
		source.set(everything())
		registry.MustRegister(NewCollector(source, strconv.Itoa(i), opts...))
	}
	series(t, registry)
}

// TestAnyText: what a program passes as a name fails no scrape.
func TestAnyText(t *testing.T) {
	stats := everything()
	stats.Topics = []sluice.TopicStats{topic("\xff", 1), topic("\xfe", 2), topic(otherTopics, 4), topic("a\n\"b\"", 8)}
	stats.Brokers[0].Addr = "\xff:9092"
	stats.Brokers = append(stats.Brokers, sluice.BrokerStats{ID: stats.Brokers[0].ID, Addr: "\xfe:9092"}) // another series
	source := &fake{}
	source.set(stats)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(source, "\xff"))
	all := series(t, registry)
	for key, want := range map[string]float64{
		`sluice_producer_topic_acknowledged_records_total{client_id="\\xff",topic="(other)"}`:  7,
		`sluice_producer_topic_acknowledged_records_total{client_id="\\xff",topic="a\n\"b\""}`: 8,
	} {
		if all[key] != want {
			t.Errorf("%s is %v, want %v", key, all[key], want)
		}
	}
}

// TestEmptyStats: a producer that has done nothing has all metrics of producers, at 0.
func TestEmptyStats(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(&fake{}, "a"))
	all := series(t, registry)
	for _, m := range ofProducer {
		key := seriesKey("sluice_producer_"+m.name, map[string]string{"client_id": "a", m.label: m.labelValue})
		if m.histogram != nil {
			key = seriesKey("sluice_producer_"+m.name+"_count", map[string]string{"client_id": "a", m.label: m.labelValue})
		}
		if v, ok := all[key]; !ok || v != 0 {
			t.Errorf("%s is %v, %v", key, v, ok)
		}
	}
}

// BenchmarkCollect is what a scrape costs but for its text: of 50 topics and 10 brokers.
func BenchmarkCollect(b *testing.B) {
	stats := everything()
	for i := range 49 {
		stats.Topics = append(stats.Topics, topic("t"+strconv.Itoa(i), 1))
	}
	for i := range 9 {
		broker := stats.Brokers[0]
		broker.ID = int32(i)
		stats.Brokers = append(stats.Brokers, broker)
	}
	source := &fake{}
	source.set(stats)
	collector := NewCollector(source, "a")
	for b.Loop() {
		ch := make(chan prometheus.Metric, 1000)
		go func() {
			defer close(ch)
			collector.Collect(ch)
		}()
		for range ch {
		}
	}
}
