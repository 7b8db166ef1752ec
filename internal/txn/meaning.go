package txn

import (
	"slices"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answer is what became of a request to a coordinator.
type answer uint8

const (
	answerGranted answer = iota
	// answerRetry: the same request, after a pause.
	answerRetry
	// answerRetrySoon is again, after a short pause: the last transaction is still being ended (CONCURRENT_TRANSACTIONS).
	answerRetrySoon
	// answerLookUp: the same request to the coordinator that a look-up names; also if there was no answer at all.
	answerLookUp
	// answerAbortable: AbortTxn is what remains of the transaction (KIP-1050).
	answerAbortable
	// answerFatal: another instance has the transactional id, or the producer must not or can't have transactions.
	answerFatal
	// answerWrongState: the coordinator has no such transaction open.
	answerWrongState
)

var answerNames = [...]string{"granted", "again", "soon", "another", "abortable", "fatal", "wrong state"}

func (a answer) String() string { return answerNames[a] }

// Error codes without a name in sarama.
const (
	errTransactionAbortable sarama.KError = 120 // KIP-890
	errStaleMemberEpoch     sarama.KError = 113 // KIP-848
)

// abortableCodes are the codes after which the producer's epoch is as good as before: only the transaction has failed. Of the
// keys alone, or of every request without keys.
var abortableCodes = map[sarama.KError][]kmsg.Key{
	errTransactionAbortable: nil,
	// The broker has forgotten the producer id. With another epoch it takes it again (KIP-360).
	sarama.ErrUnknownProducerID: {kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.EndTxn},
	// About the partitions that were to be added.
	sarama.ErrTopicAuthorizationFailed: {kmsg.AddPartitionsToTxn, kmsg.TxnOffsetCommit},
	sarama.ErrOperationNotAttempted:    {kmsg.AddPartitionsToTxn},
	sarama.ErrInvalidTopic:             {kmsg.AddPartitionsToTxn},
	// About the group, its member, or the offsets (KIP-447, KIP-848).
	sarama.ErrGroupAuthorizationFailed: {kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.FindCoordinator},
	sarama.ErrIllegalGeneration:        {kmsg.TxnOffsetCommit},
	sarama.ErrUnknownMemberId:          {kmsg.TxnOffsetCommit},
	sarama.ErrFencedInstancedId:        {kmsg.TxnOffsetCommit},
	errStaleMemberEpoch:                {kmsg.TxnOffsetCommit},
	sarama.ErrInvalidGroupId:           {kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.FindCoordinator},
	sarama.ErrGroupIDNotFound:          {kmsg.TxnOffsetCommit},
	sarama.ErrOffsetMetadataTooLarge:   {kmsg.TxnOffsetCommit},
	sarama.ErrInvalidCommitOffsetSize:  {kmsg.TxnOffsetCommit},
}

// meaningOf is the table of error codes of the requests to coordinators. What Kafka calls retriable is asked again. Whatever
// else is not in the table is fatal, as in sarama: PRODUCER_FENCED, INVALID_PRODUCER_EPOCH, INVALID_PRODUCER_ID_MAPPING,
// TRANSACTIONAL_ID_AUTHORIZATION_FAILED, UNSUPPORTED_FOR_MESSAGE_FORMAT.
func meaningOf(key kmsg.Key, code sarama.KError) answer {
	switch code {
	case sarama.ErrNoError:
		return answerGranted
	case sarama.ErrConcurrentTransactions:
		return answerRetrySoon
	case sarama.ErrOffsetsLoadInProgress: // COORDINATOR_LOAD_IN_PROGRESS: it may be moving on
		return answerLookUp
	case sarama.ErrInvalidTxnState:
		if key == kmsg.EndTxn {
			return answerWrongState
		}
	}
	switch actionFor(code) {
	case askAgain:
		return answerRetry
	case askAnother:
		return answerLookUp
	}
	if keys, ok := abortableCodes[code]; ok && (keys == nil || slices.Contains(keys, key)) {
		return answerAbortable
	}
	return answerFatal
}

// fatalToMessages are the codes of Produce that end a transactional producer. After any other failure of a message the
// transaction can be aborted, and AbortTxn learns from the coordinator whether the producer was fenced: a partition's leader
// may answer INVALID_PRODUCER_EPOCH also after the coordinator has aborted a transaction that took too long (KIP-588).
var fatalToMessages = map[sarama.KError]bool{
	sarama.ErrProducerFenced:                     true,
	sarama.ErrInvalidProducerIDMapping:           true,
	sarama.ErrTransactionalIDAuthorizationFailed: true,
	sarama.ErrClusterAuthorizationFailed:         true,
	sarama.ErrUnsupportedForMessageFormat:        true,
	sarama.ErrUnsupportedVersion:                 true,
}
