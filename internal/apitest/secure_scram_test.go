package apitest

import (
	"errors"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

// constructors are Sluice's and sarama's producers, which take the same configuration.
var constructors = map[string]func([]string, *sarama.Config) (sarama.SyncProducer, error){
	"sluice": func(addrs []string, conf *sarama.Config) (sarama.SyncProducer, error) { return sluice.New(addrs, conf) },
	"sarama": sarama.NewSyncProducer,
}

// sendOne makes a producer, writes one message and closes it. There are no retries.
func sendOne(addrs []string, conf *sarama.Config, construct func([]string, *sarama.Config) (sarama.SyncProducer, error)) error {
	conf.Producer.Return.Successes = true
	conf.Producer.Retry.Max, conf.Metadata.Retry.Max = 0, 0
	p, err := construct(addrs, conf)
	if err != nil {
		return err
	}
	_, _, err = p.SendMessage(message(0, 0))
	return errors.Join(err, p.Close())
}

func TestSCRAMClient(t *testing.T) {
	for _, mechanism := range []sarama.SASLMechanism{sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512} {
		cluster := newTopicCluster(t, 1, 1, kfake.EnableSASL(), kfake.Superuser(string(mechanism), "orders", "secret"))
		for name, construct := range constructors {
			t.Run(string(mechanism)+" with "+name, func(t *testing.T) {
				conf := testConfig()
				conf.Net.SASL.Enable, conf.Net.SASL.Mechanism = true, mechanism
				conf.Net.SASL.User, conf.Net.SASL.Password = "orders", "secret"
				conf.Net.SASL.SCRAMClientGeneratorFunc = sluice.SCRAMClient(mechanism)
				if err := sendOne(cluster.ListenAddrs(), conf, construct); err != nil {
					t.Error(err)
				}
				conf.Net.SASL.Password = "guess"
				if err := sendOne(cluster.ListenAddrs(), conf, construct); !errors.Is(err, sarama.ErrOutOfBrokers) {
					t.Errorf("with a wrong password: %v", err) // kfake closes the connection and does not say why
				}
				conf.Net.SASL.SCRAMClientGeneratorFunc = sluice.SCRAMClient("SCRAM-SHA-1")
				if err := sendOne(cluster.ListenAddrs(), conf, construct); err == nil || !strings.Contains(err.Error(), `"SCRAM-SHA-1"`) {
					t.Errorf("with a mechanism that is not there: %v", err)
				}
			})
		}
	}
}
