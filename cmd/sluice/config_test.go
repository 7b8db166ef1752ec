package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

func TestSettings(t *testing.T) {
	tests := []struct {
		name, value string
		get         func(s *settings) any
		want        any
	}{
		{"Producer.Flush.Frequency", "7ms", func(s *settings) any { return s.Conf.Producer.Flush.Frequency }, 7 * time.Millisecond},
		{"producer.flush.frequency", "1m", func(s *settings) any { return s.Conf.Producer.Flush.Frequency }, time.Minute},
		{"linger.ms", "7", func(s *settings) any { return s.Conf.Producer.Flush.Frequency }, 7 * time.Millisecond},
		{"LINGER.MS", "0", func(s *settings) any { return s.Conf.Producer.Flush.Frequency }, time.Duration(0)},
		{"batch.size", "4096", func(s *settings) any { return s.Conf.Producer.Flush.Bytes }, 4096},
		{"max.request.size", "4096", func(s *settings) any { return s.Conf.Producer.MaxMessageBytes }, 4096},
		{"acks", "0", func(s *settings) any { return s.Conf.Producer.RequiredAcks }, sarama.NoResponse},
		{"acks", "all", func(s *settings) any { return s.Conf.Producer.RequiredAcks }, sarama.WaitForAll},
		{"Producer.RequiredAcks", "WaitForLocal", func(s *settings) any { return s.Conf.Producer.RequiredAcks }, sarama.WaitForLocal},
		{"compression.type", "ZSTD", func(s *settings) any { return s.Conf.Producer.Compression }, sarama.CompressionZSTD},
		{"Producer.Compression", "none", func(s *settings) any { return s.Conf.Producer.Compression }, sarama.CompressionNone},
		{"compression.zstd.level", "9", func(s *settings) any { return s.Conf.Producer.CompressionLevel }, 9},
		{"retries", "2147483647", func(s *settings) any { return s.Conf.Producer.Retry.Max }, 2147483647},
		{"retry.backoff.ms", "20", func(s *settings) any { return s.Conf.Producer.Retry.Backoff }, 20 * time.Millisecond},
		{"request.timeout.ms", "20", func(s *settings) any { return s.Conf.Net.ReadTimeout + s.Conf.Producer.Timeout }, 40 * time.Millisecond},
		{"client.id", "me", func(s *settings) any { return s.Conf.ClientID }, "me"},
		{"enable.idempotence", "true", func(s *settings) any { return s.Conf.Producer.Idempotent }, true},
		{"max.in.flight.requests.per.connection", "3", func(s *settings) any { return [2]int{s.Conf.Net.MaxOpenRequests, s.Options.MaxInFlightPerPartition} }, [2]int{3, 3}},
		{"buffer.memory", "1048576", func(s *settings) any { return s.Options.BufferMemory }, int64(1 << 20)},
		{"BufferMemory", "1", func(s *settings) any { return s.Options.BufferMemory }, int64(1)},
		{"delivery.timeout.ms", "1500", func(s *settings) any { return s.Options.DeliveryTimeout }, 1500 * time.Millisecond},
		{"deliverytimeout", "3s", func(s *settings) any { return s.Options.DeliveryTimeout }, 3 * time.Second},
		{"connections.max.idle.ms", "30000", func(s *settings) any { return s.Options.ConnectionsMaxIdle }, 30 * time.Second},
		{"connections.max.idle.ms", "-1", func(s *settings) any { return s.Options.ConnectionsMaxIdle }, -time.Millisecond},
		{"connectionsmaxidle", "3s", func(s *settings) any { return s.Options.ConnectionsMaxIdle }, 3 * time.Second},
		{"transactional.id", "x", func(s *settings) any { return s.Conf.Producer.Transaction.ID }, "x"},
		{"transaction.timeout.ms", "500", func(s *settings) any { return s.Conf.Producer.Transaction.Timeout }, 500 * time.Millisecond},
		{"security.protocol", "sasl_ssl", func(s *settings) any { return s.Conf.Net.TLS.Enable && s.Conf.Net.SASL.Enable }, true},
		{"sasl.mechanism", "PLAIN", func(s *settings) any { return s.Conf.Net.SASL.Mechanism }, sarama.SASLMechanism("PLAIN")},
		{"Version", "3.6.0", func(s *settings) any { return s.Conf.Version }, sarama.V3_6_0_0},
		{"Net.SASL.Version", "1", func(s *settings) any { return s.Conf.Net.SASL.Version }, int16(1)},
		{"Metadata.Full", "false", func(s *settings) any { return s.Conf.Metadata.Full }, false},
		{"Producer.Partitioner", "Random", func(s *settings) any { return fmt.Sprintf("%T", s.Conf.Producer.Partitioner("t")) }, fmt.Sprintf("%T", sarama.NewRandomPartitioner("t"))},
	}
	for _, tt := range tests {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			s := newSettings()
			if err := s.set(tt.name, tt.value); err != nil {
				t.Fatal(err)
			}
			if got := tt.get(s); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestSettingsRefused(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"linger.ms", "5ms", `"5ms" is not a whole number of milliseconds`},
		{"linger.ms", "--5", `"--5" is not a whole number of milliseconds`},
		{"linger.ms", "", `"" is not a whole number of milliseconds`},
		{"Producer.Flush.Frequency", "5", `"5" is not a duration such as 5ms`},
		{"Producer.Flush.Bytes", "5k", `"5k" is not a whole number that fits`},
		{"Net.SASL.Version", "70000", `"70000" is not a whole number that fits`},
		{"Metadata.Full", "yes", `"yes" is not true or false`},
		{"Version", "new", `"new" is not a Kafka version`},
		{"acks", "2", `"2" is not one of none, leader, all`},
		{"compression.type", "", `"" is not one of none, gzip`},
		{"security.protocol", "TLS", `"TLS" is not one of PLAINTEXT, SASL_PLAINTEXT`},
		{"Producer.Partitioner", "odd", `"odd" is not one of crc, hash`},
		{"Producer.Interceptors", "x", "has no values on a command line"},
		{"Net.TLS.Config", "x", "has no values on a command line"},
		{"Producer.Retry", "3", "Producer.Retry is a group of settings: Max, Backoff, MaxBufferLength"},
		{"Producer.Retry.Max.More", "3", "there is no setting Producer.Retry.Max.More"},
		{"Version.version", "3", "there is no setting Version.version"},
		{"retires", "3", "did you mean retries?"},
		{"nothing.like.it", "3", "there is no setting nothing.like.it"},
		{"key.serializer", "x", "keys are bytes here"},
	}
	for _, tt := range tests {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			if err := newSettings().set(tt.name, tt.value); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestSettingsCheck(t *testing.T) {
	tests := []struct {
		name  string
		pairs [][2]string
		want  string // of the error; none if empty
		idem  bool
	}{
		{"acks below all switch recommended idempotence off", [][2]string{{"acks", "1"}}, "", false},
		{"idempotence that was asked for stays", [][2]string{{"enable.idempotence", "true"}, {"max.in.flight.requests.per.connection", "5"}}, "", true},
		{"no memory", [][2]string{{"buffer.memory", "0"}}, "buffer.memory", false},
		{"no time", [][2]string{{"delivery.timeout.ms", "0"}}, "delivery.timeout.ms", false},
		{"sarama's own rules", [][2]string{{"enable.idempotence", "true"}, {"acks", "1"}}, "WaitForAll", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSettings()
			for _, p := range tt.pairs {
				if err := s.set(p[0], p[1]); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Finish()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if tt.want == "" && s.Conf.Producer.Idempotent != tt.idem {
				t.Errorf("idempotent %v", s.Conf.Producer.Idempotent)
			}
		})
	}
}

// TestConfigKeepsTheWindow: what idempotence fills in must not be left behind in the settings.
func TestConfigKeepsTheWindow(t *testing.T) {
	s := newSettings()
	for _, p := range [][2]string{{"max.in.flight.requests.per.connection", "3"}, {"enable.idempotence", "true"}} {
		if err := s.set(p[0], p[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	if got, kept := s.Config().Net.MaxOpenRequests, s.Conf.Net.MaxOpenRequests; got != 1 || kept != 3 {
		t.Errorf("the producer gets %d, the settings keep %d", got, kept)
	}
	if opts := s.producerOptions(); len(opts) != 1 {
		t.Errorf("%d options for the window alone", len(opts))
	}
	if err := s.set("connections.max.idle.ms", "-1"); err != nil {
		t.Fatal(err)
	}
	if opts := s.producerOptions(); len(opts) != 2 {
		t.Errorf("%d options for the window and the idle time", len(opts))
	}
}

func TestFlagsWinOverConfig(t *testing.T) {
	f, err := parseProduce([]string{"-config", "acks=0", "-acks", "leader", "-config", "compression.type=gzip"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := f.settings.Conf.Producer
	if p.RequiredAcks != sarama.WaitForLocal || p.Compression != sarama.CompressionGZIP {
		t.Errorf("acks %v, compression %v", p.RequiredAcks, p.Compression)
	}
}
