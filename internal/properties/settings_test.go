package properties

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

func TestValues(t *testing.T) {
	type get = func(s *Settings) any
	for _, tt := range []struct {
		values map[string]string
		get    get
		want   any
	}{
		{map[string]string{"acks": "1"}, func(s *Settings) any { return s.Conf.Producer.RequiredAcks }, sarama.WaitForLocal},
		{map[string]string{"Request.Required.Acks": "-1"}, func(s *Settings) any { return s.Conf.Producer.RequiredAcks }, sarama.WaitForAll},
		{map[string]string{"acks": "1"}, func(s *Settings) any { return s.Conf.Producer.Idempotent }, false},
		{map[string]string{"retries": "0"}, func(s *Settings) any { return s.Conf.Producer.Idempotent }, false},
		{map[string]string{"enable.idempotence": "FALSE"}, func(s *Settings) any { return s.Conf.Producer.Idempotent }, false},
		{map[string]string{}, func(s *Settings) any { return s.Conf.Producer.Idempotent }, true},
		{map[string]string{"message.send.max.retries": "7"}, func(s *Settings) any { return s.Conf.Producer.Retry.Max }, 7},
		{map[string]string{"linger.ms": " 7 "}, func(s *Settings) any { return s.Conf.Producer.Flush.Frequency }, 7 * time.Millisecond},
		{map[string]string{"queue.buffering.max.ms": "0.5"}, func(s *Settings) any { return s.Conf.Producer.Flush.Frequency }, 500 * time.Microsecond},
		{map[string]string{"batch.size": "16384"}, func(s *Settings) any { return s.Conf.Producer.Flush.Bytes }, 16384},
		{map[string]string{"batch.size": "16384", "linger.ms": "0"}, func(s *Settings) any { return s.Conf.Producer.Flush.Bytes }, 0},
		{map[string]string{"batch.size": "0"}, func(s *Settings) any { return s.Conf.Producer.Flush.Bytes }, 1},
		{map[string]string{"batch.num.messages": "9"}, func(s *Settings) any { return s.Conf.Producer.Flush.MaxMessages }, 9},
		{map[string]string{"queue.buffering.max.kbytes": "2048"}, func(s *Settings) any { return s.Options.BufferMemory }, int64(2 << 20)},
		{map[string]string{"message.timeout.ms": "0"}, func(s *Settings) any { return s.Options.DeliveryTimeout }, time.Duration(math.MaxInt64)},
		{map[string]string{"message.max.bytes": "5000"}, func(s *Settings) any { return [2]int{s.Conf.Producer.MaxMessageBytes, s.Options.MaxRequestBytes} }, [2]int{5000, 5000}},
		{map[string]string{"max.request.size": "100"}, func(s *Settings) any { return s.Options.MaxRequestBytes }, 4096},
		{map[string]string{"max.in.flight": "1000000"}, func(s *Settings) any { return s.Options.MaxInFlightPerPartition }, 5},
		{map[string]string{"max.in.flight": "3"}, func(s *Settings) any { return s.Config().Net.MaxOpenRequests }, 1},
		{map[string]string{"max.in.flight": "3", "acks": "1"}, func(s *Settings) any { return s.Config().Net.MaxOpenRequests }, 3},
		{map[string]string{"request.timeout.ms": "20"}, func(s *Settings) any { return s.Conf.Producer.Timeout + s.Conf.Net.ReadTimeout }, 40 * time.Millisecond},
		{map[string]string{"request.timeout.ms": "20", "socket.timeout.ms": "70"}, func(s *Settings) any { return s.Conf.Net.ReadTimeout }, 70 * time.Millisecond},
		{map[string]string{"compression.codec": "inherit"}, func(s *Settings) any { return s.Conf.Producer.Compression }, sarama.CompressionLZ4},
		{map[string]string{"compression.type": "gzip", "compression.gzip.level": "9", "compression.zstd.level": "3"}, func(s *Settings) any { return s.Conf.Producer.CompressionLevel }, 9},
		{map[string]string{"compression.type": "snappy", "compression.zstd.level": "3"}, func(s *Settings) any { return s.Conf.Producer.CompressionLevel }, sarama.CompressionLevelDefault},
		{map[string]string{"compression.level": "-1"}, func(s *Settings) any { return s.Conf.Producer.CompressionLevel }, sarama.CompressionLevelDefault},
		{map[string]string{"metadata.max.age.ms": "5"}, func(s *Settings) any { return s.Conf.Metadata.RefreshFrequency }, 5 * time.Millisecond},
		{map[string]string{"metadata.max.age.ms": "5", "topic.metadata.refresh.interval.ms": "-1"}, func(s *Settings) any { return s.Conf.Metadata.RefreshFrequency }, time.Duration(0)},
		{map[string]string{"topic.metadata.refresh.sparse": "true"}, func(s *Settings) any { return s.Conf.Metadata.Full }, false},
		{map[string]string{"socket.keepalive.enable": "false"}, func(s *Settings) any { return s.Conf.Net.KeepAlive }, time.Duration(-1)},
		{map[string]string{"broker.address.family": "v4"}, func(s *Settings) any { return s.Conf.Net.Proxy.Dialer.(familyDialer).network }, "tcp4"},
		{map[string]string{"metadata.broker.list": "a:1, b:2"}, func(s *Settings) any { return s.Brokers }, "a:1, b:2"},
		{map[string]string{"retry.backoff.ms": "10", "retry.backoff.max.ms": "35"}, func(s *Settings) any {
			f := s.Conf.Producer.Retry.BackoffFunc
			return fmt.Sprint(f(1, 9), f(2, 9), f(3, 9), f(30, 9))
		}, "10ms 20ms 35ms 35ms"},
		{map[string]string{"interceptor.classes": "", "key.serializer": "org.apache.kafka.common.serialization.StringSerializer",
			"group.id": "g", "client.dns.lookup": "use_all_dns_ips", "metric.reporters": "x.Y"}, func(s *Settings) any { return s.Conf.ClientID }, "sluice"},
	} {
		t.Run(fmt.Sprint(tt.values), func(t *testing.T) {
			if got := tt.get(mustFinish(t, tt.values)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRefusedValues(t *testing.T) {
	for _, tt := range []struct {
		values map[string]string
		want   string
	}{
		{map[string]string{"linger.ms": "5ms"}, `linger.ms: "5ms" is not a whole number of milliseconds`},
		{map[string]string{"linger.ms": "-1"}, `linger.ms: "-1" is below 0`},
		{map[string]string{"linger.ms": "99999999999999999"}, `is too large`},
		{map[string]string{"linger.ms": "+1"}, "is not a whole number"},
		{map[string]string{"linger.ms": "1e3"}, "is not a whole number"},
		{map[string]string{"retries": "2147483648"}, `from 0 to 2147483647`},
		{map[string]string{"buffer.memory": ""}, `buffer.memory: "" is not a whole number`},
		{map[string]string{"compression.gzip.level": "10"}, "from 1 to 9"},
		{map[string]string{"enable.idempotence": "yes"}, `"yes" is not true or false`},
		{map[string]string{"acks": "2"}, `acks: "2" is not one of`},
		{map[string]string{"acks": "2", "linger.ms": "x"}, "\nlinger.ms: "},
		{map[string]string{"linger.msec": "3"}, "there is no setting linger.msec; did you mean linger.ms?"},
		{map[string]string{"Producer.Flush.Frequency": "3ms"}, "there is no setting Producer.Flush.Frequency"},
		{map[string]string{"acks": "1", "request.required.acks": "all"}, "acks and request.required.acks are one setting"},
		{map[string]string{"acks": "1", "enable.idempotence": "true"}, "WaitForAll"},
		{map[string]string{"acks": "1", "transactional.id": "t"}, "WaitForAll"},
		{map[string]string{"retries": "0", "enable.idempotence": "true"}, "Retry.Max"},
		{map[string]string{"max.in.flight": "6", "enable.idempotence": "true"}, "excludes enable.idempotence"},
		{map[string]string{"connections.max.idle.ms": "0"}, "connections.max.idle.ms"},
		{map[string]string{"delivery.timeout.ms": "0"}, "delivery.timeout.ms"},
		{map[string]string{"partitioner": "murmur3"}, `"murmur3" is not one of consistent, consistent_random`},
		{map[string]string{"partitioner.class": "com.example.Own"}, "is a program"},
		{map[string]string{"partitioner": "murmur2", "partitioner.ignore.keys": "true"}, "chooses the partitioner already"},
		{map[string]string{"partitioner": "murmur2", "partitioner.class": "org.apache.kafka.clients.producer.RoundRobinPartitioner"}, "chooses the partitioner already"},
		{map[string]string{"interceptor.classes": "com.example.Own"}, "interceptors are programs"},
		{map[string]string{"key.serializer": "io.confluent.kafka.serializers.KafkaAvroSerializer"}, "keys are bytes here"},
		{map[string]string{"transaction.two.phase.commit.enable": "true"}, "KIP-939"},
		{map[string]string{"config.providers": "file"}, "resolve them before"},
		{map[string]string{"dr_cb": "x"}, "it is a function"},
		{map[string]string{"client.dns.lookup": "resolve_canonical_bootstrap_servers_only"}, "dialled as they are given"},
	} {
		t.Run(fmt.Sprint(tt.values), func(t *testing.T) {
			if _, err := finished(tt.values); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// No error has the value of a secret: neither where it is wrong, nor where something else is.
func TestSecretsAreNotTold(t *testing.T) {
	const canary = "c4n4ry"
	texts := []string{
		canary, canary + "=" + canary, canary + ` required password="` + canary + `"`, `x.PlainLoginModule required username="` + canary + `" password="` + canary + `" ` + canary + `="` + canary + `";`,
		`x.PlainLoginModule required password="` + canary, "-----BEGIN " + canary, "-----BEGIN CERTIFICATE-----\n" + canary + "\n-----END CERTIFICATE-----", `\u` + canary, "\x00" + canary,
	}
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, []byte("-----BEGIN PRIVATE KEY-----\n"+canary+"\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	surroundings := []map[string]string{
		{}, {"acks": "7"}, {"security.protocol": "SSL"}, {"security.protocol": "SASL_SSL"}, {"security.protocol": "SASL_SSL", "ssl.ca.location": "nowhere"},
		{"security.protocol": "SSL", "ssl.keystore.location": "nowhere"}, {"security.protocol": "SSL", "ssl.certificate.location": key, "ssl.key.location": key},
		{"security.protocol": "SSL", "ssl.truststore.location": key}, {"security.protocol": "SSL", "ssl.keystore.location": key},
		{"security.protocol": "SASL_SSL", "sasl.oauthbearer.token.endpoint.url": "https://x.test/", "sasl.mechanism": "OAUTHBEARER"},
	}
	for mechanism := range mechanisms {
		surroundings = append(surroundings, map[string]string{"security.protocol": "SASL_SSL", "sasl.mechanism": mechanism},
			map[string]string{"security.protocol": "SASL_SSL", "sasl.mechanism": mechanism, "sasl.username": "u", "sasl.password": "p"})
	}
	secrets, errs := 0, 0
	for _, row := range Table {
		if !row.Secret {
			continue
		}
		secrets++
		for _, name := range append([]string{row.Name}, row.Also...) {
			for _, text := range texts {
				for _, around := range surroundings {
					values := map[string]string{name: text}
					for k, v := range around {
						if k != name {
							values[k] = v
						}
					}
					if _, err := finished(values); err != nil {
						errs++
						if strings.Contains(strings.ReplaceAll(err.Error(), key, ""), canary+`" password`) || mentions(err.Error(), canary) {
							t.Fatalf("%v: %v", values, err)
						}
					}
				}
			}
		}
	}
	if secrets < 12 || errs < 500 {
		t.Errorf("%d secrets and %d errors: the test shows nothing", secrets, errs)
	}
}

// mentions passes over names of options, which are no secrets.
func mentions(text, canary string) bool {
	return strings.Contains(strings.ReplaceAll(text, `the option "`+canary+`" is not known`, ""), canary)
}

func TestSecretNames(t *testing.T) {
	for name, want := range map[string]bool{
		"sasl.password": true, "SASL.JAAS.CONFIG": true, "ssl.key.password": true, "ssl.key.pem": true, "sasl.oauthbearer.client.secret": true,
		"Net.SASL.Password": true, "Net.SASL.GSSAPI.Password": true, "sasl.username": false, "ssl.key.location": false, "Net.SASL.User": false,
	} {
		if Secret(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
