package txn

import (
	"log/slog"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What is logged about transactions.

// logState logs that the transaction, or the producer, has failed. It needs mu.
func (t *Transactions) logState() {
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
		t.cfg.Log.Always(flow.CannotGoOn, attrs...)
	}
}

// logEpoch logs that the coordinator has given another epoch. In version 2 it does so with each transaction: that is not logged.
func (t *Transactions) logEpoch(before Identity) {
	if id := t.Current(); before.Known() {
		t.cfg.Log.Event(flow.EpochBumped, "", slog.String("transactional_id", t.cfg.ID),
			slog.Int64("producer_id", id.ID), flow.EpochAttr("producer_epoch", id.Epoch))
	}
}
