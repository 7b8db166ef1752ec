package sluice

import (
	"context"

	"github.com/IBM/sarama"
)

// IsTransactional tells whether the configuration has a Producer.Transaction.ID.
func (p *Producer) IsTransactional() bool { return false }

// BeginTxn opens a transaction.
func (p *Producer) BeginTxn() error { return sarama.ErrNonTransactedProducer }

// CommitTxn commits the open transaction.
func (p *Producer) CommitTxn() error { return p.CommitTxnContext(context.Background()) }

// CommitTxnContext is CommitTxn that ends with ctx.
func (p *Producer) CommitTxnContext(ctx context.Context) error {
	return sarama.ErrNonTransactedProducer
}

// AbortTxn aborts the open transaction.
func (p *Producer) AbortTxn() error { return p.AbortTxnContext(context.Background()) }

// AbortTxnContext is AbortTxn that ends with ctx.
func (p *Producer) AbortTxnContext(ctx context.Context) error { return sarama.ErrNonTransactedProducer }

// AddOffsetsToTxn adds consumed offsets of a group to the open transaction.
func (p *Producer) AddOffsetsToTxn(offsets map[string][]*sarama.PartitionOffsetMetadata, groupID string) error {
	return p.AddOffsetsToTxnWithGroupMetadata(offsets, sarama.NewConsumerGroupMetadata(groupID))
}

// AddOffsetsToTxnWithGroupMetadata is AddOffsetsToTxn with the group's member (KIP-447).
func (p *Producer) AddOffsetsToTxnWithGroupMetadata(offsets map[string][]*sarama.PartitionOffsetMetadata, group *sarama.ConsumerGroupMetadata) error {
	return sarama.ErrNonTransactedProducer
}

// AddMessageToTxn adds the offset behind a consumed message to the open transaction.
func (p *Producer) AddMessageToTxn(msg *sarama.ConsumerMessage, groupID string, metadata *string) error {
	return p.AddMessageToTxnWithGroupMetadata(msg, sarama.NewConsumerGroupMetadata(groupID), metadata)
}

// AddMessageToTxnWithGroupMetadata is AddMessageToTxn with the group's member (KIP-447).
func (p *Producer) AddMessageToTxnWithGroupMetadata(msg *sarama.ConsumerMessage, group *sarama.ConsumerGroupMetadata, metadata *string) error {
	return p.AddOffsetsToTxnWithGroupMetadata(map[string][]*sarama.PartitionOffsetMetadata{
		msg.Topic: {{Partition: msg.Partition, Offset: msg.Offset + 1, Metadata: metadata}},
	}, group)
}

// Tx is a transaction in the function given to Transact.
type Tx struct{ p *Producer }

// Produce is Producer.Produce within the transaction.
func (tx Tx) Produce(ctx context.Context, msg *sarama.ProducerMessage, done func(*sarama.ProducerMessage, error)) error {
	return tx.p.Produce(ctx, msg, done)
}

// AddOffsets is Producer.AddOffsetsToTxnWithGroupMetadata.
func (tx Tx) AddOffsets(offsets map[string][]*sarama.PartitionOffsetMetadata, group *sarama.ConsumerGroupMetadata) error {
	return tx.p.AddOffsetsToTxnWithGroupMetadata(offsets, group)
}

// AddMessage is Producer.AddMessageToTxnWithGroupMetadata, without metadata of the offset.
func (tx Tx) AddMessage(msg *sarama.ConsumerMessage, group *sarama.ConsumerGroupMetadata) error {
	return tx.p.AddMessageToTxnWithGroupMetadata(msg, group, nil)
}

// Transact begins a transaction, calls fn, and commits; it aborts if fn fails or panics.
func (p *Producer) Transact(ctx context.Context, fn func(tx Tx) error) error {
	return sarama.ErrNonTransactedProducer
}

// IsTxnAbortable tells that AbortTxn is what remains of the transaction; then the producer goes on.
func IsTxnAbortable(err error) bool { return false }

// IsTxnFatal tells that the producer can't go on: close it, and make another one.
func IsTxnFatal(err error) bool { return false }
