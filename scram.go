package sluice

import (
	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/scram"
)

// SCRAMClient makes the SCRAM clients that sarama asks for, for sarama.SASLTypeSCRAMSHA256 or sarama.SASLTypeSCRAMSHA512:
//
//	conf.Net.SASL.SCRAMClientGeneratorFunc = sluice.SCRAMClient(sarama.SASLTypeSCRAMSHA512)
//
// Sarama's own producers, consumers and clients take it too. The function that it returns may be called concurrently; each client
// belongs to one login. With another mechanism each login fails with a sarama.ConfigurationError.
//
// A broker that asks for more than 100,000 iterations is refused, since each costs the client time. Kafka's own tools store 4,096
// to 16,384. Fewer than 4,096 are refused as RFC 7677 wants it. So is a broker whose signature shows that it does not know
// the password. Names and passwords are hashed as they are, without SASLprep, as Kafka does.
func SCRAMClient(mechanism sarama.SASLMechanism) func() sarama.SCRAMClient {
	return func() sarama.SCRAMClient { return scram.NewClient(mechanism) }
}
