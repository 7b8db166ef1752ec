package brokerproducer

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/IBM/sarama"
	gometrics "github.com/rcrowley/go-metrics"

	"github.com/sluice-kafka/sluice/internal/wire"
)

// metrics are sarama's producer metrics, under sarama's names. They are updated once a request, by the network
// goroutines of all brokers.
type metrics struct {
	registry gometrics.Registry
	kept     bool // the registry returns what was registered
	current  atomic.Pointer[metricSet]
}

// metricSet is the metrics as they are in the registry, found or made.
type metricSet struct {
	registry gometrics.Registry
	all      topicMetrics
	topics   sync.Map // topic name → *topicMetrics
}

type topicMetrics struct {
	batchSize         gometrics.Histogram // bytes of a batch as it is sent
	compressionRatio  gometrics.Histogram // percent: 100 × uncompressed / sent
	recordsPerRequest gometrics.Histogram
	recordSendRate    gometrics.Meter
}

func newMetrics(conf *sarama.Config) *metrics {
	m := &metrics{registry: conf.MetricRegistry}
	set := m.lookUp()
	m.kept = wire.Registered(m.registry, "batch-size", set.all.batchSize)
	return m
}

func (m *metrics) lookUp() *metricSet {
	set := &metricSet{registry: m.registry}
	set.all = set.named("")
	m.current.Store(set)
	return set
}

// set is the metrics to count into. A sarama producer with the same registry unregisters them when one of its brokers is
// closed; then they are registered anew. If batch-size is there, all are.
func (m *metrics) set() *metricSet {
	set := m.current.Load()
	if !m.kept || wire.Registered(m.registry, "batch-size", set.all.batchSize) {
		return set
	}
	return m.lookUp()
}

func (s *metricSet) named(suffix string) topicMetrics {
	return topicMetrics{
		batchSize:         wire.Histogram(s.registry, "batch-size"+suffix),
		compressionRatio:  wire.Histogram(s.registry, "compression-ratio"+suffix),
		recordsPerRequest: wire.Histogram(s.registry, "records-per-request"+suffix),
		recordSendRate:    wire.Meter(s.registry, "record-send-rate"+suffix),
	}
}

func (s *metricSet) topic(name string) *topicMetrics {
	if t, ok := s.topics.Load(name); ok {
		return t.(*topicMetrics)
	}
	// Dots separate levels in some reporters; sarama replaces them too.
	t := s.named("-for-topic-" + strings.ReplaceAll(name, ".", "_"))
	s.topics.Store(name, &t)
	return &t
}

// measured is how many batches of a request are measured at most. Of more, every n-th is, from a random one on, so that no
// topic is always left out. A histogram keeps a sample anyway, and with thousands of partitions the histograms took more
// time than the encoding.
const measured = 64

// sending counts a request before its first try: once it is written, its batches may be somebody else's.
func (m *metrics) sending(req *request) {
	set := m.set()
	every := max(1, (len(req.batches)+measured-1)/measured)
	from := rand.IntN(every)
	var topic *topicMetrics
	name, ofTopic := "", int64(0)
	flush := func() {
		if topic != nil {
			topic.recordSendRate.Mark(ofTopic)
			topic.recordsPerRequest.Update(ofTopic)
		}
	}
	for i, b := range req.batches {
		if topic == nil || b.Topic != name {
			flush()
			name, ofTopic, topic = b.Topic, 0, set.topic(b.Topic)
		}
		ofTopic += int64(b.count)
		if i%every != from {
			continue
		}
		sent := int64(b.WireBytes())
		ratio := 100 * int64(b.Bytes()) / max(sent, 1)
		set.all.batchSize.Update(sent)
		topic.batchSize.Update(sent)
		set.all.compressionRatio.Update(ratio)
		topic.compressionRatio.Update(ratio)
	}
	flush()
	set.all.recordSendRate.Mark(int64(req.records))
	set.all.recordsPerRequest.Update(int64(req.records))
}
