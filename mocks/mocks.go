// Package mocks tests programs that produce with Sluice, without a Kafka.
//
// [New] returns a mock of *sluice.Producer. A test says beforehand what shall become of each message, and hears through
// its t of every message that it did not expect and of every expectation that was not met.
//
// [NewAsyncProducer], [NewSyncProducer] and the consumer's mocks are those of github.com/IBM/sarama/mocks, under the
// same names: a test that uses sarama's mocks may import either package, and sees the same. They suit programs that
// produce through sarama's interfaces, which is what sluice.NewAsyncProducer and sluice.NewSyncProducer return.
//
// [NewCluster], or [StartCluster] where there is no test, is the other way: a cluster within the process that speaks the
// protocol, for a program together with the real producer. Its transactions can fail as Kafka's do.
package mocks

import (
	"github.com/IBM/sarama"
	saramamocks "github.com/IBM/sarama/mocks"
)

type (
	// AsyncProducer is sarama's mock of a sarama.AsyncProducer. Other than the real one it closes Input when a close
	// begins, a message that a checker refuses has two outcomes, and one without an expectation has none. A message outside
	// a transaction hangs it.
	AsyncProducer = saramamocks.AsyncProducer

	// SyncProducer is sarama's mock of a sarama.SyncProducer. Other than the real one its SendMessages ends at the first
	// message that fails, and returns that message's error.
	SyncProducer = saramamocks.SyncProducer

	// Consumer is sarama's mock of a sarama.Consumer.
	Consumer = saramamocks.Consumer

	// PartitionConsumer is sarama's mock of a sarama.PartitionConsumer.
	PartitionConsumer = saramamocks.PartitionConsumer

	// TopicConfig says how many partitions a mock of sarama's sees.
	TopicConfig = saramamocks.TopicConfig

	// ErrorReporter is the part of *testing.T that the mocks report to.
	ErrorReporter = saramamocks.ErrorReporter

	// ValueChecker looks at a message's encoded value. Its error fails the test and the message.
	ValueChecker = saramamocks.ValueChecker

	// MessageChecker looks at a message, which has its partition by then. Its error fails the test and the message.
	MessageChecker = saramamocks.MessageChecker
)

// AnyOffset lets an expectation of a Consumer match every offset.
const AnyOffset = saramamocks.AnyOffset

// NewAsyncProducer is NewAsyncProducer of sarama's mocks.
func NewAsyncProducer(t ErrorReporter, config *sarama.Config) *AsyncProducer {
	return saramamocks.NewAsyncProducer(t, config)
}

// NewSyncProducer is NewSyncProducer of sarama's mocks.
func NewSyncProducer(t ErrorReporter, config *sarama.Config) *SyncProducer {
	return saramamocks.NewSyncProducer(t, config)
}

// NewConsumer is NewConsumer of sarama's mocks.
func NewConsumer(t ErrorReporter, config *sarama.Config) *Consumer {
	return saramamocks.NewConsumer(t, config)
}

// NewTopicConfig returns a TopicConfig of 32 partitions for every topic.
func NewTopicConfig() *TopicConfig { return saramamocks.NewTopicConfig() }

// NewTestConfig returns sarama's configuration for tests: no back-off, and the oldest version that sarama knows. All
// mocks take it. A real producer refuses so old a version: [Cluster.Config] has one for it.
func NewTestConfig() *sarama.Config { return saramamocks.NewTestConfig() }
