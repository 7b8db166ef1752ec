package mocks_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// reports collects what a mock tells its test.
type reports struct {
	mu   sync.Mutex
	text []string
}

func (r *reports) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, fmt.Sprintf(format, args...))
}

var (
	errRefused = errors.New("refused by the checker")
	errNoPlace = errors.New("no place for it")
	errBroken  = errors.New("can't be encoded")
)

// is makes a checker that takes one value only.
func is(value string) func([]byte) error {
	return func(got []byte) error {
		if string(got) != value {
			return errRefused
		}
		return nil
	}
}

// brokenEncoder fails, as a serializer may.
type brokenEncoder struct{}

func (brokenEncoder) Encode() ([]byte, error) { return nil, errBroken }
func (brokenEncoder) Length() int             { return 0 }

// fixed puts the topic "known" into partition 15, and nothing else anywhere.
type fixed struct{}

func (fixed) Partition(msg *sarama.ProducerMessage, _ int32) (int32, error) {
	if msg.Topic != "known" {
		return -1, errNoPlace
	}
	return 15, nil
}
func (fixed) RequiresConsistency() bool { return false }

// counting puts every message into the last partition that it is told of.
type counting struct{}

func (counting) Partition(_ *sarama.ProducerMessage, n int32) (int32, error) { return n - 1, nil }
func (counting) RequiresConsistency() bool                                   { return false }

func text(topic, value string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value)}
}

func partitionedBy(p sarama.Partitioner) *sarama.Config {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = func(string) sarama.Partitioner { return p }
	return config
}

func transactional() *sarama.Config {
	config := partitionedBy(counting{})
	config.Producer.Transaction.ID = "the-transaction"
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	return config
}

func invalid() *sarama.Config {
	config := sarama.NewConfig()
	config.ClientID = "spaces are not allowed here"
	config.Version = sarama.V0_11_0_2
	return config
}
