package brokerproducer

import (
	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/metadata"
)

// Meaning is what an error code of Produce means to its batch.
type Meaning uint8

const (
	// Fatal to this batch alone. Codes that are not in the table are fatal.
	Fatal Meaning = iota
	// Delivered: the batch is in the log.
	Delivered
	// Duplicate: the batch was in the log already. The broker does not return its offset (KIP-98).
	Duplicate
	// Retry at the same leader, after the back-off. The leader is looked up beside it, but not waited for.
	Retry
	// RetryFew is Retry, but few times: the batch itself may be the cause, and others wait behind it.
	RetryFew
	// Refresh: look up the leader, then retry.
	Refresh
	// Split the batch, if it has several records (KIP-126).
	Split
	// Wait is Retry after a short pause, however often: nothing has failed.
	Wait
	// LostSequence: the batch does not follow what the broker knows of this producer (KIP-360).
	LostSequence
	// LostIdentity is LostSequence where a higher epoch does not help: the broker wants another producer id.
	LostIdentity
)

var meaningNames = [...]string{
	Fatal: "fatal", Delivered: "delivered", Duplicate: "duplicate", Retry: "retry", RetryFew: "retry a few times",
	Refresh: "refresh", Split: "split", Wait: "wait", LostSequence: "lost sequence", LostIdentity: "lost identity",
}

// Retriable tells whether a later attempt may get another answer.
func (m Meaning) Retriable() bool { return m == Retry || m == RetryFew || m == Refresh || m == Wait }

func (m Meaning) String() string { return meaningNames[m] }

// fewRetries is how often a batch with a RetryFew code is sent again, whatever Producer.Retry.Max allows.
const fewRetries = 3

// Error codes without a name in sarama, beside metadata.ErrRebootstrapRequired.
const (
	errUnknownTopicID      sarama.KError = 100 // KIP-516
	errInconsistentTopicID sarama.KError = 103 // KIP-516
)

// unsureWhen says when a batch that got an error may be in the log all the same.
type unsureWhen uint8

const (
	never   unsureWhen = iota
	acksAll            // with acks=all only
	always
)

// produceCodes is the table of error codes of Produce.
//
// All that the Java client retries is Retry, RetryFew or Refresh; its InvalidMetadataException is Refresh.
// UNKNOWN_SERVER_ERROR and REBOOTSTRAP_REQUIRED are retried besides.
//
// A broker checks a batch before it appends it, so most codes mean that nothing was written. Two kinds don't. With
// acks=all the broker waits for the replicas after the append, looks at the partition again, and answers what it finds
// then. And what fails within the append may have failed after the bytes were in the file.
var produceCodes = map[sarama.KError]struct {
	meaning Meaning
	unsure  unsureWhen
}{
	sarama.ErrNoError:                 {Delivered, never},
	sarama.ErrDuplicateSequenceNumber: {Duplicate, never},

	// While the broker waited for the replicas, the topic was deleted, or the partition or its leadership moved away.
	// With acks=1 nothing comes after the append.
	sarama.ErrUnknownTopicOrPartition: {Refresh, acksAll},
	errUnknownTopicID:                 {Refresh, acksAll},
	errInconsistentTopicID:            {Refresh, acksAll},
	sarama.ErrNotLeaderForPartition:   {Refresh, acksAll},
	// KIP-112: the disk failed, maybe in the flush or the roll behind the write; or while the broker waited.
	sarama.ErrKafkaStorageError: {Refresh, always},
	// Whatever else was thrown, before the append or after it. Some batches cause it every time.
	sarama.ErrUnknown: {RetryFew, always},
	// Not Kafka's own answer: something between has lost the broker's.
	sarama.ErrNetworkException: {Refresh, always},
	// By their names after the append.
	sarama.ErrRequestTimedOut:              {Retry, always},
	sarama.ErrNotEnoughReplicasAfterAppend: {Retry, always},

	// Before the append, where Produce answers them at all: there is no such leader here.
	sarama.ErrLeaderNotAvailable:    {Refresh, never},
	sarama.ErrReplicaNotAvailable:   {Refresh, never},
	sarama.ErrListenerNotFound:      {Refresh, never},
	sarama.ErrFencedLeaderEpoch:     {Refresh, never}, // KIP-320
	sarama.ErrUnknownLeaderEpoch:    {Refresh, never}, // KIP-320
	sarama.ErrBrokerNotAvailable:    {Refresh, never},
	metadata.ErrRebootstrapRequired: {Refresh, never}, // KIP-1102

	// The checks before the append: the batch, the replicas, the quota.
	sarama.ErrInvalidMessage:          {RetryFew, never}, // CORRUPT_MESSAGE: damaged on its way, or poison
	sarama.ErrNotEnoughReplicas:       {Retry, never},
	sarama.ErrThrottlingQuotaExceeded: {Retry, never},
	// A coordinator that is not ready; a transaction's partition is added before the append (KIP-890).
	sarama.ErrOffsetsLoadInProgress:           {Retry, never},
	sarama.ErrConsumerCoordinatorNotAvailable: {Retry, never},
	sarama.ErrNotCoordinatorForConsumer:       {Retry, never},
	sarama.ErrNotController:                   {Retry, never},
	sarama.ErrConcurrentTransactions:          {Wait, never}, // KIP-890: the last transaction is still being ended

	sarama.ErrMessageSizeTooLarge:    {Split, never}, // above max.message.bytes
	sarama.ErrMessageSetSizeTooLarge: {Split, never}, // RECORD_LIST_TOO_LARGE: above segment.bytes

	// The check of sequence numbers comes before the append.
	sarama.ErrOutOfOrderSequenceNumber: {LostSequence, never},
	sarama.ErrUnknownProducerID:        {LostSequence, never},
	// The broker knows a later epoch of this producer id, or takes no epoch that it has not given out itself.
	sarama.ErrInvalidProducerEpoch:     {LostIdentity, never},
	sarama.ErrProducerFenced:           {LostIdentity, never}, // KIP-588
	sarama.ErrInvalidProducerIDMapping: {LostIdentity, never},
}

// MeaningOf is what the table says of an error code.
func MeaningOf(code sarama.KError) Meaning { return produceCodes[code].meaning }

// Unsure tells whether a batch that got this code may be in the log all the same.
func Unsure(code sarama.KError, acks sarama.RequiredAcks) bool {
	when := produceCodes[code].unsure
	return when == always || when == acksAll && acks == sarama.WaitForAll
}
