package mocks

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/IBM/sarama"
)

// txn is the part of a transaction that both mocks share: whether the mock is transactional at all, whether a
// transaction is open, and the calls that add offsets, which always succeed.
type txn struct {
	transactional bool

	mu     sync.Mutex
	status sarama.ProducerTxnStatusFlag
}

// IsTransactional tells whether the configuration named a transactional id.
func (x *txn) IsTransactional() bool {
	return x.transactional
}

// TxnStatus is sarama.ProducerTxnFlagInTransaction between BeginTxn and the end of that transaction, else
// sarama.ProducerTxnFlagReady.
func (x *txn) TxnStatus() sarama.ProducerTxnStatusFlag {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.status
}

// AddOffsetsToTxn does nothing and succeeds.
func (x *txn) AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata, string) error {
	return nil
}

// AddOffsetsToTxnWithGroupMetadata does nothing and succeeds.
func (x *txn) AddOffsetsToTxnWithGroupMetadata(map[string][]*sarama.PartitionOffsetMetadata, *sarama.ConsumerGroupMetadata) error {
	return nil
}

// AddMessageToTxn does nothing and succeeds.
func (x *txn) AddMessageToTxn(*sarama.ConsumerMessage, string, *string) error {
	return nil
}

// AddMessageToTxnWithGroupMetadata does nothing and succeeds.
func (x *txn) AddMessageToTxnWithGroupMetadata(*sarama.ConsumerMessage, *sarama.ConsumerGroupMetadata, *string) error {
	return nil
}

func (x *txn) set(status sarama.ProducerTxnStatusFlag) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.status = status
}

// mayNotSend tells that a message that came now would be outside every transaction of a transactional mock.
func (x *txn) mayNotSend() bool {
	return x.transactional && x.TxnStatus()&sarama.ProducerTxnFlagInTransaction == 0
}

// ended describes a context that ended while the mock did what. It wraps the context's cause and its error.
func ended(what string, ctx context.Context) error {
	cause, err := context.Cause(ctx), ctx.Err()
	if errors.Is(cause, err) {
		return fmt.Errorf("mocks: %s: %w", what, cause)
	}
	return fmt.Errorf("mocks: %s: %w (%w)", what, cause, err)
}
