package sluiceprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-kafka/sluice"
)

// metric is one number, or one histogram, of a part S of Stats. Metrics of one name differ in the value of their label.
type metric[S any] struct {
	name, help string
	label      string // besides the scope's; or none
	labelValue string
	kind       prometheus.ValueType
	value      func(*S) float64
	histogram  func(*S) *sluice.Histogram // in place of value
}

func counter[S any](name, help string, value func(*S) float64) metric[S] {
	return metric[S]{name: name, help: help, kind: prometheus.CounterValue, value: value}
}

func gauge[S any](name, help string, value func(*S) float64) metric[S] {
	return metric[S]{name: name, help: help, kind: prometheus.GaugeValue, value: value}
}

func histogram[S any](name, help string, value func(*S) *sluice.Histogram) metric[S] {
	return metric[S]{name: name, help: help, histogram: value}
}

func (m metric[S]) with(label, value string) metric[S] {
	m.label, m.labelValue = label, value
	return m
}

// in makes metrics of a whole S of those of its part P.
func in[S, P any](part func(*S) *P, metrics []metric[P]) []metric[S] {
	whole := make([]metric[S], len(metrics))
	for i, m := range metrics {
		whole[i] = metric[S]{name: m.name, help: m.help, label: m.label, labelValue: m.labelValue, kind: m.kind}
		if m.histogram != nil {
			whole[i].histogram = func(s *S) *sluice.Histogram { return m.histogram(part(s)) }
		} else {
			whole[i].value = func(s *S) float64 { return m.value(part(s)) }
		}
	}
	return whole
}

// scope is the metrics of a producer, of each of its brokers, or of each of its topics.
type scope[S any] struct {
	metrics []metric[S]
	descs   []*prometheus.Desc // of each metric: those of one name share it
}

// newScope names and describes metrics. labels are those that collect is given values of.
func newScope[S any](prefix string, constant prometheus.Labels, metrics []metric[S], labels ...string) scope[S] {
	s := scope[S]{metrics: metrics}
	byName := map[string]*prometheus.Desc{}
	for _, m := range metrics {
		desc, ok := byName[m.name]
		if !ok {
			all := labels
			if m.label != "" {
				all = append(labels[:len(labels):len(labels)], m.label)
			}
			desc = prometheus.NewDesc(prefix+m.name, m.help, all, constant)
			byName[m.name] = desc
		}
		s.descs = append(s.descs, desc)
	}
	return s
}

func (s *scope[S]) describe(ch chan<- *prometheus.Desc) {
	for i, desc := range s.descs {
		if i == 0 || desc != s.descs[i-1] {
			ch <- desc
		}
	}
}

func (s *scope[S]) collect(ch chan<- prometheus.Metric, part *S, labelValues ...string) {
	for i, m := range s.metrics {
		values := labelValues
		if m.label != "" {
			values = append(labelValues[:len(labelValues):len(labelValues)], m.labelValue)
		}
		if m.histogram != nil {
			ch <- constHistogram(s.descs[i], m.histogram(part), values...)
		} else {
			ch <- prometheus.MustNewConstMetric(s.descs[i], m.kind, m.value(part), values...)
		}
	}
}
