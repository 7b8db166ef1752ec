package flow

import (
	"errors"
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

// Error codes without a text in sarama are named; the code is found all the same.
func TestExternalNamesCodes(t *testing.T) {
	for code, want := range map[sarama.KError]string{
		sarama.ErrProducerFenced:        "PRODUCER_FENCED",
		120:                             "TRANSACTION_ABORTABLE",
		sarama.ErrNotLeaderForPartition: sarama.ErrNotLeaderForPartition.Error(),
		sarama.ErrUnknown:               sarama.ErrUnknown.Error(),
		30_000:                          "30000",
	} {
		err := Errorf("somewhere: %w", External(code))
		if !strings.Contains(err.Error(), want) || !errors.Is(err, code) || Bare(err) != error(code) {
			t.Errorf("%d: %v", code, err)
		}
	}
}
