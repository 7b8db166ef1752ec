package sluice

import (
	"fmt"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/properties"
)

// ConfigFromProperties makes a configuration, and the options for what sarama.Config has no place for, of Kafka's settings
// by Kafka's names, as in a .properties file: those of Java's producer and those of librdkafka, in any case. What is not given is as
// NewConfig has it, but for the partitioner, which is NewStickyMurmur2Partitioner.
//
// docs/settings.md lists every setting: its other names, its default, where it goes, and where Java, librdkafka and this package differ.
// "sluice help config" prints the same. The most important:
//
//   - The producer is idempotent and waits for all replicas, unless acks below all, retries=0 or enable.idempotence=false say otherwise.
//   - Keys go where Java's producer sends them. Set partitioner to consistent_random for librdkafka's partitions, to sticky for sarama's.
//   - bootstrap.servers is accepted. Split it at commas, and give it to the constructor.
//   - Files and certificates are read now. Tokens for OAUTHBEARER are fetched when they are needed (package oauth).
//   - What has no meaning here and does no harm is accepted, and sarama.Logger is told. Where ignoring it would break a promise, such as
//     interceptor.classes, it is refused.
//
// A name that is not known is an error with the nearest names, and so are settings that contradict each other, such as
// a sasl.username without SASL in security.protocol. The error has all that is wrong, one line each, names settings and values, but never
// the value of a secret, and wraps its causes.
//
// The result is the caller's. Producer.Return, Interceptors, MetricRegistry and what else a text can't say is set afterwards.
// Sarama's own clients take the configuration too; they don't know the options.
func ConfigFromProperties(props map[string]string) (*sarama.Config, []Option, error) {
	conf := NewConfig()
	conf.Producer.Partitioner = NewStickyMurmur2Partitioner
	conf.Net.MaxOpenRequests = DefaultMaxInFlightPerPartition // without idempotence
	s := properties.New(conf, NewStickyPartitioner)
	if err := s.SetAll(props); err != nil {
		return nil, nil, fmt.Errorf("sluice: %w", err)
	}
	if err := s.Finish(); err != nil {
		return nil, nil, fmt.Errorf("sluice: %w", err)
	}
	opts := properties.OptionsOf(s, properties.OptionFuncs[Option]{
		BufferMemory:            WithBufferMemory,
		DeliveryTimeout:         WithDeliveryTimeout,
		MaxInFlightPerPartition: WithMaxInFlightPerPartition,
		ConnectionsMaxIdle:      WithConnectionsMaxIdle,
		MaxRequestBytes:         WithMaxRequestBytes,
		MetricsPush:             WithMetricsPush,
	})
	if len(s.Ignored) > 0 {
		opts = append(opts, func(o *options) error { o.ignored = s.Ignored; return nil })
	}
	conf = s.Config()
	check := *conf // checkConfig lowers what is too large, which the constructor does again
	if err := checkConfig(&check, nil); err != nil {
		return nil, nil, fmt.Errorf("sluice: %w", err)
	}
	if _, err := newOptions(opts); err != nil {
		return nil, nil, fmt.Errorf("sluice: %w", err)
	}
	return conf, opts, nil
}
