package txn

import (
	"log/slog"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What the log is told of transactions.

// tellState tells that the transaction, or the producer, has failed. It needs mu.
func (t *Transactions) tellState() {
	now := t.machine.state
	before := t.told
	if t.told = now; now == before {
		return
	}
	id := t.Current()
	attrs := []slog.Attr{
		slog.String("transactional_id", t.cfg.ID), slog.Int64("producer_id", id.ID), flow.EpochAttr("producer_epoch", id.Epoch),
		flow.Cause(t.machine.cause),
	}
	switch now {
	case stateAbortable:
		t.cfg.Log.Event(flow.TransactionFailed, "", attrs...)
	case stateFatal:
		t.cfg.Log.Tell(flow.CannotGoOn, attrs...)
	}
}

// tellEpoch tells that the coordinator has given another epoch than that of before. In version 2 it does so with each transaction,
// which says nothing.
func (t *Transactions) tellEpoch(before Identity) {
	if id := t.Current(); before.Known() {
		t.cfg.Log.Event(flow.EpochBumped, "", slog.String("transactional_id", t.cfg.ID),
			slog.Int64("producer_id", id.ID), flow.EpochAttr("producer_epoch", id.Epoch))
	}
}
