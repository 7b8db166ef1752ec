package sluiceotel

import (
	"context"
	"net"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/sluice-kafka/sluice"
)

// Source has the numbers of a producer. *sluice.Producer is one.
type Source interface {
	Stats() sluice.Stats
}

// Observe reports the producer's Stats as metrics, under the names of README.md. Stats is called whenever metrics are collected; in
// between it costs nothing.
//
// Call stop when the producer is closed: it ends the reports. An error is the meter's, which refused an instrument or the callback.
//
// If a process has several producers, give each an attribute of its own (WithAttributes). Otherwise their numbers get mixed up.
func Observe(producer Source, opts ...Option) (stop func() error, err error) {
	o := newOptions(opts)
	meter := o.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	common := append([]attribute.KeyValue{semconv.MessagingSystemKafka}, o.attributes...)
	made := make([]metric.Observable, len(instruments))
	for i, in := range instruments {
		if made[i], err = in.make(meter); err != nil {
			return nil, err
		}
	}
	var all brokers
	registration, err := meter.RegisterCallback(func(_ context.Context, observer metric.Observer) error {
		stats := all.read(producer)
		for i, in := range instruments {
			in.observe(&stats, func(value float64, more ...attribute.KeyValue) {
				in.report(observer, made[i], value, metric.WithAttributes(append(common[:len(common):len(common)], more...)...))
			})
		}
		return nil
	}, made...)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}

// instrument is one metric of Observe.
type instrument struct {
	kind              instrumentKind
	name, unit, about string
	observe           func(s *sluice.Stats, report func(value float64, attributes ...attribute.KeyValue))
}

type instrumentKind uint8

const (
	counter     instrumentKind = iota // of whole numbers
	timeCounter                       // of seconds
	upDown                            // of whole numbers, which may fall
)

func (in *instrument) make(meter metric.Meter) (metric.Observable, error) {
	about, unit := metric.WithDescription(in.about), metric.WithUnit(in.unit)
	switch in.kind {
	case timeCounter:
		return meter.Float64ObservableCounter(in.name, about, unit)
	case upDown:
		return meter.Int64ObservableUpDownCounter(in.name, about, unit)
	}
	return meter.Int64ObservableCounter(in.name, about, unit)
}

func (in *instrument) report(observer metric.Observer, made metric.Observable, value float64, attributes metric.ObserveOption) {
	if in.kind == timeCounter {
		observer.ObserveFloat64(made.(metric.Float64Observable), value, attributes)
		return
	}
	observer.ObserveInt64(made.(metric.Int64Observable), int64(value), attributes)
}

// stageKey is the attribute that names a stage: memory_wait, queue, window, broker, hand_over. See sluice.StageStats.
const stageKey = attribute.Key("sluice.stage")

// causeKey is a sluice.FailureCause. It is not error.type: that has other values, those of the spans.
const causeKey = attribute.Key("sluice.cause")

// whole makes the observe function of a number that the producer has once.
func whole(of func(s *sluice.Stats) int64) func(*sluice.Stats, func(float64, ...attribute.KeyValue)) {
	return func(s *sluice.Stats, report func(float64, ...attribute.KeyValue)) { report(float64(of(s))) }
}

// byTopic is whole for a number that each topic has. A topic that is no longer used is left out, so it is for up-down counters only.
func byTopic(of func(t *sluice.TopicStats) int64) func(*sluice.Stats, func(float64, ...attribute.KeyValue)) {
	return func(s *sluice.Stats, report func(float64, ...attribute.KeyValue)) {
		for i := range s.Topics {
			report(float64(of(&s.Topics[i])), semconv.MessagingDestinationName(validText(s.Topics[i].Topic)))
		}
	}
}

// byBroker is whole for a number that each broker has.
func byBroker(of func(b *sluice.BrokerStats) float64) func(*sluice.Stats, func(float64, ...attribute.KeyValue)) {
	return func(s *sluice.Stats, report func(float64, ...attribute.KeyValue)) {
		for i := range s.Brokers {
			report(of(&s.Brokers[i]), serverOf(s.Brokers[i].Addr)...)
		}
	}
}

func serverOf(addr string) []attribute.KeyValue {
	addr = validText(addr)
	host, text, err := net.SplitHostPort(addr)
	port, numberErr := strconv.Atoi(text)
	if err != nil || numberErr != nil {
		return []attribute.KeyValue{semconv.ServerAddress(addr)}
	}
	return []attribute.KeyValue{semconv.ServerAddress(host), semconv.ServerPort(port)}
}

// byStage is whole for a number that each stage has.
func byStage(of func(h *sluice.Histogram) float64) func(*sluice.Stats, func(float64, ...attribute.KeyValue)) {
	return func(s *sluice.Stats, report func(float64, ...attribute.KeyValue)) {
		for _, stage := range []struct {
			name string
			h    *sluice.Histogram
		}{
			{"memory_wait", &s.Stages.MemoryWait},
			{"queue", &s.Stages.Queue},
			{"window", &s.Stages.Window},
			{"broker", &s.Stages.Broker},
			{"hand_over", &s.Stages.HandOver},
		} {
			report(of(stage.h), stageKey.String(stage.name))
		}
	}
}

func byCause(s *sluice.Stats, report func(float64, ...attribute.KeyValue)) {
	for cause, n := range s.Records.FailedBy {
		report(float64(n), causeKey.String(string(cause)))
	}
}

func seconds(d time.Duration) float64 { return d.Seconds() }
