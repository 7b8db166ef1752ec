package txn

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// action is what an error code in an answer to InitProducerId asks of the producer.
type action uint8

const (
	giveUp     action = iota // refused
	askAgain                 // after a pause
	askAnother               // after a pause, and after finding the right broker (where any will do, the same as askAgain)
)

var actionNames = [...]string{"give up", "ask again", "ask another broker"}

func (a action) String() string { return actionNames[a] }

// actionFor is the table from Kafka's error codes to actions. Asked again is what Kafka calls retriable. Any other code,
// an unknown one too, is a refusal: it is not worth asking again at once.
func actionFor(code sarama.KError) action {
	switch code {
	case sarama.ErrConsumerCoordinatorNotAvailable, // COORDINATOR_NOT_AVAILABLE
		sarama.ErrNotCoordinatorForConsumer, // NOT_COORDINATOR
		sarama.ErrNotController,
		sarama.ErrBrokerNotAvailable,
		sarama.ErrNetworkException,
		sarama.ErrListenerNotFound,
		sarama.ErrKafkaStorageError, // KIP-112: this broker's disk
		sarama.ErrUnknown,           // whatever has happened to this broker
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

// Refuses tells whether an error holds a broker's code that it is no use to ask again for.
func Refuses(err error) bool {
	code, ok := errors.AsType[sarama.KError](err)
	return ok && actionFor(code) == giveUp
}

// ErrorOf is the error that an answer of any broker holds, or nil: to InitProducerId or FindCoordinator.
func ErrorOf(resp kmsg.Response) error {
	switch resp := resp.(type) {
	case *kmsg.FindCoordinatorResponse:
		return coordinatorError(resp)
	case *kmsg.InitProducerIDResponse:
		if resp.ErrorCode != 0 {
			return flow.External(sarama.KError(resp.ErrorCode))
		}
		return checkIdentity(resp)
	}
	return fmt.Errorf("InitProducerId or FindCoordinator answered with %T", resp)
}

// checkIdentity refuses an identity that can't be one: brokers give none below 0.
func checkIdentity(resp *kmsg.InitProducerIDResponse) error {
	if resp.ProducerID < 0 || resp.ProducerEpoch < 0 {
		return fmt.Errorf("InitProducerId answered with id %d, epoch %d", resp.ProducerID, resp.ProducerEpoch)
	}
	return nil
}

const noProducerIDs = "brokers of this age or kind know no idempotent producers: set Producer.Idempotent to false"

// refusalOf says what a failed try means. err joins what the brokers that were asked said.
//
// A refusal by one broker is final if no other one holds out hope: its error may be its own. That a broker does not have
// the request at all is final only if every broker that was asked said so, in its list of versions or with
// UNSUPPORTED_VERSION: they may be of mixed age.
func refusalOf(err error) *Refusal {
	var refused, missing, passing error
	unreachable := false
	for _, err := range joined(err) {
		var code sarama.KError
		var version *wire.VersionError
		switch {
		case errors.Is(err, sarama.ErrOutOfBrokers): // what begins the list
		case errors.As(err, &version) && version.TheirsMax < 0:
			missing = flow.External(fmt.Errorf("%w: %s (%w)", err, noProducerIDs, sarama.ErrUnsupportedVersion))
		case errors.Is(err, sarama.ErrUnsupportedVersion):
			missing = fmt.Errorf("InitProducerId: %w: %s", err, noProducerIDs)
		case errors.As(err, &code) && actionFor(code) == giveUp:
			refused = err
		case errors.As(err, &code):
			passing = err
		default:
			unreachable = true
		}
	}
	const format = "no producer id: %w"
	switch {
	case passing != nil:
		return &Refusal{Err: fmt.Errorf(format, passing)}
	case refused != nil:
		return &Refusal{Err: fmt.Errorf(format, refused), Final: true}
	case missing != nil && !unreachable:
		return &Refusal{Err: fmt.Errorf(format, missing), Final: true}
	}
	return &Refusal{Err: fmt.Errorf(format, flow.External(err))}
}

// joined is what errors.Join put together, if err or what it wraps is that.
func joined(err error) (all []error) {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if several, ok := e.(interface{ Unwrap() []error }); ok {
			for _, one := range several.Unwrap() {
				all = append(all, joined(one)...)
			}
			return all
		}
	}
	return []error{err}
}
