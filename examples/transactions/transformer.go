package main

import (
	"bytes"
	"context"
	"log"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// transformer handles the sessions of a consumer group.
type transformer struct {
	producer  *sluice.Producer
	group, to string

	mu     sync.Mutex // a producer has one transaction at a time: partitions take turns
	failed bool       // a transaction of this session has failed
	fatal  error      // why the producer can't go on
}

// Setup is called before each session.
func (t *transformer) Setup(sarama.ConsumerGroupSession) error {
	t.failed = false
	return nil
}

func (t *transformer) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim handles one partition. When it returns, the session ends.
func (t *transformer) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	// If the partition is another member's by now, the group's coordinator sees it from this, and refuses the offsets.
	member := sarama.NewConsumerGroupMetadataFromSession(session, t.group, nil)
	for {
		batch := nextBatch(session.Context(), claim.Messages())
		if len(batch) == 0 {
			return nil
		}
		if err := t.transact(batch, member); err != nil {
			log.Printf("%s/%d from offset %d on: %v", claim.Topic(), claim.Partition(), batch[0].Offset, err)
			return err
		}
	}
}

// nextBatch waits for a message, and takes those that have come with it, up to ChannelBufferSize. It returns none when the
// session ends.
func nextBatch(ctx context.Context, messages <-chan *sarama.ConsumerMessage) (batch []*sarama.ConsumerMessage) {
	select {
	case msg, ok := <-messages:
		if !ok {
			return nil
		}
		batch = append(batch, msg)
	case <-ctx.Done():
		return nil
	}
	for range len(messages) {
		batch = append(batch, <-messages)
	}
	return batch
}

// transact writes what comes of a batch, and the offset behind it, in one transaction. After an error the batch must be read
// again, from the committed offset: it may be in the log, or not.
func (t *transformer) transact(batch []*sarama.ConsumerMessage, member *sarama.ConsumerGroupMetadata) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fatal != nil {
		return t.fatal
	}
	// Not the session's context: a commit that it cut short would have an unknown outcome. The producer has time-outs.
	ctx := context.Background()
	err := t.producer.Transact(ctx, func(tx sluice.Tx) error {
		for _, msg := range batch {
			if err := tx.Produce(ctx, t.transform(msg), nil); err != nil {
				return err
			}
		}
		return tx.AddMessage(batch[len(batch)-1], member)
	})
	if err == nil {
		return nil
	}
	t.failed = true
	// Transact has aborted the transaction, but if the commit had no answer. Then AbortTxn sees to it that it is either
	// committed or aborted, and the committed offset tells which.
	if !t.idle() {
		t.producer.AbortTxn()
	}
	if !t.idle() {
		t.fatal = err
	}
	return err
}

// idle tells whether no transaction is open, and another one may begin.
func (t *transformer) idle() bool {
	return t.producer.TxnStatus()&(sarama.ProducerTxnFlagReady|sarama.ProducerTxnFlagInitializing) != 0
}

// transform is what this program is about. A message for which it always failed would be tried for ever: write such a message
// to a topic of its own instead, in the same transaction.
func (t *transformer) transform(msg *sarama.ConsumerMessage) *sarama.ProducerMessage {
	out := &sarama.ProducerMessage{Topic: t.to, Value: sarama.ByteEncoder(bytes.ToUpper(msg.Value))}
	if msg.Key != nil {
		out.Key = sarama.ByteEncoder(msg.Key)
	}
	return out
}
