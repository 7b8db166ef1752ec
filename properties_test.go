package sluice_test

import (
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

func TestConfigFromNoProperties(t *testing.T) {
	conf, opts, err := sluice.ConfigFromProperties(nil)
	if err != nil || len(opts) != 0 {
		t.Fatal(len(opts), err)
	}
	want := sluice.NewConfig()
	// Keys go where Java's producer sends them.
	msg := &sarama.ProducerMessage{Key: sarama.StringEncoder("kafka")}
	got, err := conf.Producer.Partitioner("t").Partition(msg, 100)
	if java, _ := sarama.NewMurmur2Partitioner("t").Partition(msg, 100); got != java || err != nil {
		t.Errorf("partition %d in place of %d: %v", got, java, err)
	}
	for _, c := range []*sarama.Config{conf, want} {
		c.MetricRegistry, c.Producer.Partitioner, c.Consumer.Group.Rebalance.GroupStrategies = nil, nil, nil
	}
	if !reflect.DeepEqual(conf, want) {
		t.Error("it is not what NewConfig returns")
	}
	if !conf.Producer.Idempotent {
		t.Error("it is not idempotent")
	}
}

func TestConfigFromProperties(t *testing.T) {
	conf, opts, err := sluice.ConfigFromProperties(map[string]string{
		"bootstrap.servers":                     "a:9092,b:9092",
		"acks":                                  "1",
		"linger.ms":                             "20",
		"max.in.flight.requests.per.connection": "3",
		"buffer.memory":                         "1048576",
		"delivery.timeout.ms":                   "30000",
		"connections.max.idle.ms":               "-1",
		"max.request.size":                      "100000",
		"security.protocol":                     "SASL_SSL",
		"sasl.mechanism":                        "SCRAM-SHA-512",
		"sasl.jaas.config":                      `org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="o\"pen";`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if conf.Producer.Flush.Frequency != 20*time.Millisecond || conf.Producer.Idempotent || conf.Net.MaxOpenRequests != 3 ||
		conf.Net.SASL.Password != `o"pen` || conf.Net.SASL.SCRAMClientGeneratorFunc == nil || conf.Net.TLS.Config == nil {
		t.Errorf("%+v", conf.Net)
	}
	if len(opts) != 4 {
		t.Errorf("%d options", len(opts))
	}
}

func TestConfigFromWrongProperties(t *testing.T) {
	for _, test := range []struct {
		props map[string]string
		want  string
	}{
		{map[string]string{"linger.mx": "1"}, "sluice: linger.mx: there is no setting linger.mx; did you mean linger.ms?"},
		{map[string]string{"buffer.memory": "1000"}, "must be >= 1024"},
		{map[string]string{"api.version.request": "false", "broker.version.fallback": "0.10.2"}, "below 0.11"},
		{map[string]string{"compression.type": "zstd", "broker.version.fallback": "1.0.0"}, "zstd"},
		{map[string]string{"transactional.id": "t", "enable.idempotence": "false"}, "Idempotent"},
	} {
		conf, opts, err := sluice.ConfigFromProperties(test.props)
		if err == nil || !strings.Contains(err.Error(), test.want) || conf != nil || opts != nil {
			t.Errorf("%v: %v, want %q", test.props, err, test.want)
		}
	}
	_, _, err := sluice.ConfigFromProperties(map[string]string{"security.protocol": "SSL", "ssl.ca.location": "no such file"})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	_, _, err = sluice.ConfigFromProperties(map[string]string{"enable.idempotence": "true", "acks": "0"})
	if _, ok := errors.AsType[sarama.ConfigurationError](err); !ok {
		t.Error(err)
	}
}
