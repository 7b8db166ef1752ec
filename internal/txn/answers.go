package txn

import "github.com/IBM/sarama"

// action is what an error code in an answer to InitProducerId asks of the producer.
type action uint8

const (
	giveUp     action = iota // refused for good
	askAgain                 // after a pause
	askAnother               // after a pause, and after finding the right broker (where any will do, the same as askAgain)
)

var actionNames = [...]string{"give up", "ask again", "ask another broker"}

func (a action) String() string { return actionNames[a] }

// actionFor is the table from Kafka's error codes to actions. Asked again is what Kafka calls retriable. Any other code,
// an unknown one too, is a refusal: no producer id will ever come.
func actionFor(code sarama.KError) action {
	switch code {
	case sarama.ErrConsumerCoordinatorNotAvailable, // COORDINATOR_NOT_AVAILABLE
		sarama.ErrNotCoordinatorForConsumer, // NOT_COORDINATOR
		sarama.ErrNotController,
		sarama.ErrBrokerNotAvailable,
		sarama.ErrNetworkException,
		sarama.ErrListenerNotFound,
		sarama.ErrKafkaStorageError, // KIP-112: this broker's disk
		// The state of transactions is itself a partition, whose leader may have moved.
		sarama.ErrUnknownTopicOrPartition,
		sarama.ErrLeaderNotAvailable,
		sarama.ErrNotLeaderForPartition,
		sarama.ErrReplicaNotAvailable,
		sarama.ErrFencedLeaderEpoch,
		sarama.ErrUnknownLeaderEpoch:
		return askAnother
	case sarama.ErrOffsetsLoadInProgress, // COORDINATOR_LOAD_IN_PROGRESS; also a broker that waits for new ids (KIP-730)
		sarama.ErrConcurrentTransactions, // the earlier transaction is still being ended
		sarama.ErrInvalidMessage,         // CORRUPT_MESSAGE
		sarama.ErrRequestTimedOut,
		sarama.ErrNotEnoughReplicas,
		sarama.ErrNotEnoughReplicasAfterAppend,
		sarama.ErrThrottlingQuotaExceeded:
		return askAgain
	default:
		return giveUp
	}
}
