package wire

import (
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/rcrowley/go-metrics"
)

// connMetrics are sarama's request metrics, as one connection counts into them. The connections of a producer share them;
// when the producer is closed they are taken out of the registry (internal/meters).
//
// A sarama client with the same registry takes out whatever it has used when one of its brokers is closed, and stops the
// meters. So each request looks whether the metrics are still there, and registers them anew if not.
type connMetrics struct {
	registry metrics.Registry
	brokerID int32
	kept     bool // The registry gives back what it is given

	mu       sync.Mutex // Guards what follows: who writes and who reads count at the same time
	all      rates
	broker   *rates // nil for bootstrap connections (broker id -1)
	throttle metrics.Histogram
	inFlight int64 // Requests of this connection
}

type rates struct {
	suffix string

	requestRate, outgoingByteRate  metrics.Meter
	responseRate, incomingByteRate metrics.Meter
	requestSize, responseSize      metrics.Histogram
	requestLatency                 metrics.Histogram
	requestsInFlight               metrics.Counter
	protocolRate                   map[int16]metrics.Meter // By request key, made with the first request
}

func newConnMetrics(r metrics.Registry, brokerID int32) *connMetrics {
	m := &connMetrics{registry: r, brokerID: brokerID}
	m.lookUp()
	m.kept = Registered(r, "request-rate", m.all.requestRate)
	return m
}

// lookUp takes the metrics from the registry, which makes those that it lacks.
func (m *connMetrics) lookUp() {
	m.all, m.broker, m.throttle = newRates(m.registry, ""), nil, metrics.NilHistogram{}
	if m.brokerID >= 0 {
		suffix := "-for-broker-" + strconv.Itoa(int(m.brokerID))
		perBroker := newRates(m.registry, suffix)
		m.broker = &perBroker
		m.throttle = Histogram(m.registry, "throttle-time-in-ms"+suffix)
	}
}

// renew looks the metrics up again if somebody has taken them out. request-rate stands for all: sarama uses it on each
// connection.
func (m *connMetrics) renew() {
	if !m.kept || Registered(m.registry, "request-rate", m.all.requestRate) {
		return
	}
	all, broker := m.all, m.broker
	m.lookUp()
	m.carryOver(&all, &m.all)
	if broker != nil {
		m.carryOver(broker, m.broker)
	}
}

// carryOver counts the requests that are in flight into a new counter: their ends will be counted there.
func (m *connMetrics) carryOver(before, now *rates) {
	if !Registered(m.registry, "requests-in-flight"+now.suffix, before.requestsInFlight) {
		now.requestsInFlight.Inc(m.inFlight)
	}
}

func newRates(r metrics.Registry, suffix string) rates {
	Meter(r, "consumer-fetch-rate"+suffix) // sarama has it for each connection; a producer never counts it
	return rates{
		suffix:           suffix,
		requestRate:      Meter(r, "request-rate"+suffix),
		outgoingByteRate: Meter(r, "outgoing-byte-rate"+suffix),
		responseRate:     Meter(r, "response-rate"+suffix),
		incomingByteRate: Meter(r, "incoming-byte-rate"+suffix),
		requestSize:      Histogram(r, "request-size"+suffix),
		responseSize:     Histogram(r, "response-size"+suffix),
		requestLatency:   Histogram(r, "request-latency-in-ms"+suffix),
		requestsInFlight: registered[metrics.Counter](r, "requests-in-flight"+suffix, metrics.NewCounter, metrics.NilCounter{}),
		protocolRate:     make(map[int16]metrics.Meter),
	}
}

// Meter returns the meter of that name in r, made and registered where there is none. Where r is nil, or the name belongs
// to a metric of another kind, it is one that counts nothing.
func Meter(r metrics.Registry, name string) metrics.Meter {
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

// Registered tells whether r still has the metric that Meter or Histogram returned for a name. If that counts nothing,
// because the name belongs to a metric of another kind, it tells whether there is any.
func Registered(r metrics.Registry, name string, metric any) bool {
	if r == nil {
		return false
	}
	now := r.Get(name)
	if now == nil {
		return false
	}
	switch metric.(type) {
	case metrics.NilMeter, metrics.NilHistogram, metrics.NilCounter:
		return true
	}
	return !reflect.TypeOf(now).Comparable() || now == metric
}

func (m *connMetrics) each(do func(*rates)) {
	do(&m.all)
	if m.broker != nil {
		do(m.broker)
	}
}

// requested counts a request of which size bytes were written; it is in flight from here on.
func (m *connMetrics) requested(key int16, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.renew()
	m.inFlight++
	m.each(func(r *rates) {
		r.requestsInFlight.Inc(1)
		r.requestRate.Mark(1)
		r.outgoingByteRate.Mark(size)
		r.requestSize.Update(size)
	})
	if key != keyApiVersions { // Nor does sarama count it.
		m.markProtocol(key)
	}
}

// protocol counts a request that is sarama's own, in the SASL exchange, by its key alone.
func (m *connMetrics) protocol(key int16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.markProtocol(key)
}

func (m *connMetrics) markProtocol(key int16) {
	m.each(func(r *rates) {
		rate := r.protocolRate[key]
		if rate == nil {
			rate = Meter(m.registry, "protocol-requests-rate-"+strconv.Itoa(int(key))+r.suffix)
			r.protocolRate[key] = rate
		}
		rate.Mark(1)
	})
}

// answered counts the answer to a request.
func (m *connMetrics) answered(size int64, latency time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.each(func(r *rates) {
		r.responseRate.Mark(1)
		r.incomingByteRate.Mark(size)
		r.responseSize.Update(size)
	})
	m.end(latency)
}

// unanswered counts the end of a request that the broker does not answer (acks 0).
func (m *connMetrics) unanswered(latency time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(latency)
}

func (m *connMetrics) end(latency time.Duration) {
	m.each(func(r *rates) { r.requestLatency.Update(latency.Milliseconds()) })
	m.landed()
}

// dropped ends a request that failed with its connection.
func (m *connMetrics) dropped() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.landed()
}

func (m *connMetrics) landed() {
	m.inFlight--
	m.each(func(r *rates) { r.requestsInFlight.Dec(1) })
}

func (m *connMetrics) throttled(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.throttle.Update(d.Milliseconds())
}
