// Package mocks tests programs that produce with Sluice, without a Kafka.
//
// [NewAsyncProducer] and [NewSyncProducer] return producers that send nothing: a test says beforehand what shall become
// of each message, and hears through its t of every message that it did not expect and of every expectation that was
// not met. They have the API of github.com/IBM/sarama/mocks and satisfy Sluice's interfaces, so a test that uses
// sarama's mocks changes one import.
//
// [NewCluster] is the other way: a cluster within the test's process that speaks the protocol, for tests of a program
// together with the real producer.
//
// What does not depend on the producer (the consumer's mocks, the types of checkers and reporters) is sarama's own,
// under the same name, so that a helper written for sarama's mocks takes ours and the other way round. TopicConfig
// can't be: what it holds is not readable from outside sarama's package.
package mocks

import (
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"

	"github.com/IBM/sarama"
	saramamocks "github.com/IBM/sarama/mocks"
)

type (
	// ErrorReporter is the part of *testing.T that the mocks report to. Reports of one mock come one at a time.
	ErrorReporter = saramamocks.ErrorReporter

	// ValueChecker looks at a message's encoded value: nil for a message without one. An error fails the test, and is
	// the message's outcome in place of what the expectation says.
	ValueChecker = saramamocks.ValueChecker

	// MessageChecker is a ValueChecker for the whole message, which has its partition by then.
	MessageChecker = saramamocks.MessageChecker

	// Consumer is sarama's mock of a consumer.
	Consumer = saramamocks.Consumer

	// PartitionConsumer is sarama's mock of a partition's consumer.
	PartitionConsumer = saramamocks.PartitionConsumer
)

// AnyOffset lets an expectation of a Consumer match every offset.
const AnyOffset = saramamocks.AnyOffset

var (
	// ErrOutOfExpectations is the outcome of a message that comes when no expectation is left. It is reported, too.
	ErrOutOfExpectations = errors.New("mocks: no expectation is left for this message")

	// ErrNotInTransaction is the outcome of a message that a transactional mock gets outside a transaction. It is
	// reported, too, and uses up no expectation.
	ErrNotInTransaction = errors.New("mocks: message sent outside a transaction")

	errNilMessage = errors.New("mocks: message is nil")
)

// NewConsumer returns sarama's mock of a consumer.
func NewConsumer(t ErrorReporter, config *sarama.Config) *Consumer {
	return saramamocks.NewConsumer(t, config)
}

// NewTestConfig returns the configuration that sarama's mocks offer for tests: no back-off, and the oldest version
// that sarama knows. The mocks take it; a real producer refuses so old a version, see [Cluster.Config] for one.
func NewTestConfig() *sarama.Config {
	return saramamocks.NewTestConfig()
}

// TopicConfig says how many partitions the mock's partitioners see: 32 for each topic unless told otherwise. Its
// methods may be called concurrently, and apply to messages that come after the call.
type TopicConfig struct {
	mu        sync.Mutex
	byTopic   map[string]int32
	otherwise int32
}

// NewTopicConfig returns a TopicConfig of 32 partitions for every topic.
func NewTopicConfig() *TopicConfig {
	return &TopicConfig{otherwise: 32}
}

// SetDefaultPartitions sets the number of partitions of each topic that SetPartitions has not named.
func (c *TopicConfig) SetDefaultPartitions(n int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.otherwise = n
}

// SetPartitions sets the number of partitions of the topics in the map, and leaves other topics as they are. The map
// remains the caller's.
func (c *TopicConfig) SetPartitions(partitions map[string]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byTopic == nil {
		c.byTopic = make(map[string]int32, len(partitions))
	}
	maps.Copy(c.byTopic, partitions)
}

func (c *TopicConfig) partitions(topic string) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.byTopic[topic]; ok {
		return n
	}
	return c.otherwise
}

// expectation is what shall become of one message: check comes first, and its error wins over result.
type expectation struct {
	check  MessageChecker
	result error
}

// verdict is what became of a message.
type verdict struct {
	err error
	// report is what the test shall hear; empty if it expected the message.
	report string
}

// unexpected is the verdict on a message that the test did not expect so.
func unexpected(err error, report string, args ...any) verdict {
	return verdict{err: err, report: fmt.Sprintf(report, args...)}
}

// reporter hands the reports of one mock to its t, one at a time: t need not be safe for concurrent use.
type reporter struct {
	mu sync.Mutex
	t  ErrorReporter
}

func (r *reporter) errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.Errorf(format, args...)
}

// tell reports a verdict, if there is anything to report.
func (r *reporter) tell(v verdict) {
	if v.report != "" {
		r.errorf("%s", v.report)
	}
}

// unmet reports expectations that no message came for.
func (r *reporter) unmet(n int) {
	if n > 0 {
		r.errorf("mock producer closed with %d expectations that no message came for", n)
	}
}

// usable returns the configuration that a mock works with: sarama's defaults for nil. What sarama finds wrong in it is
// reported, and the mock works on.
func usable(r *reporter, config *sarama.Config) *sarama.Config {
	if config == nil {
		return sarama.NewConfig()
	}
	if err := config.Validate(); err != nil {
		r.errorf("mock producer got an invalid configuration: %v", err)
	}
	return config
}

// partitioners are one mock's, made on first use of a topic. Partitioners are not safe for concurrent use; one
// goroutine at a time may call partition.
type partitioners struct {
	make    sarama.PartitionerConstructor
	byTopic map[string]sarama.Partitioner
}

func (p *partitioners) partition(msg *sarama.ProducerMessage, n int32) (partition int32, err error) {
	err = protect("partitioner", func() error {
		of, ok := p.byTopic[msg.Topic]
		if !ok {
			of = p.make(msg.Topic)
			p.byTopic[msg.Topic] = of
		}
		partition, err = of.Partition(msg, n)
		return err
	})
	return partition, err
}

// valueChecker makes a MessageChecker of a ValueChecker. A value that can't be encoded fails the check; a message
// without a value, a tombstone, is checked with nil.
func valueChecker(check ValueChecker) MessageChecker {
	if check == nil {
		return nil
	}
	return func(msg *sarama.ProducerMessage) error {
		if msg.Value == nil {
			return check(nil)
		}
		value, err := msg.Value.Encode()
		if err != nil {
			return fmt.Errorf("mocks: encoding the value of a message to topic %q: %w", msg.Topic, err)
		}
		return check(value)
	}
}

// protect runs the user's code; a panic becomes an error that holds the stack.
func protect(what string, f func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case error:
			err = fmt.Errorf("mocks: %s panicked: %w\n%s", what, r, debug.Stack())
		default:
			err = fmt.Errorf("mocks: %s panicked: %v\n%s", what, r, debug.Stack())
		}
	}()
	return f()
}

// isolate is protect for code that may also end its goroutine, as t.FailNow in a checker does: it gets a goroutine of
// its own, so that the mock's own survive.
func isolate(what string, f func() error) error {
	err := fmt.Errorf("mocks: %s ended its goroutine, as FailNow does", what)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = protect(what, f)
	}()
	<-done
	return err
}
