package wire

import (
	"strconv"
	"time"

	"github.com/rcrowley/go-metrics"
)

// connMetrics are sarama's request metrics. The connections of a producer share them; when the producer is closed they are
// taken out of the registry (internal/meters).
type connMetrics struct {
	all      rates
	broker   *rates // nil for bootstrap connections (broker id -1)
	throttle metrics.Histogram
}

type rates struct {
	requestRate, outgoingByteRate  metrics.Meter
	responseRate, incomingByteRate metrics.Meter
	requestSize, responseSize      metrics.Histogram
	requestLatency                 metrics.Histogram
	requestsInFlight               metrics.Counter
}

func newConnMetrics(r metrics.Registry, brokerID int32) *connMetrics {
	m := &connMetrics{all: newRates(r, ""), throttle: metrics.NilHistogram{}}
	if brokerID >= 0 {
		suffix := "-for-broker-" + strconv.Itoa(int(brokerID))
		perBroker := newRates(r, suffix)
		m.broker = &perBroker
		m.throttle = Histogram(r, "throttle-time-in-ms"+suffix)
	}
	return m
}

func newRates(r metrics.Registry, suffix string) rates {
	return rates{
		requestRate:      meter(r, "request-rate"+suffix),
		outgoingByteRate: meter(r, "outgoing-byte-rate"+suffix),
		responseRate:     meter(r, "response-rate"+suffix),
		incomingByteRate: meter(r, "incoming-byte-rate"+suffix),
		requestSize:      Histogram(r, "request-size"+suffix),
		responseSize:     Histogram(r, "response-size"+suffix),
		requestLatency:   Histogram(r, "request-latency-in-ms"+suffix),
		requestsInFlight: registered[metrics.Counter](r, "requests-in-flight"+suffix, metrics.NewCounter, metrics.NilCounter{}),
	}
}

func meter(r metrics.Registry, name string) metrics.Meter {
	return registered[metrics.Meter](r, name, metrics.NewMeter, metrics.NilMeter{})
}

// Histogram returns the histogram of that name in r, made and registered where there is none. It has the reservoir of
// sarama's: 1028 samples, weighted to the last five minutes. Where r is nil, or the name belongs to a metric of another
// kind, it is one that counts nothing.
func Histogram(r metrics.Registry, name string) metrics.Histogram {
	return registered[metrics.Histogram](r, name, func() metrics.Histogram {
		return metrics.NewHistogram(metrics.NewExpDecaySample(1028, 0.015))
	}, metrics.NilHistogram{})
}

// registered returns the metric of that name, made and registered where there is none, or none where there is no
// registry or the name belongs to a metric of another kind.
func registered[M any](r metrics.Registry, name string, create func() M, none M) M {
	if r == nil {
		return none
	}
	if m, ok := r.GetOrRegister(name, create).(M); ok {
		return m
	}
	return none
}

func (m *connMetrics) each(do func(*rates)) {
	do(&m.all)
	if m.broker != nil {
		do(m.broker)
	}
}

// requested counts a request of which size bytes were written; it is in flight from here on.
func (m *connMetrics) requested(size int64) {
	m.each(func(r *rates) {
		r.requestsInFlight.Inc(1)
		r.requestRate.Mark(1)
		r.outgoingByteRate.Mark(size)
		r.requestSize.Update(size)
	})
}

// answered counts the answer to a request.
func (m *connMetrics) answered(size int64, latency time.Duration) {
	m.each(func(r *rates) {
		r.responseRate.Mark(1)
		r.incomingByteRate.Mark(size)
		r.responseSize.Update(size)
	})
	m.unanswered(latency)
}

// unanswered counts the end of a request that the broker does not answer (acks 0).
func (m *connMetrics) unanswered(latency time.Duration) {
	m.each(func(r *rates) { r.requestLatency.Update(latency.Milliseconds()) })
	m.dropped()
}

// dropped ends a request that failed with its connection.
func (m *connMetrics) dropped() {
	m.each(func(r *rates) { r.requestsInFlight.Dec(1) })
}

func (m *connMetrics) throttled(d time.Duration) { m.throttle.Update(d.Milliseconds()) }
