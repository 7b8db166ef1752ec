package wire

import (
	"strconv"
	"sync"
	"time"

	"github.com/rcrowley/go-metrics"

	"github.com/sluice-kafka/sluice/internal/meters"
	"github.com/sluice-kafka/sluice/internal/stats"
)

// connMetrics are sarama's request metrics. The connections of a producer share them, and closing the producer takes them
// out of the registry (internal/meters).
//
// A sarama client with the same registry also takes them out, and stops the meters, when one of its brokers is closed. So
// each request checks that they are still there, and registers them again if not.
type connMetrics struct {
	registry metrics.Registry
	brokerID int32
	stats    *stats.Broker // may be nil
	kept     bool          // The registry returns what was registered; false for one that keeps nothing

	mu       sync.Mutex // Guards what follows: writers and the reader count at the same time
	all      rates
	broker   *rates // nil for bootstrap connections (broker id -1)
	throttle metrics.Histogram
	inFlight int64 // Open requests of this connection
}

type rates struct {
	suffix string

	requestRate, outgoingByteRate  metrics.Meter
	responseRate, incomingByteRate metrics.Meter
	requestSize, responseSize      metrics.Histogram
	requestLatency                 metrics.Histogram
	requestsInFlight               metrics.Counter
	protocolRate                   map[int16]metrics.Meter // By request key, made by the first request
}

func newConnMetrics(r metrics.Registry, brokerID int32) *connMetrics {
	m := &connMetrics{registry: r, brokerID: brokerID}
	m.lookUp()
	m.kept = meters.Registered(r, "request-rate", m.all.requestRate)
	return m
}

// lookUp takes the metrics from the registry, and registers those that it lacks.
func (m *connMetrics) lookUp() {
	m.all, m.broker, m.throttle = newRates(m.registry, ""), nil, metrics.NilHistogram{}
	if m.brokerID >= 0 {
		suffix := "-for-broker-" + strconv.Itoa(int(m.brokerID))
		perBroker := newRates(m.registry, suffix)
		m.broker = &perBroker
		m.throttle = meters.Histogram(m.registry, "throttle-time-in-ms"+suffix)
	}
}

// renew looks the metrics up again if somebody has taken them out. It only checks request-rate: sarama uses that on every
// connection.
func (m *connMetrics) renew() {
	if !m.kept || meters.Registered(m.registry, "request-rate", m.all.requestRate) {
		return
	}
	all, broker := m.all, m.broker
	m.lookUp()
	m.carryOver(&all, &m.all)
	if broker != nil {
		m.carryOver(broker, m.broker)
	}
}

// carryOver adds the requests in flight to a new counter, which their ends will be subtracted from.
func (m *connMetrics) carryOver(before, now *rates) {
	if !meters.Registered(m.registry, "requests-in-flight"+now.suffix, before.requestsInFlight) {
		now.requestsInFlight.Inc(m.inFlight)
	}
}

func newRates(r metrics.Registry, suffix string) rates {
	meters.Meter(r, "consumer-fetch-rate"+suffix) // sarama registers it for each connection; a producer never counts it
	return rates{
		suffix:           suffix,
		requestRate:      meters.Meter(r, "request-rate"+suffix),
		outgoingByteRate: meters.Meter(r, "outgoing-byte-rate"+suffix),
		responseRate:     meters.Meter(r, "response-rate"+suffix),
		incomingByteRate: meters.Meter(r, "incoming-byte-rate"+suffix),
		requestSize:      meters.Histogram(r, "request-size"+suffix),
		responseSize:     meters.Histogram(r, "response-size"+suffix),
		requestLatency:   meters.Histogram(r, "request-latency-in-ms"+suffix),
		requestsInFlight: meters.Counter(r, "requests-in-flight"+suffix),
		protocolRate:     make(map[int16]metrics.Meter),
	}
}

func (m *connMetrics) each(do func(*rates)) {
	do(&m.all)
	if m.broker != nil {
		do(m.broker)
	}
}

// requested counts a request, now in flight, of which size bytes were written.
func (m *connMetrics) requested(key int16, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.renew()
	m.stats.RequestSent(size)
	m.inFlight++
	m.each(func(r *rates) {
		r.requestsInFlight.Inc(1)
		r.requestRate.Mark(1)
		r.outgoingByteRate.Mark(size)
		r.requestSize.Update(size)
	})
	if key != keyApiVersions { // sarama does not count it either
		m.markProtocol(key)
	}
}

// protocol counts a request that sarama sends during SASL, by its key only.
func (m *connMetrics) protocol(key int16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.markProtocol(key)
}

func (m *connMetrics) markProtocol(key int16) {
	m.each(func(r *rates) {
		rate := r.protocolRate[key]
		if rate == nil {
			rate = meters.Meter(m.registry, "protocol-requests-rate-"+strconv.Itoa(int(key))+r.suffix)
			r.protocolRate[key] = rate
		}
		rate.Mark(1)
	})
}

// answered counts the answer to a request.
func (m *connMetrics) answered(size int64, latency time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.RequestAnswered(size, latency)
	m.each(func(r *rates) {
		r.responseRate.Mark(1)
		r.incomingByteRate.Mark(size)
		r.responseSize.Update(size)
	})
	m.end(latency)
}

// unanswered ends a request that the broker does not answer (acks 0).
func (m *connMetrics) unanswered(latency time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.RequestSilent()
	m.end(latency)
}

func (m *connMetrics) end(latency time.Duration) {
	m.each(func(r *rates) { r.requestLatency.Update(latency.Milliseconds()) })
	m.finished()
}

// dropped ends a request that failed with its connection.
func (m *connMetrics) dropped() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.RequestLost()
	m.finished()
}

func (m *connMetrics) finished() {
	m.inFlight--
	m.each(func(r *rates) { r.requestsInFlight.Dec(1) })
}

func (m *connMetrics) throttled(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Throttled(d)
	m.throttle.Update(d.Milliseconds())
}
