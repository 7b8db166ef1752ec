package sluiceprom

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-kafka/sluice"
)

// topicSeries are the values of a metric of topics, by topic.
func topicSeries(t *testing.T, registry prometheus.Gatherer, metric string, topics ...string) []float64 {
	t.Helper()
	all := series(t, registry)
	var values []float64
	for _, name := range topics {
		v, ok := all[seriesKey("sluice_producer_topic_"+metric, map[string]string{"client_id": "a", "topic": name})]
		if !ok {
			v = -1 // there is none
		}
		values = append(values, v)
	}
	return values
}

func TestTopicLimit(t *testing.T) {
	source := &fake{}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(source, "a", WithTopics(2), WithTopicStages()))
	for _, step := range []struct {
		what         string
		topics       []sluice.TopicStats
		names        []string
		acknowledged []float64 // a counter; -1: there is no such series
		buffered     []float64 // a gauge
	}{
		{"two have a label, two share one",
			[]sluice.TopicStats{topic("a", 1), topic("b", 2), topic("c", 4), topic("d", 8)},
			[]string{"a", "b", "c", "d", otherTopics}, []float64{1, 2, -1, -1, 12}, []float64{1, 2, -1, -1, 12}},
		{"all grow",
			[]sluice.TopicStats{topic("a", 11), topic("b", 12), topic("c", 14), topic("d", 18)},
			[]string{"a", "b", "c", "d", otherTopics}, []float64{11, 12, -1, -1, 32}, []float64{11, 12, -1, -1, 32}},
		{"one that shares is forgotten: the counter does not fall",
			[]sluice.TopicStats{topic("a", 11), topic("b", 12), topic("d", 18)},
			[]string{"a", "b", otherTopics}, []float64{11, 12, 32}, []float64{11, 12, 18}},
		{"it begins anew",
			[]sluice.TopicStats{topic("a", 11), topic("b", 12), topic("c", 3), topic("d", 18)},
			[]string{"c", otherTopics}, []float64{-1, 35}, []float64{-1, 21}},
		{"one begins anew between two scrapes",
			[]sluice.TopicStats{topic("a", 11), topic("b", 12), topic("c", 3), topic("d", 5)},
			[]string{otherTopics}, []float64{40}, []float64{8}},
		{"one with a label is forgotten: a new one gets it, not one that shares",
			[]sluice.TopicStats{topic("b", 12), topic("c", 3), topic("d", 5), topic("e", 100)},
			[]string{"a", "b", "c", "e", otherTopics}, []float64{-1, 12, -1, 100, 40}, []float64{-1, 12, -1, 100, 8}},
		{"none shares any more: the counter stays",
			[]sluice.TopicStats{topic("b", 12), topic("e", 100)},
			[]string{"b", "e", otherTopics}, []float64{12, 100, 40}, []float64{12, 100, 0}},
	} {
		source.set(sluice.Stats{Topics: step.topics})
		if got := topicSeries(t, registry, "acknowledged_records_total", step.names...); !slices.Equal(got, step.acknowledged) {
			t.Errorf("%s: acknowledged %v, want %v", step.what, got, step.acknowledged)
		}
		if got := topicSeries(t, registry, "buffered_records", step.names...); !slices.Equal(got, step.buffered) {
			t.Errorf("%s: buffered %v, want %v", step.what, got, step.buffered)
		}
	}
}

// TestTheSumHasEachNumber: a topic that shares its label alone has the numbers that it would have with one of its own, also when all
// of them have grown.
func TestTheSumHasEachNumber(t *testing.T) {
	told := func(topics func() []sluice.TopicStats) map[string]float64 {
		source := &fake{}
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(NewCollector(source, "a", WithTopics(1), WithTopicStages()))
		source.set(sluice.Stats{Topics: topics()})
		series(t, registry)
		grown := topics()
		eachNumber(reflect.ValueOf(&grown).Elem(), "", func(_ string, v reflect.Value) { v.SetInt(2 * v.Int()) })
		source.set(sluice.Stats{Topics: grown})
		all := map[string]float64{}
		for key, v := range series(t, registry) {
			if strings.Contains(key, `"orders"`) || strings.Contains(key, otherTopics) {
				all[strings.Replace(key, otherTopics, "orders", 1)] = v
			}
		}
		return all
	}
	own := told(func() []sluice.TopicStats { return everything().Topics })
	shared := told(func() []sluice.TopicStats {
		return append([]sluice.TopicStats{topic("first", 1)}, everything().Topics...)
	})
	if len(own) < len(ofTopic)+len(stagesOfTopic) || !maps.Equal(own, shared) {
		t.Errorf("with a label of its own:\n%v\nwithout:\n%v", own, shared)
	}
}

func TestNoTopics(t *testing.T) {
	source := &fake{}
	source.set(everything())
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(source, "a", WithTopics(0)))
	if got := topicSeries(t, registry, "sent_records_total", "orders", otherTopics); got[0] != -1 || got[1] != -1 {
		t.Errorf("there are series of topics: %v", got)
	}
}

// TestConcurrentScrapes: Stats that are read by two scrapes at a time are not taken for topics that have begun anew.
func TestConcurrentScrapes(t *testing.T) {
	const goroutines, scrapes = 4, 25
	var calls atomic.Int64
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(sourceFunc(func() sluice.Stats {
		n := calls.Add(1)
		return sluice.Stats{Topics: []sluice.TopicStats{topic("a", n), topic("b", n)}}
	}), "a", WithTopics(1), WithTopicStages()))
	var running sync.WaitGroup
	for range goroutines {
		running.Go(func() {
			for range scrapes {
				series(t, registry)
			}
		})
	}
	running.Wait()
	want := float64(goroutines*scrapes + 1)
	if got := topicSeries(t, registry, "acknowledged_records_total", "a", otherTopics); got[0] != want || got[1] != want {
		t.Errorf("%v, want %v each", got, want)
	}
}

type sourceFunc func() sluice.Stats

func (f sourceFunc) Stats() sluice.Stats { return f() }
