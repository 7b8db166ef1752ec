package brokerproducer

import (
	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/metadata"
)

// Fate is what an answer's error code decides for a batch.
type Fate uint8

const (
	// Delivered: the batch is in the log.
	Delivered Fate = iota
	// Duplicate: the batch is in the log already; its offset is not told (KIP-98).
	Duplicate
	// Retry the batch at the same leader, after the back-off.
	Retry
	// Refresh: look the leader up, then retry.
	Refresh
	// Split the batch, if it has several records (KIP-126).
	Split
	// LostSequence: the broker's state of this producer does not continue with this batch (KIP-360).
	LostSequence
	// Fatal to this batch alone.
	Fatal
	// FatalProducer: nothing that follows can be written under this identity either.
	FatalProducer
)

var fateNames = [...]string{"delivered", "duplicate", "retry", "refresh", "split", "lost sequence", "fatal", "fatal to the producer"}

// Retriable tells whether what got this answer may get another one later.
func (f Fate) Retriable() bool { return f == Retry || f == Refresh }

func (f Fate) String() string { return fateNames[f] }

// The error codes that sarama has no name for, beside metadata.ErrRebootstrapRequired.
const (
	errUnknownTopicID       sarama.KError = 100 // KIP-516
	errInconsistentTopicID  sarama.KError = 103 // KIP-516
	errTransactionAbortable sarama.KError = 120 // KIP-890
)

// FateOf is the table from Kafka's error codes to fates, for answers to Produce; answers to InitProducerId are judged by
// it too. Retriable are those that the Java client's RetriableException covers; with a refresh those under
// InvalidMetadataException.
func FateOf(code sarama.KError) Fate {
	switch code {
	case sarama.ErrNoError:
		return Delivered
	case sarama.ErrDuplicateSequenceNumber:
		return Duplicate
	case sarama.ErrUnknownTopicOrPartition, // a leader that has not heard of a new topic yet, or a deleted one
		sarama.ErrLeaderNotAvailable,
		sarama.ErrNotLeaderForPartition,
		sarama.ErrReplicaNotAvailable,
		sarama.ErrNetworkException,
		sarama.ErrKafkaStorageError, // KIP-112: another replica's disk will do
		sarama.ErrListenerNotFound,
		sarama.ErrFencedLeaderEpoch, // KIP-320
		sarama.ErrUnknownLeaderEpoch,
		sarama.ErrBrokerNotAvailable,
		metadata.ErrRebootstrapRequired,
		errUnknownTopicID,
		errInconsistentTopicID:
		return Refresh
	case sarama.ErrInvalidMessage, // CORRUPT_MESSAGE: damaged on its way
		sarama.ErrRequestTimedOut,
		sarama.ErrOffsetsLoadInProgress, // and the next three: who gives producer ids is not ready yet
		sarama.ErrConsumerCoordinatorNotAvailable,
		sarama.ErrNotCoordinatorForConsumer,
		sarama.ErrNotController,
		sarama.ErrNotEnoughReplicas,
		sarama.ErrNotEnoughReplicasAfterAppend,
		sarama.ErrConcurrentTransactions, // KIP-890: the earlier transaction is still being ended
		sarama.ErrThrottlingQuotaExceeded:
		return Retry
	case sarama.ErrMessageSizeTooLarge:
		return Split
	case sarama.ErrOutOfOrderSequenceNumber, sarama.ErrUnknownProducerID, sarama.ErrInvalidProducerEpoch:
		return LostSequence
	case sarama.ErrProducerFenced,
		sarama.ErrTransactionalIDAuthorizationFailed,
		sarama.ErrInvalidProducerIDMapping,
		sarama.ErrInvalidTxnState,
		errTransactionAbortable:
		return FatalProducer
	default:
		return Fatal
	}
}

// Unsure tells whether a batch that was answered with this code may be in the log all the same.
func Unsure(code sarama.KError, acks sarama.RequiredAcks) bool {
	switch code {
	case sarama.ErrRequestTimedOut, sarama.ErrNotEnoughReplicasAfterAppend:
		return true
	case sarama.ErrNotLeaderForPartition:
		// With acks=all the leader may have appended it and lost the leadership while it waited for the replicas.
		return acks == sarama.WaitForAll
	default:
		return false
	}
}
