package sluice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/IBM/sarama"
	"github.com/eapache/go-resiliency/breaker"
)

func TestIsRetriable(t *testing.T) {
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
		{sarama.ConfigurationError("too large"), false},
		{fmt.Errorf("%w: %w", ErrBufferFull, context.DeadlineExceeded), true},
		{fmt.Errorf("%w: %w", ErrBufferFull, sarama.ErrMessageSizeTooLarge), false},
		{fmt.Errorf("%w of 2m0s is over: %w", ErrDeliveryTimeout, sarama.ErrTopicAuthorizationFailed), true},
		{fmt.Errorf("%w: %w", ErrOutcomeUnknown, io.EOF), true},
		{fmt.Errorf("dialling: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), true},
		{fmt.Errorf("%w; opened by: %w", breaker.ErrBreakerOpen, sarama.ErrUnknownTopicOrPartition), true},
		{errors.New("an encoder's own"), false},
	} {
		if got := IsRetriable(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}
