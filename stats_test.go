package sluice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/eapache/go-resiliency/breaker"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/wire"
)

func TestCauses(t *testing.T) {
	expired := func(cause error) error { return flow.Expired(time.Second, cause) }
	for _, test := range []struct {
		err  error
		want FailureCause
	}{
		{expired(nil), CauseDeliveryTimeout},
		{expired(sarama.ErrNotLeaderForPartition), CauseDeliveryTimeout},
		{flow.Unknown(expired(io.EOF)), CauseDeliveryTimeout},
		{flow.External(sarama.ErrMessageSizeTooLarge), CauseTooLarge},
		{flow.Errorf("a message: %w: %w", sarama.ErrMessageSizeTooLarge, flow.External(sarama.ConfigurationError("too large"))), CauseTooLarge},
		{flow.Errorf("%w: %w", flow.ErrBufferFull, flow.External(sarama.ErrMessageSizeTooLarge)), CauseTooLarge},
		{sarama.ErrMessageSetSizeTooLarge, CauseTooLarge},
		{flow.Errorf("%w: %w", flow.ErrBufferFull, context.DeadlineExceeded), CauseBufferFull},
		{flow.Errorf("a message without a topic: %w", flow.External(sarama.ErrInvalidTopic)), CauseInvalid},
		{flow.Invalid(flow.Errorf("encoding: %w", flow.External(sarama.ErrNotLeaderForPartition))), CauseInvalid}, // what the user's code returns
		{flow.PartitionError("t", 0, flow.Invalid(errors.New("x")), false), CauseInvalid},
		{sarama.ConfigurationError("x"), CauseInvalid},
		{flow.External(sarama.ErrUnknownTopicOrPartition), CauseUnknownTopic},
		{flow.External(sarama.KError(100)), CauseUnknownTopic},
		{flow.External(sarama.KError(103)), CauseUnknownTopic},
		{flow.Errorf("partition 7 of 3: %w", flow.External(sarama.ErrInvalidPartition)), CauseUnknownTopic},
		{sarama.ErrOutOfBrokers, CauseUnavailable},
		{errors.Join(sarama.ErrOutOfBrokers, sarama.ErrUnknownTopicOrPartition), CauseUnavailable},
		{fmt.Errorf("%w; it was opened by: %w", breaker.ErrBreakerOpen, io.EOF), CauseUnavailable},
		{flow.External(sarama.ErrLeaderNotAvailable), CauseUnavailable},
		{flow.External(sarama.ErrNotEnoughReplicas), CauseUnavailable},
		{flow.Unknown(flow.External(sarama.ErrRequestTimedOut)), CauseUnavailable},
		{flow.External(&net.OpError{Op: "dial", Err: errors.New("refused")}), CauseUnavailable},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, CauseUnavailable},
		{os.ErrDeadlineExceeded, CauseUnavailable},
		{fmt.Errorf("reading: %w", io.EOF), CauseUnavailable},
		{wire.ErrConnClosed, CauseUnavailable},
		{fmt.Errorf("%w: x", wire.ErrMalformedAnswer), CauseUnavailable},
		{&wire.VersionError{}, CauseUnavailable},
		{flow.SameCluster("a", "b"), CauseUnavailable},
		{sarama.ErrThrottlingQuotaExceeded, CauseUnavailable},
		{&wire.AuthError{Refused: true, Err: sarama.ErrSASLAuthenticationFailed}, CauseNotAuthorized},
		{&wire.AuthError{Err: errors.New("no token")}, CauseNotAuthorized},
		{errors.Join(sarama.ErrOutOfBrokers, &wire.AuthError{Refused: true, Err: io.EOF}), CauseNotAuthorized},
		{flow.External(sarama.ErrTopicAuthorizationFailed), CauseNotAuthorized},
		{flow.External(sarama.ErrClusterAuthorizationFailed), CauseNotAuthorized},
		{flow.External(sarama.ErrInvalidRecord), CauseRefused},
		{flow.External(sarama.ErrPolicyViolation), CauseRefused},
		{flow.External(sarama.KError(999)), CauseRefused},
		{flow.External(sarama.ErrProducerFenced), CauseTransaction},
		{flow.External(sarama.ErrTransactionNotReady), CauseTransaction},
		{flow.Errorf("%w: %w", flow.External(sarama.ErrTransactionNotReady), sarama.ErrRequestTimedOut), CauseTransaction},
		{flow.ErrWithdrawn, CauseCancelled},
		{sarama.ErrShuttingDown, CauseClosed},
		{flow.PartitionError("t", 0, flow.Closed(context.DeadlineExceeded), true), CauseClosed},
		{errors.New("a bug"), CauseOther},
		{context.DeadlineExceeded, CauseOther},
		{context.Canceled, CauseOther},
	} {
		if got := failureCauses[causeOf(test.err)]; got != test.want {
			t.Errorf("%v: %s, want %s", test.err, got, test.want)
		}
	}
}

func TestEachCauseHasAName(t *testing.T) {
	seen := map[FailureCause]bool{}
	for i, name := range failureCauses {
		if name == "" || seen[name] {
			t.Errorf("cause %d has the name %q", i, name)
		}
		seen[name] = true
	}
}

func TestHistogramBounds(t *testing.T) {
	bounds := HistogramBounds()
	const us = time.Microsecond
	want := []time.Duration{10 * us, 12500, 16 * us, 20 * us, 25 * us, 31500, 40 * us, 50 * us, 63 * us, 80 * us, 100 * us}
	if !slices.Equal(bounds[:11], want) || bounds[len(bounds)-1] != 1000*time.Second || len(bounds) != 81 {
		t.Errorf("%d bounds: %v", len(bounds), bounds)
	}
	bounds[0] = 0
	if HistogramBounds()[0] == 0 {
		t.Error("the slice is shared")
	}
}

// of is a histogram of durations.
func of(durations ...time.Duration) Histogram {
	var h stats.Histogram
	for _, d := range durations {
		h.Record(d, 1)
	}
	var s stats.Sum
	h.AddTo(&s)
	return histogram(&s)
}

func TestQuantile(t *testing.T) {
	if got := (Histogram{}).Quantile(0.5); got != 0 {
		t.Errorf("of nothing it is %v", got)
	}
	if h := of(0, 0); h.Quantile(1) != 0 || h.Quantile(0) != 0 {
		t.Errorf("of zeros it is %v", h.Quantile(1))
	}
	if h := of(time.Hour); h.Quantile(1) != time.Hour || h.Quantile(0.5) < 1000*time.Second {
		t.Errorf("of what is above all bounds it is %v and %v", h.Quantile(0.5), h.Quantile(1))
	}
	if h := of(3*time.Second, time.Second); h.Quantile(2) != 3*time.Second || h.Quantile(-1) > time.Second {
		t.Errorf("beyond 0 and 1 it is %v and %v", h.Quantile(-1), h.Quantile(2))
	}
	draw := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		durations := make([]time.Duration, 1+draw.IntN(1000))
		for i := range durations {
			durations[i] = time.Duration(math.Exp(draw.NormFloat64()*3) * float64(5*time.Millisecond))
		}
		h := of(durations...)
		slices.Sort(durations)
		for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 1} {
			want := float64(durations[int(math.Ceil(q*float64(len(durations))))-1])
			got := float64(h.Quantile(q))
			if want >= float64(10*time.Microsecond) && want <= float64(1000*time.Second) && (got < want/1.29 || got > want*1.29) {
				t.Errorf("the quantile %g of %d is %v, want %v", q, len(durations), time.Duration(got), time.Duration(want))
			}
		}
	}
}
