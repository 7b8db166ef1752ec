package dispatch

import (
	"log/slog"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// What is logged about partitions, on the partition producer's goroutine.

// failing implements effects.
func (pp *partitionProducer) failing(cause error) {
	if pp.deps.Log == nil || pp.deps.Aborted() != nil {
		return
	}
	r := &pp.rules
	attrs := []slog.Attr{slog.String("topic", pp.topic), slog.Int("partition", int(pp.partition))}
	e, key := flow.NoLeader, pp.topic
	if r.leader.known {
		to := r.openedAt
		e, key = flow.Retrying, to.broker.Addr
		attrs = append(attrs, flow.BrokerAttr(to.broker.ID), slog.String("addr", to.broker.Addr), flow.EpochAttr("leader_epoch", to.epoch))
	}
	if r.idempotent && r.sequence.Known() {
		attrs = append(attrs, slog.Int64("producer_id", r.sequence.ID), flow.EpochAttr("producer_epoch", r.sequence.Epoch))
	}
	if pp.trouble == nil {
		pp.trouble = &flow.Trouble{Of: "partitions"}
	}
	attrs = append(attrs, slog.Int("failures", r.failures), slog.Int("batches", len(r.batches)), flow.Cause(cause))
	pp.trouble.Again(pp.deps.Log, e, key, attrs...)
}

// working implements effects.
func (pp *partitionProducer) working() { pp.trouble = nil }

// logBump logs that a batch of this partition made the producer take another epoch, or another id.
func (pp *partitionProducer) logBump(from txn.Identity) {
	attrs := []slog.Attr{
		slog.String("topic", pp.topic), slog.Int("partition", int(pp.partition)),
		slog.Int64("producer_id", from.ID), flow.EpochAttr("from_epoch", from.Epoch), flow.Cause(pp.rules.cause),
	}
	// Without a current one a broker is asked for another id.
	if now := pp.deps.Identities.Current(); now.Known() {
		attrs = append(attrs, slog.Int64("new_producer_id", now.ID), flow.EpochAttr("producer_epoch", now.Epoch))
	}
	pp.deps.Log.Event(flow.EpochBumped, "", attrs...)
}
