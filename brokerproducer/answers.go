package brokerproducer

import (
	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/metadata"
)

// Fate is what an error code of Produce means for its batch.
type Fate uint8

const (
	// Fatal to this batch alone. Codes that are not in the table are fatal.
	Fatal Fate = iota
	// FatalProducer: nothing that follows can be written under this identity either.
	FatalProducer
	// Delivered: the batch is in the log.
	Delivered
	// Duplicate: the batch was in the log already. The broker does not return its offset (KIP-98).
	Duplicate
	// Retry at the same leader, after the back-off. The leader is looked up beside it, but not waited for.
	Retry
	// Refresh: look up the leader, then retry.
	Refresh
	// Split the batch, if it has several records (KIP-126).
	Split
	// LostSequence: the batch does not follow what the broker knows of this producer (KIP-360).
	LostSequence
)

var fateNames = [...]string{
	Fatal: "fatal", FatalProducer: "fatal to the producer", Delivered: "delivered", Duplicate: "duplicate",
	Retry: "retry", Refresh: "refresh", Split: "split", LostSequence: "lost sequence",
}

// Retriable tells whether a later attempt may get another answer.
func (f Fate) Retriable() bool { return f == Retry || f == Refresh }

func (f Fate) String() string { return fateNames[f] }

// Error codes without a name in sarama, beside metadata.ErrRebootstrapRequired.
const (
	errUnknownTopicID       sarama.KError = 100 // KIP-516
	errInconsistentTopicID  sarama.KError = 103 // KIP-516
	errTransactionAbortable sarama.KError = 120 // KIP-890
)

// unsureWhen says when a batch that got an error may be in the log all the same.
type unsureWhen uint8

const (
	never   unsureWhen = iota
	acksAll            // with acks=all only
	always
)

// produceCodes is the table of error codes of Produce. Answers to InitProducerId are judged by it too.
//
// Retry and Refresh are what the Java client's RetriableException covers; Refresh is its InvalidMetadataException.
var produceCodes = map[sarama.KError]struct {
	fate   Fate
	unsure unsureWhen
}{
	sarama.ErrNoError:                 {Delivered, never},
	sarama.ErrDuplicateSequenceNumber: {Duplicate, never},

	sarama.ErrUnknownTopicOrPartition: {Refresh, never}, // the topic is deleted, or too new for this broker to know
	sarama.ErrLeaderNotAvailable:      {Refresh, never},
	// With acks=all the leader may have appended the batch and lost its leadership while it waited for the replicas.
	sarama.ErrNotLeaderForPartition: {Refresh, acksAll},
	sarama.ErrReplicaNotAvailable:   {Refresh, never},
	sarama.ErrNetworkException:      {Refresh, never},
	sarama.ErrKafkaStorageError:     {Refresh, never}, // KIP-112: another replica's disk may be fine
	sarama.ErrListenerNotFound:      {Refresh, never},
	sarama.ErrFencedLeaderEpoch:     {Refresh, never}, // KIP-320
	sarama.ErrUnknownLeaderEpoch:    {Refresh, never},
	sarama.ErrBrokerNotAvailable:    {Refresh, never},
	metadata.ErrRebootstrapRequired: {Refresh, never},
	errUnknownTopicID:               {Refresh, never},
	errInconsistentTopicID:          {Refresh, never},

	sarama.ErrInvalidMessage:               {Retry, never}, // CORRUPT_MESSAGE: damaged on its way
	sarama.ErrRequestTimedOut:              {Retry, always},
	sarama.ErrNotEnoughReplicas:            {Retry, never},
	sarama.ErrNotEnoughReplicasAfterAppend: {Retry, always},
	sarama.ErrThrottlingQuotaExceeded:      {Retry, never},
	// The coordinator that gives out producer ids is not ready yet.
	sarama.ErrOffsetsLoadInProgress:           {Retry, never},
	sarama.ErrConsumerCoordinatorNotAvailable: {Retry, never},
	sarama.ErrNotCoordinatorForConsumer:       {Retry, never},
	sarama.ErrNotController:                   {Retry, never},
	sarama.ErrConcurrentTransactions:          {Retry, never}, // KIP-890: the last transaction is still being ended

	sarama.ErrMessageSizeTooLarge: {Split, never},

	sarama.ErrOutOfOrderSequenceNumber: {LostSequence, never},
	sarama.ErrUnknownProducerID:        {LostSequence, never},
	sarama.ErrInvalidProducerEpoch:     {LostSequence, never},

	sarama.ErrProducerFenced:                     {FatalProducer, never},
	sarama.ErrTransactionalIDAuthorizationFailed: {FatalProducer, never},
	sarama.ErrInvalidProducerIDMapping:           {FatalProducer, never},
	sarama.ErrInvalidTxnState:                    {FatalProducer, never},
	errTransactionAbortable:                      {FatalProducer, never},
}

// FateOf is what the table says of an error code.
func FateOf(code sarama.KError) Fate { return produceCodes[code].fate }

// Unsure tells whether a batch that got this code may be in the log all the same.
func Unsure(code sarama.KError, acks sarama.RequiredAcks) bool {
	when := produceCodes[code].unsure
	return when == always || when == acksAll && acks == sarama.WaitForAll
}
