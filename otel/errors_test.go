package sluiceotel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

func TestErrorType(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("%w: %w", sluice.ErrDeliveryTimeout, sarama.ErrNotLeaderForPartition), "delivery_timeout"},
		{fmt.Errorf("%w: %w", sluice.ErrOutcomeUnknown, sarama.ErrNotEnoughReplicasAfterAppend), "NOT_ENOUGH_REPLICAS_AFTER_APPEND"},
		{fmt.Errorf("%w: %w", sluice.ErrBufferFull, context.Canceled), "buffer_full"},
		{fmt.Errorf("%w: %w", sluice.ErrBufferFull, sarama.ErrMessageSizeTooLarge), "MESSAGE_TOO_LARGE"},
		{sarama.ErrUnknownTopicOrPartition, "UNKNOWN_TOPIC_OR_PARTITION"},
		{sarama.ErrUnknown, "UNKNOWN_SERVER_ERROR"},
		{sarama.KError(30000), "UNKNOWN_SERVER_ERROR"},
		{fmt.Errorf("a message outside a transaction: %w", sarama.ErrTransactionNotReady), "transaction"},
		{sarama.ErrShuttingDown, "closed"},
		{fmt.Errorf("withdrawn: %w", context.Canceled), "canceled"},
		{fmt.Errorf("withdrawn: %w", context.DeadlineExceeded), "deadline_exceeded"},
		{sarama.ErrInvalidPartition, "invalid"},
		{sarama.PacketEncodingError{Info: "x"}, "invalid"},
		{sarama.ConfigurationError("x"), "invalid"},
		{errors.New("an error of the user's encoder"), "_OTHER"},
	} {
		got := errorType(test.err)
		if got != test.want {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
		if strings.ToUpper(got) != got && !strings.Contains(string(page), "`"+got+"`") {
			t.Errorf("README.md does not list %q", got)
		}
	}
}
