//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// TestVerifyOnKafka proves the promises on a real one, beside the other clients, with idempotence and without.
func TestVerifyOnKafka(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a Kafka")
	}
	kafka := kafkatest.Start(t, 1)
	brokers := strings.Join(kafka.Brokers(), ",")
	report, r := verifyJSON(t, "-brokers", brokers, "-client", "sarama,franz-go", "-records", "3k", "-duration", "1s", "-faults", "cut=4%,delay=10%,swallow=4%")
	sluice := report.Clients[0]
	if sluice.Broken || sluice.Acknowledged != 3000 || sluice.Proxy.Answers == 0 {
		t.Errorf("idempotent: status %d, stderr %q, %+v", r.status, r.stderr, sluice)
	}
	if len(report.Clients) != 3 {
		t.Errorf("%d clients", len(report.Clients))
	}
	report, r = verifyJSON(t, "-brokers", brokers, "-idempotent=false", "-records", "3k", "-duration", "1s", "-faults", "cut=4%,delay=10%,swallow=4%")
	if report.Clients[0].Broken || report.Clients[0].Acknowledged != 3000 {
		t.Errorf("not idempotent: status %d, stderr %q, %+v", r.status, r.stderr, report.Clients[0])
	}
	for _, name := range topicNames(t, kafka.Brokers()) {
		if strings.HasPrefix(name, verifyTopicPrefix) {
			t.Errorf("%s is left behind", name)
		}
	}
}

func topicNames(t *testing.T, addrs []string) (names []string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range resp.Topics {
		names = append(names, *topic.Topic)
	}
	return names
}
