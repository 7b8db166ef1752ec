package apitest

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/certtest"
)

// A file of Java's gets through TLS and SCRAM to a cluster, over IPv4 alone.
func TestProducerFromProperties(t *testing.T) {
	ca := certtest.NewCA(t, "test CA")
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "alice", `o"pen`),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1", "localhost").TLS()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	conf, opts, err := sluice.ConfigFromProperties(map[string]string{
		"bootstrap.servers":        strings.Join(cluster.ListenAddrs(), ","),
		"security.protocol":        "SASL_SSL",
		"ssl.truststore.location":  certtest.Write(t, filepath.Join(t.TempDir(), "ca.p12"), ca.Truststore(t, "changeit")),
		"ssl.truststore.password":  "changeit",
		"ssl.truststore.type":      "PKCS12",
		"sasl.mechanism":           "SCRAM-SHA-512",
		"sasl.jaas.config":         `org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="o\"pen";`,
		"broker.address.family":    "v4",
		"delivery.timeout.ms":      "20000",
		"max.request.size":         "1000000",
		"retry.backoff.max.ms":     "1000",
		"enable.idempotence":       "true",
		"compression.type":         "zstd",
		"compression.zstd.level":   "3",
		"partitioner":              "murmur2_random",
		"metric.reporters":         "",
		"key.serializer":           "org.apache.kafka.common.serialization.StringSerializer",
		"session.timeout.ms":       "45000",
		"metadata.max.age.ms":      "300000",
		"request.timeout.ms":       "30000",
		"batch.size":               "16384",
		"linger.ms":                "0",
		"connections.max.idle.ms":  "540000",
		"ssl.enabled.protocols":    "TLSv1.2,TLSv1.3",
		"max.in.flight":            "5",
		"reconnect.backoff.max.ms": "1000",
	})
	if err != nil {
		t.Fatal(err)
	}
	conf.Producer.Return.Successes = true
	producer, err := sluice.New(cluster.ListenAddrs(), conf, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for i := range 3 {
		_, offset, err := producer.SendMessage(&sarama.ProducerMessage{Topic: "t", Key: sarama.StringEncoder("k"), Value: sarama.StringEncoder("v")})
		if err != nil || offset != int64(i) {
			t.Errorf("offset %d, %v", offset, err)
		}
	}
}
