package apitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/eapache/go-resiliency/breaker"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

func TestIsRetriable(t *testing.T) {
	_, dialTimeout := (&net.Dialer{Deadline: time.Now().Add(-time.Second)}).Dial("tcp", "127.0.0.1:1")
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{sarama.ErrNotLeaderForPartition, true},
		{fmt.Errorf("topic: %w", sarama.ErrNotEnoughReplicas), true},
		{sarama.ErrUnknownTopicOrPartition, true},
		{sarama.ErrOutOfOrderSequenceNumber, true},
		{sarama.ErrMessageSizeTooLarge, false},
		{sarama.ErrTopicAuthorizationFailed, false},
		{sarama.ErrInvalidPartition, false},
		{sarama.ErrShuttingDown, false},
		{sarama.ErrOutOfBrokers, true},
		{fmt.Errorf("%w: %w", sarama.ErrOutOfBrokers, sarama.ErrSASLAuthenticationFailed), false},
		{fmt.Errorf("%w: %w", sarama.ErrOutOfBrokers, sarama.ErrThrottlingQuotaExceeded), true},
		{sarama.ConfigurationError("too large"), false},
		{fmt.Errorf("%w: %w", sluice.ErrBufferFull, context.DeadlineExceeded), true},
		{fmt.Errorf("%w: %w", sluice.ErrBufferFull, sarama.ErrMessageSizeTooLarge), false},
		{fmt.Errorf("%w of 2m0s is over: %w", sluice.ErrDeliveryTimeout, sarama.ErrTopicAuthorizationFailed), true},
		{fmt.Errorf("%w: %w", sluice.ErrOutcomeUnknown, io.EOF), true},
		{fmt.Errorf("dialling: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), true},
		{fmt.Errorf("%w; opened by: %w", breaker.ErrBreakerOpen, sarama.ErrUnknownTopicOrPartition), true},
		{errors.New("an encoder's own"), false},
		{fmt.Errorf("withdrawn: %w", context.DeadlineExceeded), false},
		{fmt.Errorf("withdrawn: %w", context.Canceled), false},
		{fmt.Errorf("reading: %w", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}), true},
		{fmt.Errorf("%w: %w", sluice.ErrOutcomeUnknown, context.Canceled), true},
		{fmt.Errorf("connecting: %w", dialTimeout), true},
		{fmt.Errorf("encoding: %w", &net.OpError{Op: "dial", Err: context.Canceled}), false},
		{fmt.Errorf("%w: %w", sarama.ErrOutOfBrokers, sarama.ErrSASLAuthenticationFailed), false},
		{fmt.Errorf("%w: %w", sluice.ErrDeliveryTimeout, sarama.ErrSASLAuthenticationFailed), true},
	} {
		if got := sluice.IsRetriable(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}

// An error names its package once, however many of its causes do, and its topic as well.
func TestErrorsNameThePackageOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		arrived := swallowProduce(v.Cluster, v.LeaderFor("t", 0))
		p := newAsync(t, v.Cluster, v.config(), sluice.WithDeliveryTimeout(10*time.Second))
		send(p, message(0, 0))
		<-arrived
		err := receive(t, p.Errors()).Err
		wantError(t, err, causes(sluice.ErrOutcomeUnknown, sluice.ErrDeliveryTimeout), `sluice: the message may have been written: topic "t" partition 0: delivery timeout of 10s is over`)
		if n := strings.Count(err.Error(), "sluice: "); n != 1 {
			t.Errorf("%q names the package %d times", err, n)
		}

		send(p, &sarama.ProducerMessage{Topic: "unknown"})
		err = receive(t, p.Errors()).Err
		wantError(t, err, causes(sarama.ErrUnknownTopicOrPartition), "")
		if n := strings.Count(err.Error(), `"unknown"`); n != 1 {
			t.Errorf("%q names the topic %d times", err, n)
		}
	}, kfake.SeedTopics(1, "t"))
}
