package brokerproducer

import (
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// How batches and records get their outcomes, on the loop's goroutine. The outcomes of a turn are collected and published
// together: a thousand small batches then cost one lock and one wake-up.

// decide says what the outcome of a batch's records is. The network may still hold the batch.
func (l *loop) decide(b *Batch, offset, appendTime int64, err error) {
	oc := &flow.Outcome{
		Topic: b.Topic, Partition: b.Partition, BaseOffset: offset, Err: err, Records: b.TakeRecords(), Count: b.Count(),
		Stats: b.session.stats, Charged: b.Charged(),
	}
	if err == nil { // else it may be sealed at this moment
		oc.Bytes = int64(b.WireBytes())
	}
	if appendTime >= 0 {
		oc.AppendTime = time.UnixMilli(appendTime)
	}
	l.outcomes = append(l.outcomes, oc)
}

// decideRecord says what the outcome of a single record is that is in no batch.
func (l *loop) decideRecord(s *Session, rec flow.Record, err error) {
	l.outcomes = append(l.outcomes, flow.Failure(s.stats, s.Topic, s.Partition, []flow.Record{rec}, err))
}

// failRecord is decideRecord with an error that says where it happened.
func (l *loop) failRecord(s *Session, rec flow.Record, cause error) {
	l.decideRecord(s, rec, flow.PartitionError(s.Topic, s.Partition, cause, false))
}

// publish hands over the outcomes of this turn.
func (l *loop) publish() {
	l.notified += l.Shared.Outcomes.Decide(l.outcomes...)
	clear(l.outcomes)
	l.outcomes = l.outcomes[:0]
}

// fail decides a batch with an error.
func (l *loop) fail(b *Batch, cause error) {
	l.countDecided(b)
	l.decide(b, flow.NoOffset, -1, flow.PartitionError(b.Topic, b.Partition, cause, b.Unsure))
	b.decided = true
}

// giveUp fails a batch that is answered, unless it has its outcome, and releases it.
func (l *loop) giveUp(b *Batch, cause error) {
	if !b.decided {
		l.fail(b, cause)
	}
	l.release(b)
}

// release lets go of a batch that has its outcome and that the network has let go of.
func (l *loop) release(b *Batch) {
	b.session.removeFromFlight(b)
	b.Release()
}
