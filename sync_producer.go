package sluice

import (
	"context"

	"github.com/IBM/sarama"
)

// SyncProducer is sarama's SyncProducer with contexts. All methods may be called concurrently.
type SyncProducer interface {
	sarama.SyncProducer

	// SendMessageContext is SendMessage that ends with ctx. A message that was not encoded by then is withdrawn and
	// never sent; one that was gets an error that wraps ErrOutcomeUnknown and the context's cause, and may still be
	// written. A copy of msg is sent, so that msg is the caller's again when the call returns; Partition, Offset and
	// Timestamp are copied back with an outcome only.
	SendMessageContext(ctx context.Context, msg *sarama.ProducerMessage) (partition int32, offset int64, err error)

	// SendMessagesContext is SendMessages that ends with ctx. If any message failed it returns sarama.ProducerErrors
	// with exactly those that failed; the others carry their Partition and Offset.
	SendMessagesContext(ctx context.Context, msgs []*sarama.ProducerMessage) error

	// CloseContext is Close with a bound: when ctx ends, what is left fails with an error that wraps the context's
	// cause.
	CloseContext(ctx context.Context) error
}
