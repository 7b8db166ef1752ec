package properties

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newConfig is sluice.NewConfig as far as the table's defaults go; the root package compares the two.
func newConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.ClientID = "sluice"
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Idempotent = true
	conf.Net.MaxOpenRequests = 5
	conf.Producer.Compression = sarama.CompressionLZ4
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	conf.Producer.Flush.Frequency = 5 * time.Millisecond
	conf.Producer.Retry.Max = 1<<31 - 1
	return conf
}

// newSettings has round robin in place of the sticky partitioner, so that what it chooses can be told.
func newSettings() *Settings { return New(newConfig(), sarama.NewRoundRobinPartitioner) }

func finished(values map[string]string) (*Settings, error) {
	s := newSettings()
	if err := s.SetAll(values); err != nil {
		return nil, err
	}
	return s, s.Finish()
}

func mustFinish(t *testing.T, values map[string]string) *Settings {
	t.Helper()
	s, err := finished(values)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
