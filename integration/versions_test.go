//go:build unix

package integration

import (
	"flag"
	"fmt"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

var versions kafkatest.VersionList

func init() {
	flag.Var(&versions, "versions", "run TestContent on these versions of Kafka, with commas between, or all")
}

// runMessageTests sends single messages, so that a version that refuses idempotence, or a codec, is told by the name of
// the test. Only -versions wants them: on the shared node, the other tests would fail too.
func runMessageTests(t *testing.T, c *kafkatest.Cluster) {
	for _, idempotent := range []bool{true, false} {
		for _, codec := range []sarama.CompressionCodec{sarama.CompressionLZ4, sarama.CompressionZSTD} {
			t.Run(fmt.Sprintf("Message/idempotent=%t/%v", idempotent, codec), func(t *testing.T) {
				testMessage(t, c, idempotent, codec)
			})
		}
	}
}

func testMessage(t *testing.T, c *kafkatest.Cluster, idempotent bool, codec sarama.CompressionCodec) {
	topic := c.NewTopic(t, 1, nil)
	conf := newConfig()
	conf.Producer.Idempotent = idempotent
	conf.Producer.Compression = codec
	p := newSync(t, c, conf)
	value := fmt.Sprintf("%0500d", 7) // long and dull enough to be stored compressed
	m := &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value)}
	partition, offset, err := p.SendMessageContext(testContext(t), m)
	if err != nil || partition != 0 || offset != 0 {
		t.Fatalf("partition %d, offset %d, error %v, want 0, 0 and none", partition, offset, err)
	}
	r := readBack(t, c, topic, 1)[0][0]
	if string(r.Value) != value {
		t.Errorf("read %q, want %q", r.Value, value)
	}
	if got := sarama.CompressionCodec(r.Attrs.CompressionType()); got != codec {
		t.Errorf("stored with %v, want %v", got, codec)
	}
	if got := r.ProducerID >= 0; got != idempotent {
		t.Errorf("stored with producer id %d; idempotent: %t", r.ProducerID, idempotent)
	}
}
