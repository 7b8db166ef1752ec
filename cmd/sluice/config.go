package main

import (
	"log/slog"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/properties"
)

// settings is what -config, files and the flags build: sarama's configuration, and the options that sarama has no field for.
type settings struct {
	*properties.Settings
	log *slog.Logger // our own producer's; nil without -v
}

// newSettings returns the command line's defaults: what the library recommends, the partitions of Java's producer, and a dial
// time-out that suits somebody who waits at a terminal.
func newSettings() *settings {
	conf := sluice.NewConfig()
	conf.ClientID = "sluice-cli"
	conf.Producer.Partitioner = sluice.NewStickyMurmur2Partitioner
	conf.Net.DialTimeout = 5 * time.Second
	conf.Net.MaxOpenRequests = sarama.NewConfig().Net.MaxOpenRequests // see Config
	return &settings{Settings: properties.New(conf, sluice.NewStickyPartitioner)}
}

// set gives one setting a value. The name is one of Kafka's (sluice help config), a dotted path of sarama.Config, or the name of an
// option of the library such as BufferMemory; case does not matter.
func (s *settings) set(name, value string) error {
	if properties.Lookup(name) != nil {
		return s.Set(name, value)
	}
	if topic, ok := strings.CutPrefix(strings.ToLower(name), "topic."); ok && properties.Lookup(topic) != nil {
		return s.Set(topic, value) // kcat's way to tell settings of topics
	}
	return s.SetPath(name, value)
}

// with is a copy for another configuration.
func (s *settings) with(conf *sarama.Config) *settings {
	inner := *s.Settings
	inner.Conf, inner.Given = conf, maps.Clone(s.Given)
	return &settings{&inner, s.log}
}

// producerOptions are the options that were given.
func (s *settings) producerOptions() []sluice.Option {
	return properties.OptionsOf(s.Settings, properties.OptionFuncs[sluice.Option]{
		BufferMemory:            sluice.WithBufferMemory,
		DeliveryTimeout:         sluice.WithDeliveryTimeout,
		MaxInFlightPerPartition: sluice.WithMaxInFlightPerPartition,
		ConnectionsMaxIdle:      sluice.WithConnectionsMaxIdle,
		MaxRequestBytes:         sluice.WithMaxRequestBytes,
		MetricsPush:             sluice.WithMetricsPush,
	})
}

// setFiles sets what files hold: those of -F, or that of the environment's SLUICE_CONFIG, which are .properties files as Kafka's own tools
// read them; or else that of KCAT_CONFIG, which is kcat's. What is set after it wins. bootstrap.servers is in Brokers then.
func (s *settings) setFiles(paths []string) error {
	read, from := properties.ReadFile, "-F "
	if path := os.Getenv("SLUICE_CONFIG"); len(paths) == 0 && path != "" {
		paths, from = []string{path}, "SLUICE_CONFIG: "
	} else if path := os.Getenv("KCAT_CONFIG"); len(paths) == 0 && path != "" {
		paths, from, read = []string{path}, "KCAT_CONFIG: ", properties.ReadKcatFile
	}
	for _, path := range paths {
		values, err := read(path)
		if err != nil {
			return usagef("%s%w", from, err)
		}
		if err := s.SetAll(values); err != nil {
			return usagef("%s%s: %w", from, path, err)
		}
	}
	return nil
}

// shown is a setting for an error, without the value of a secret, or of what may be one with a slip in its name.
func (s *settings) shown(name, value string) string {
	_, _, err := s.Find(name)
	if properties.Secret(name) || properties.Lookup(name) == nil && err != nil {
		return name
	}
	return name + "=" + value
}
