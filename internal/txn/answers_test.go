package txn

import (
	"errors"
	"fmt"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/wire"
)

func TestActionFor(t *testing.T) {
	for _, line := range []struct {
		code int16
		name string
		want action
	}{
		{-1, "UNKNOWN_SERVER_ERROR", askAnother},
		{2, "CORRUPT_MESSAGE", askAgain},
		{3, "UNKNOWN_TOPIC_OR_PARTITION", askAnother},
		{5, "LEADER_NOT_AVAILABLE", askAnother},
		{6, "NOT_LEADER_OR_FOLLOWER", askAnother},
		{7, "REQUEST_TIMED_OUT", askAgain},
		{8, "BROKER_NOT_AVAILABLE", askAnother},
		{9, "REPLICA_NOT_AVAILABLE", askAnother},
		{13, "NETWORK_EXCEPTION", askAnother},
		{14, "COORDINATOR_LOAD_IN_PROGRESS", askAgain},
		{15, "COORDINATOR_NOT_AVAILABLE", askAnother},
		{16, "NOT_COORDINATOR", askAnother},
		{19, "NOT_ENOUGH_REPLICAS", askAgain},
		{20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", askAgain},
		{31, "CLUSTER_AUTHORIZATION_FAILED", giveUp},
		{35, "UNSUPPORTED_VERSION", giveUp},
		{41, "NOT_CONTROLLER", askAnother},
		{42, "INVALID_REQUEST", giveUp},
		{47, "INVALID_PRODUCER_EPOCH", giveUp}, // another producer has taken over (KIP-588)
		{48, "INVALID_TXN_STATE", giveUp},
		{49, "INVALID_PRODUCER_ID_MAPPING", giveUp},
		{50, "INVALID_TRANSACTION_TIMEOUT", giveUp},
		{51, "CONCURRENT_TRANSACTIONS", askAgain},
		{53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", giveUp},
		{56, "KAFKA_STORAGE_ERROR", askAnother},
		{58, "SASL_AUTHENTICATION_FAILED", giveUp},
		{59, "UNKNOWN_PRODUCER_ID", giveUp},
		{72, "LISTENER_NOT_FOUND", askAnother},
		{74, "FENCED_LEADER_EPOCH", askAnother},
		{75, "UNKNOWN_LEADER_EPOCH", askAnother},
		{89, "THROTTLING_QUOTA_EXCEEDED", askAgain},
		{90, "PRODUCER_FENCED", giveUp},
		{120, "TRANSACTION_ABORTABLE", giveUp},
		{9999, "a code of the future", giveUp},
	} {
		if got := actionFor(sarama.KError(line.code)); got != line.want {
			t.Errorf("%s: %v, want %v", line.name, got, line.want)
		}
	}
}

// What brokers say together. One broker's own trouble is no refusal while another one may grant an id.
func TestRefusalOf(t *testing.T) {
	code := func(code sarama.KError) error { return fmt.Errorf("broker b: %w", code) }
	missing := fmt.Errorf("broker b: %w", &wire.VersionError{Addr: "b", Key: 22, TheirsMin: -1, TheirsMax: -1})
	unreachable := errors.New("connection refused")
	for name, line := range map[string]struct {
		errs  []error
		final bool
		wants error
	}{
		"refused":                       {[]error{code(sarama.ErrClusterAuthorizationFailed)}, true, sarama.ErrClusterAuthorizationFailed},
		"refused, and unreachable":      {[]error{code(sarama.ErrClusterAuthorizationFailed), unreachable}, true, sarama.ErrClusterAuthorizationFailed},
		"refused, and a passing one":    {[]error{code(sarama.ErrClusterAuthorizationFailed), code(sarama.ErrUnknown)}, false, sarama.ErrUnknown},
		"passing, and unreachable":      {[]error{unreachable, code(sarama.ErrOffsetsLoadInProgress)}, false, sarama.ErrOffsetsLoadInProgress},
		"unreachable":                   {[]error{unreachable, unreachable}, false, unreachable},
		"no request":                    {[]error{missing, missing}, true, sarama.ErrUnsupportedVersion},
		"no request, as an answer":      {[]error{missing, code(sarama.ErrUnsupportedVersion)}, true, sarama.ErrUnsupportedVersion},
		"as an answer, and unreachable": {[]error{code(sarama.ErrUnsupportedVersion), unreachable}, false, unreachable},
		"no request, and unreachable":   {[]error{missing, unreachable}, false, unreachable},
		"no request, and passing":       {[]error{missing, code(sarama.ErrUnknown)}, false, sarama.ErrUnknown},
	} {
		joined := errors.Join(append([]error{sarama.ErrOutOfBrokers}, line.errs...)...)
		if r := refusalOf(fmt.Errorf("asking: %w", joined)); r.Final != line.final || !errors.Is(r.Err, line.wants) {
			t.Errorf("%s: final %v, %v", name, r.Final, r.Err)
		}
	}
	if r := refusalOf(code(sarama.ErrClusterAuthorizationFailed)); !r.Final {
		t.Error("a single error is judged as well")
	}
}
