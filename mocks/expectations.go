package mocks

import (
	"errors"
	"fmt"
	"maps"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

var (
	// ErrOutOfExpectations fails a message that comes when no expectation is left.
	ErrOutOfExpectations = errors.New("no more expectations set on mock")

	// ErrNotInTransaction fails a message outside a transaction, if the mock is transactional. It uses up no expectation. It
	// wraps sarama.ErrTransactionNotReady, with which the real producer refuses it.
	ErrNotInTransaction error = errNotInTransaction{}

	errEnded = errors.New("mocks: a checker or partitioner ended its goroutine, as t.FailNow does")
)

// errNotInTransaction has the words of sarama's mocks.
type errNotInTransaction struct{}

func (errNotInTransaction) Error() string {
	return "attempt to send message when transaction is not started or is in ending state"
}

func (errNotInTransaction) Unwrap() error { return sarama.ErrTransactionNotReady }

// expectation says what becomes of one message. An error of a check wins over err.
type expectation struct {
	checks []MessageChecker
	err    error
}

// ExpectAndSucceed expects a message that passes the checks, and lets it succeed. A nil check passes all. It returns the
// mock, to chain calls.
func (p *Producer) ExpectAndSucceed(checks ...MessageChecker) *Producer {
	return p.ExpectAndFail(nil, checks...)
}

// ExpectAndFail expects a message that passes the checks, and lets it fail with err. With a nil err it succeeds.
func (p *Producer) ExpectAndFail(err error, checks ...MessageChecker) *Producer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expectations = append(p.expectations, expectation{checks, err})
	return p
}

// CheckValue makes a check of a message's encoded value, nil for a message without one. A value that can't be encoded
// fails it. A nil check passes all.
func CheckValue(check ValueChecker) MessageChecker {
	if check == nil {
		return nil
	}
	return func(msg *sarama.ProducerMessage) error {
		if msg.Value == nil {
			return check(nil)
		}
		value, err := msg.Value.Encode()
		if err != nil {
			return fmt.Errorf("Input message encoding failed: %w", err) // sarama's words
		}
		return check(value)
	}
}

// SetDefaultPartitions sets how many partitions a topic has that SetPartitions does not name: 32 if it is not called.
func (p *Producer) SetDefaultPartitions(n int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.defaultPartitions = n
}

// SetPartitions sets how many partitions the topics in the map have. Other topics stay as they are.
func (p *Producer) SetPartitions(partitions map[string]int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.partitions, partitions)
}

// judge finds out what becomes of a message, and writes its partition and offset. It belongs to the line of messages.
// The reports are in the words of sarama's mocks, for tests that look at them.
func (p *Producer) judge(msg *sarama.ProducerMessage) error {
	if p.transactional && !p.txnOpen() {
		p.t.Errorf("attempt to send message when transaction is not started or is in ending state.")
		return ErrNotInTransaction
	}
	exp, partitions, ok := p.nextExpectation(msg.Topic)
	if !ok {
		p.t.Errorf("No more expectation set on this mock producer to handle the input message.")
		return ErrOutOfExpectations
	}
	partition, err := p.partition(msg, partitions)
	if err != nil {
		p.t.Errorf("Partitioner returned an error: %s", err.Error())
		return err
	}
	msg.Partition = partition
	for _, check := range exp.checks {
		if check == nil {
			continue
		}
		if err := check(msg); err != nil {
			p.t.Errorf("Check function returned an error: %s", err.Error())
			return err
		}
	}
	if exp.err == nil {
		p.lastOffset++
		msg.Offset = p.lastOffset
	}
	return exp.err
}

// nextExpectation uses up an expectation. It also tells how many partitions the topic has.
func (p *Producer) nextExpectation(topic string) (exp expectation, partitions int32, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.expectations) == 0 {
		return exp, 0, false
	}
	exp, p.expectations = p.expectations[0], p.expectations[1:]
	partitions, ok = p.partitions[topic]
	if !ok {
		partitions = p.defaultPartitions
	}
	return exp, partitions, true
}

// partition is the one that a sluice.Typed was told, or else the partitioner's.
func (p *Producer) partition(msg *sarama.ProducerMessage, partitions int32) (int32, error) {
	chosen, ok := msg.Metadata.(flow.ChosenPartition)
	if !ok {
		return p.partitioner(msg.Topic).Partition(msg, partitions)
	}
	if chosen < 0 || int32(chosen) >= partitions {
		return -1, fmt.Errorf("partition %d of %d: %w", int32(chosen), partitions, sarama.ErrInvalidPartition)
	}
	return int32(chosen), nil
}

func (p *Producer) partitioner(topic string) sarama.Partitioner {
	if p.partitioners[topic] == nil {
		p.partitioners[topic] = p.newPartitioner(topic)
	}
	return p.partitioners[topic]
}

// reportUnmet is the last thing in the line of messages.
func (p *Producer) reportUnmet() {
	p.mu.Lock()
	n := len(p.expectations) + len(p.txns.commits) + len(p.txns.aborts)
	p.mu.Unlock()
	if n > 0 {
		p.t.Errorf("Expected to exhaust all expectations, but %d are left.", n)
	}
}
