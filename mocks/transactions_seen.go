package mocks

import (
	"slices"

	"github.com/IBM/sarama"
)

// What a test expects of a mock's transactions, and what it can read of them.

// ExpectCommitTxnAndFail lets the next CommitTxn fail that comes to it: not one whose messages have failed already. With a nil
// err it succeeds, as without an expectation. The error decides what remains, as with the real producer: after
// sluice.ErrOutcomeUnknown and an error of a context CommitTxn may be called again, sarama.ErrProducerFenced and the like end
// the producer, and after any other AbortTxn is what remains. It returns the mock, to chain calls.
func (p *Producer) ExpectCommitTxnAndFail(err error) *Producer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.txns.commits = append(p.txns.commits, err)
	return p
}

// ExpectAbortTxnAndFail lets the next AbortTxn fail. It may be called again, unless the error ends the producer. With a nil err
// it succeeds.
func (p *Producer) ExpectAbortTxnAndFail(err error) *Producer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.txns.aborts = append(p.txns.aborts, err)
	return p
}

// Transaction is what became of a mock's transaction.
type Transaction struct {
	// Both are false while it is open, and if its outcome stays unknown.
	Committed, Aborted bool
	// Offsets that were added, in the order of the calls.
	Offsets []TxnOffsets
}

// TxnOffsets are the offsets of one call.
type TxnOffsets struct {
	Group   sarama.ConsumerGroupMetadata
	Offsets map[string]map[int32]sarama.PartitionOffsetMetadata // by topic and partition
}

// Transactions returns the mock's transactions in their order.
func (p *Producer) Transactions() []Transaction {
	p.mu.Lock()
	defer p.mu.Unlock()
	begun := slices.Clone(p.txns.begun)
	for i := range begun {
		begun[i].Offsets = slices.Clone(begun[i].Offsets)
	}
	return begun
}

// CommittedOffset returns the offset that the mock's transactions have committed last for a partition of a consumer group,
// or -1.
func (p *Producer) CommittedOffset(group, topic string, partition int32) int64 {
	committed := int64(-1)
	for _, txn := range p.Transactions() {
		for _, call := range txn.Offsets {
			if o, ok := call.Offsets[topic][partition]; ok && txn.Committed && call.Group.GroupID == group {
				committed = o.Offset
			}
		}
	}
	return committed
}

// offsetsByPartition copies offsets. The last one of a partition counts.
func offsetsByPartition(offsets map[string][]*sarama.PartitionOffsetMetadata) map[string]map[int32]sarama.PartitionOffsetMetadata {
	byTopic := make(map[string]map[int32]sarama.PartitionOffsetMetadata, len(offsets))
	for topic, list := range offsets {
		byTopic[topic] = make(map[int32]sarama.PartitionOffsetMetadata, len(list))
		for _, o := range list {
			byTopic[topic][o.Partition] = *o
		}
	}
	return byTopic
}
