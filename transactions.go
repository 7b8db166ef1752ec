package sluice

import "github.com/IBM/sarama"

// nonTransactional has the transactional methods of a producer without a transactional id.
type nonTransactional struct{}

func (nonTransactional) IsTransactional() bool { return false }
func (nonTransactional) BeginTxn() error       { return sarama.ErrNonTransactedProducer }
func (nonTransactional) CommitTxn() error      { return sarama.ErrNonTransactedProducer }
func (nonTransactional) AbortTxn() error       { return sarama.ErrNonTransactedProducer }

func (nonTransactional) AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata, string) error {
	return sarama.ErrNonTransactedProducer
}

func (nonTransactional) AddOffsetsToTxnWithGroupMetadata(map[string][]*sarama.PartitionOffsetMetadata, *sarama.ConsumerGroupMetadata) error {
	return sarama.ErrNonTransactedProducer
}

func (nonTransactional) AddMessageToTxn(*sarama.ConsumerMessage, string, *string) error {
	return sarama.ErrNonTransactedProducer
}

func (nonTransactional) AddMessageToTxnWithGroupMetadata(*sarama.ConsumerMessage, *sarama.ConsumerGroupMetadata, *string) error {
	return sarama.ErrNonTransactedProducer
}
