// Package sluiceprom exports a producer's Stats to Prometheus.
//
//	producer, err := sluice.New(brokers, config)
//	// …
//	prometheus.MustRegister(sluiceprom.NewCollector(producer, "orders"))
//
// README.md beside this file lists the metrics, and what to do about each alert. dashboard.json is a dashboard for Grafana, alerts.yml
// has the rules for the alerts.
package sluiceprom

import (
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-kafka/sluice"
)

// Source is what a collector reads: a *sluice.Producer, open or closed. Stats may be called concurrently.
type Source interface {
	Stats() sluice.Stats
}

var _ Source = (*sluice.Producer)(nil)

// Option is an option of NewCollector.
type Option func(*settings)

type settings struct {
	topics      int
	topicStages bool
}

// WithTopics bounds how many topics have their own metrics: 50 by default, the first ones in use. A topic that is no longer used makes
// room for another. All other topics are added up as the topic "(other)", a name that no topic can have. With 0 there are no metrics of
// topics.
func WithTopics(n int) Option { return func(s *settings) { s.topics = n } }

// WithTopicStages adds the histogram sluice_producer_topic_stage_duration_seconds: how long the batches of each topic took in each
// stage. That is 80 series a topic.
func WithTopicStages() Option { return func(s *settings) { s.topicStages = true } }

// NewCollector returns a collector for one producer. It may be registered with any number of registries. Each metric has the label
// client_id, for which the configuration's ClientID is a good choice: a registry refuses a second collector with the same one.
// prometheus.WrapRegistererWith adds other labels.
//
// A scrape calls Stats once. After the producer's Close the collector keeps reporting the last numbers, until it is unregistered.
func NewCollector(producer Source, clientID string, opts ...Option) prometheus.Collector {
	set := settings{topics: 50}
	for _, opt := range opts {
		opt(&set)
	}
	constant := prometheus.Labels{"client_id": labelValue(clientID)}
	topicMetrics := ofTopic
	if set.topicStages {
		topicMetrics = append(topicMetrics[:len(topicMetrics):len(topicMetrics)], stagesOfTopic...)
	}
	return &collector{
		source:   producer,
		producer: newScope("sluice_producer_", constant, ofProducer),
		broker:   newScope("sluice_producer_broker_", constant, ofBroker, "broker", "address"),
		topic:    newScope("sluice_producer_topic_", constant, topicMetrics, "topic"),
		topics:   topicLabels{limit: set.topics},
	}
}

type collector struct {
	source   Source
	producer scope[sluice.Stats]
	broker   scope[sluice.BrokerStats]
	topic    scope[sluice.TopicStats]

	mu     sync.Mutex // is held from Stats on: scrapes may be concurrent, and older Stats after newer ones look like a new beginning
	topics topicLabels
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	c.producer.describe(ch)
	c.broker.describe(ch)
	c.topic.describe(ch)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	stats := c.source.Stats()
	topics := c.topics.divide(stats.Topics)
	c.mu.Unlock()
	c.producer.collect(ch, &stats)
	for i := range stats.Brokers {
		b := &stats.Brokers[i]
		c.broker.collect(ch, b, strconv.Itoa(int(b.ID)), labelValue(b.Addr))
	}
	for _, t := range topics {
		c.topic.collect(ch, &t, t.Topic)
	}
}

// labelValue makes a text valid: with any other the whole scrape would fail. Different texts stay different, as it would fail with two
// series of the same labels, too.
func labelValue(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}
