package txn

import (
	"errors"
	"fmt"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

func TestFailuresOfTransactions(t *testing.T) {
	abortable := &Error{cause: errors.New("a batch expired")}
	fatal := &Error{Fatal: true, cause: sarama.ErrProducerFenced}
	for _, c := range []struct {
		name               string
		err                error
		abortable, isFatal bool
	}{
		{"none", nil, false, false},
		{"another error", errors.New("disk full"), false, false},
		{"abortable", fmt.Errorf("CommitTxn: %w", abortable), true, false},
		{"fatal", fmt.Errorf("AbortTxn: %w", fatal), false, true},
		{"abortable because of a code that would be fatal by itself", &Error{cause: sarama.ErrProducerFenced}, true, false},
		{"a cause that is joined", &Error{cause: errors.Join(sarama.ErrProducerFenced, errors.New("x"))}, true, false},
		// Transact joins the commit's failure and the abort's.
		{"the abort fails for good", errors.Join(abortable, fatal), false, true},
		{"the function fails, and the abort for good", errors.Join(errors.New("disk full"), fatal), false, true},
		{"the abort is not done yet", errors.Join(abortable, errors.New("timed out")), true, false},
		{"two causes at once", fmt.Errorf("%w: %w", flow.ErrOutcomeUnknown, fatal), false, true},
		// Through sarama's constructors, and of messages, codes come alone.
		{"a code", flow.External(sarama.ErrProducerFenced), false, true},
		{"another code", sarama.ErrNotEnoughReplicas, false, false},
		{"TRANSACTION_ABORTABLE", errTransactionAbortable, true, false},
	} {
		if got := IsAbortable(c.err); got != c.abortable {
			t.Errorf("%s: IsAbortable is %t", c.name, got)
		}
		if got := IsFatal(c.err); got != c.isFatal {
			t.Errorf("%s: IsFatal is %t", c.name, got)
		}
	}
}

// A message of unknown outcome in a transaction that can only be aborted is certain not to be seen.
func TestAbortableHidesUnknownOutcomes(t *testing.T) {
	cause := fmt.Errorf("%w: %w", flow.ErrOutcomeUnknown, flow.External(sarama.ErrRequestTimedOut))
	for _, isFatal := range []bool{false, true} {
		err := error(&Error{Fatal: isFatal, cause: cause})
		if errors.Is(err, flow.ErrOutcomeUnknown) != isFatal {
			t.Errorf("fatal %v: %v", isFatal, err)
		}
		if !errors.Is(err, sarama.ErrRequestTimedOut) || flow.Bare(err) != sarama.ErrRequestTimedOut {
			t.Errorf("the cause of %v is lost", err)
		}
	}
}
