package brokerproducer

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/IBM/sarama"
	gometrics "github.com/rcrowley/go-metrics"

	"github.com/sluice-kafka/sluice/internal/meters"
)

// metrics are sarama's producer metrics, under sarama's names. They are updated once a request, by the network
// goroutines of all brokers.
type metrics struct {
	registry gometrics.Registry
	kept     bool // the registry returns what was registered; false for one that keeps nothing
	current  atomic.Pointer[metricSet]
}

// metricSet is what was found in the registry, or made there.
type metricSet struct {
	registry gometrics.Registry
	all      topicMetrics
	topics   sync.Map // topic name → *topicMetrics

	mu    sync.Mutex     // held while topics or users change
	users map[string]int // by suffix: topics of that name. my.topic and my_topic share their metrics
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
	m.kept = meters.Registered(m.registry, "batch-size", set.all.batchSize)
	return m
}

func (m *metrics) lookUp() *metricSet {
	set := &metricSet{registry: m.registry, users: make(map[string]int)}
	set.all = set.named("")
	m.current.Store(set)
	if r, ok := m.registry.(interface{ RenewGauges() }); ok {
		r.RenewGauges()
	}
	return set
}

// set is the metrics to count into. A sarama producer with the same registry takes them out when one of its brokers is
// closed. Then they are registered again. Only batch-size is checked, since all are taken out together.
func (m *metrics) set() *metricSet {
	set := m.current.Load()
	if !m.kept || meters.Registered(m.registry, "batch-size", set.all.batchSize) {
		return set
	}
	return m.lookUp()
}

func (s *metricSet) named(suffix string) topicMetrics {
	return topicMetrics{
		batchSize:         meters.Histogram(s.registry, "batch-size"+suffix),
		compressionRatio:  meters.Histogram(s.registry, "compression-ratio"+suffix),
		recordsPerRequest: meters.Histogram(s.registry, "records-per-request"+suffix),
		recordSendRate:    meters.Meter(s.registry, "record-send-rate"+suffix),
	}
}

func (s *metricSet) topic(name string) *topicMetrics {
	if t, ok := s.topics.Load(name); ok {
		return t.(*topicMetrics)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.topics.Load(name); ok {
		return t.(*topicMetrics)
	}
	suffix := topicSuffix(name)
	t := s.named(suffix)
	s.topics.Store(name, &t)
	s.users[suffix]++
	return &t
}

// topicSuffix is sarama's: some reporters take dots for levels.
func topicSuffix(name string) string { return "-for-topic-" + strings.ReplaceAll(name, ".", "_") }

// forget takes out the metrics of a topic that nothing is sent to.
func (m *metrics) forget(name string) {
	s := m.current.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	suffix := topicSuffix(name)
	if _, known := s.topics.LoadAndDelete(name); known {
		s.users[suffix]--
	}
	if s.users[suffix] > 0 {
		return
	}
	delete(s.users, suffix)
	if r, ok := s.registry.(interface{ Forget(names ...string) }); ok {
		r.Forget("batch-size"+suffix, "compression-ratio"+suffix, "records-per-request"+suffix, "record-send-rate"+suffix)
	}
}

// measured is the most batches of a request that are measured. Of more than that, every n-th is, from a random one on, so
// that no topic is always left out. With thousands of partitions the histograms took more time than the encoding, and they
// keep only a sample anyway.
const measured = 64

// sending counts a request before its first try. Afterwards its batches may belong to others.
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
