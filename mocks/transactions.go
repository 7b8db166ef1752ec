package mocks

import "github.com/IBM/sarama"

// IsTransactional tells whether the configuration has a Producer.Transaction.ID.
func (p *Producer) IsTransactional() bool { return p.transactional }

// TxnStatus is sarama.ProducerTxnFlagInTransaction within a transaction, else sarama.ProducerTxnFlagReady.
func (p *Producer) TxnStatus() sarama.ProducerTxnStatusFlag {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// BeginTxn opens a transaction. Like all transactional methods it returns sarama.ErrNonTransactedProducer without a
// transactional id, and else nil.
func (p *Producer) BeginTxn() error { return p.setStatus(sarama.ProducerTxnFlagInTransaction) }

// CommitTxn ends the transaction, once all messages that were sent before have their outcome.
func (p *Producer) CommitTxn() error { return p.setStatus(sarama.ProducerTxnFlagReady) }

// AbortTxn does what CommitTxn does: the expectations alone decide what becomes of a message.
func (p *Producer) AbortTxn() error { return p.setStatus(sarama.ProducerTxnFlagReady) }

// AddOffsetsToTxn does nothing.
func (p *Producer) AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata, string) error {
	return p.mustBeTransactional()
}

// AddOffsetsToTxnWithGroupMetadata does nothing.
func (p *Producer) AddOffsetsToTxnWithGroupMetadata(map[string][]*sarama.PartitionOffsetMetadata, *sarama.ConsumerGroupMetadata) error {
	return p.mustBeTransactional()
}

// AddMessageToTxn does nothing.
func (p *Producer) AddMessageToTxn(*sarama.ConsumerMessage, string, *string) error {
	return p.mustBeTransactional()
}

// AddMessageToTxnWithGroupMetadata does nothing.
func (p *Producer) AddMessageToTxnWithGroupMetadata(*sarama.ConsumerMessage, *sarama.ConsumerGroupMetadata, *string) error {
	return p.mustBeTransactional()
}

func (p *Producer) mustBeTransactional() error {
	if !p.transactional {
		return sarama.ErrNonTransactedProducer
	}
	return nil
}

// setStatus changes the status between the messages that were sent before and those that come after.
func (p *Producer) setStatus(status sarama.ProducerTxnStatusFlag) error {
	if err := p.mustBeTransactional(); err != nil {
		return err
	}
	<-p.decided()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
	return nil
}
