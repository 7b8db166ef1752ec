package causes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/eapache/go-resiliency/breaker"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOf(t *testing.T) {
	expired := func(cause error) error { return flow.Expired(time.Second, cause) }
	for _, test := range []struct {
		err  error
		want stats.Cause
	}{
		{expired(nil), stats.DeliveryTimeout},
		{expired(sarama.ErrNotLeaderForPartition), stats.DeliveryTimeout},
		{flow.Unknown(expired(io.EOF)), stats.DeliveryTimeout},
		{flow.External(sarama.ErrMessageSizeTooLarge), stats.TooLarge},
		{flow.Errorf("a message: %w: %w", sarama.ErrMessageSizeTooLarge, flow.External(sarama.ConfigurationError("too large"))), stats.TooLarge},
		{flow.Errorf("%w: %w", flow.ErrBufferFull, flow.External(sarama.ErrMessageSizeTooLarge)), stats.TooLarge},
		{sarama.ErrMessageSetSizeTooLarge, stats.TooLarge},
		{flow.Errorf("%w: %w", flow.ErrBufferFull, context.DeadlineExceeded), stats.BufferFull},
		{flow.Errorf("a message without a topic: %w", flow.External(sarama.ErrInvalidTopic)), stats.Invalid},
		{flow.Invalid(flow.Errorf("encoding: %w", flow.External(sarama.ErrNotLeaderForPartition))), stats.Invalid}, // what the user's code returns
		{flow.PartitionError("t", 0, flow.Invalid(errors.New("x")), false), stats.Invalid},
		{sarama.ConfigurationError("x"), stats.Invalid},
		{flow.External(sarama.ErrUnknownTopicOrPartition), stats.UnknownTopic},
		{flow.External(sarama.KError(100)), stats.UnknownTopic},
		{flow.External(sarama.KError(103)), stats.UnknownTopic},
		{flow.Errorf("partition 7 of 3: %w", flow.External(sarama.ErrInvalidPartition)), stats.UnknownTopic},
		{sarama.ErrOutOfBrokers, stats.Unavailable},
		{errors.Join(sarama.ErrOutOfBrokers, sarama.ErrUnknownTopicOrPartition), stats.Unavailable},
		{fmt.Errorf("%w; it was opened by: %w", breaker.ErrBreakerOpen, io.EOF), stats.Unavailable},
		{flow.External(sarama.ErrLeaderNotAvailable), stats.Unavailable},
		{flow.External(sarama.ErrNotEnoughReplicas), stats.Unavailable},
		{flow.Unknown(flow.External(sarama.ErrRequestTimedOut)), stats.Unavailable},
		{flow.External(&net.OpError{Op: "dial", Err: errors.New("refused")}), stats.Unavailable},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, stats.Unavailable},
		{os.ErrDeadlineExceeded, stats.Unavailable},
		{fmt.Errorf("reading: %w", io.EOF), stats.Unavailable},
		{wire.ErrConnClosed, stats.Unavailable},
		{fmt.Errorf("%w: x", wire.ErrMalformedAnswer), stats.Unavailable},
		{&wire.VersionError{}, stats.Unavailable},
		{flow.SameCluster("a", "b"), stats.Unavailable},
		{sarama.ErrThrottlingQuotaExceeded, stats.Unavailable},
		{&wire.AuthError{Refused: true, Err: sarama.ErrSASLAuthenticationFailed}, stats.NotAuthorized},
		{&wire.AuthError{Err: errors.New("no token")}, stats.NotAuthorized},
		{errors.Join(sarama.ErrOutOfBrokers, &wire.AuthError{Refused: true, Err: io.EOF}), stats.NotAuthorized},
		{flow.External(sarama.ErrTopicAuthorizationFailed), stats.NotAuthorized},
		{flow.External(sarama.ErrClusterAuthorizationFailed), stats.NotAuthorized},
		{flow.External(sarama.ErrInvalidRecord), stats.Refused},
		{flow.External(sarama.ErrPolicyViolation), stats.Refused},
		{flow.External(sarama.KError(999)), stats.Refused},
		{flow.External(sarama.ErrProducerFenced), stats.Transaction},
		{flow.External(sarama.ErrTransactionNotReady), stats.Transaction},
		{flow.Errorf("%w: %w", flow.External(sarama.ErrTransactionNotReady), sarama.ErrRequestTimedOut), stats.Transaction},
		// Messages are refused as another one of their transaction has failed.
		{flow.Errorf("%w: %w", flow.External(sarama.ErrTransactionNotReady), flow.ErrWithdrawn), stats.Transaction},
		{flow.Errorf("%w: %w", flow.External(sarama.ErrTransactionNotReady), expired(io.EOF)), stats.Transaction},
		{flow.ErrWithdrawn, stats.Cancelled},
		{sarama.ErrShuttingDown, stats.Closed},
		{flow.PartitionError("t", 0, flow.Closed(context.DeadlineExceeded), true), stats.Closed},
		{errors.New("a bug"), stats.Other},
		{context.DeadlineExceeded, stats.Other},
		{context.Canceled, stats.Other},
	} {
		if got := Of(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}
