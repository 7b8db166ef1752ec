package wire

import (
	"strconv"
	"sync"
	"time"

	"github.com/rcrowley/go-metrics"

	"github.com/sluice-kafka/sluice/internal/meters"
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
	m.kept = meters.Registered(r, "request-rate", m.all.requestRate)
	return m
}

// lookUp takes the metrics from the registry, which makes those that it lacks.
func (m *connMetrics) lookUp() {
	m.all, m.broker, m.throttle = newRates(m.registry, ""), nil, metrics.NilHistogram{}
	if m.brokerID >= 0 {
		suffix := "-for-broker-" + strconv.Itoa(int(m.brokerID))
		perBroker := newRates(m.registry, suffix)
		m.broker = &perBroker
		m.throttle = meters.Histogram(m.registry, "throttle-time-in-ms"+suffix)
	}
}

// renew looks the metrics up again if somebody has taken them out. request-rate stands for all: sarama uses it on each
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

// carryOver counts the requests that are in flight into a new counter: their ends will be counted there.
func (m *connMetrics) carryOver(before, now *rates) {
	if !meters.Registered(m.registry, "requests-in-flight"+now.suffix, before.requestsInFlight) {
		now.requestsInFlight.Inc(m.inFlight)
	}
}

func newRates(r metrics.Registry, suffix string) rates {
	meters.Meter(r, "consumer-fetch-rate"+suffix) // sarama has it for each connection; a producer never counts it
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
