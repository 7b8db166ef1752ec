package brokerproducer

import (
	"slices"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// The ends of a batch, and of a session, on the loop's goroutine. What the words mean:
//
//	decide     say what the outcome of its records is, once
//	tell       hand over what was decided in this turn: a thousand small batches have one lock and one wake-up then
//	fail       decide with an error; the network may hold the batch still
//	forget     take it out of flight and let go of its memory: it is decided, and the network has let go
//	delivered  decide, forget
//	giveUp     fail, forget; a numbered batch leaves a gap in the sequence
//	again      keep it for the next session, or give it up when its attempts are used up
//	endNow     fail it wherever it is, and forget it unless it is in flight; not while it is written, if it borrows
//	gap in the sequence        no later number is taken: the partition producer must go on under another identity
//	shut       nothing more is sent by this session; its partition producer is told
//	maybeEnd   hand back what is left, when the partition producer has ended the session and everything is answered

// delivered is the good end of a batch.
func (l *loop) delivered(b *Batch, offset, appendTime int64) {
	if b.decided {
		l.forget(b)
		return
	}
	l.decide(b, offset, appendTime, nil)
	l.forget(b)
}

// giveUp is the bad end of a batch. One with a number leaves a gap in the sequence in its partition producer.
func (l *loop) giveUp(b *Batch, cause error) {
	if !b.decided {
		l.fail(b, cause)
	}
	s, numbered := b.session, b.Numbered
	l.forget(b)
	if numbered {
		l.breakSequence(s, cause)
	}
}

// gap in the sequence stops a partition producer: a numbered batch has left unacknowledged, and the broker would take no later one.
func (l *loop) breakSequence(s *Session, cause error) {
	s.result.SequenceBroken = true
	l.closeSession(s, cause, false)
}

// wrap says where a message failed.
func (s *Session) wrap(cause error) error {
	return flow.Errorf("topic %q partition %d: %w", s.Topic, s.Partition, cause)
}

// fail decides the fate of a batch that may still be in flight.
func (l *loop) fail(b *Batch, cause error) {
	err := b.session.wrap(cause)
	if b.Unsure {
		err = flow.Unknown(err)
	}
	l.decide(b, flow.NoOffset, -1, err)
	b.decided = true
}

func (l *loop) decide(b *Batch, offset, appendTime int64, err error) {
	oc := &flow.Outcome{
		Topic: b.Topic, Partition: b.Partition, BaseOffset: offset, Err: err, Records: b.TakeRecords(),
	}
	if appendTime >= 0 {
		oc.AppendTime = time.UnixMilli(appendTime)
	}
	l.decided = append(l.decided, oc)
}

// tell hands the outcomes of this turn over.
func (l *loop) publish() {
	l.notified += l.Shared.Outcomes.Decide(l.decided...)
	clear(l.decided)
	l.decided = l.decided[:0]
}

// forget lets go of a batch that has its outcome and that the network has let go of.
func (l *loop) forget(b *Batch) {
	b.session.drop(b)
	b.Release()
}

// shut closes a session at this broker. Its partition producer is told, and ends it.
func (l *loop) closeSession(s *Session, cause error, refresh bool) {
	s.result.Refresh = s.result.Refresh || refresh
	if s.closed {
		return
	}
	s.closed = true
	s.result.Cause = cause
	l.leave(s)
	s.owner.Closed(s)
}

// maybeEnd hands back what is left of a session once its partition producer has ended it and everything in flight is answered.
func (l *loop) maybeEnd(s *Session) {
	if !s.ending || s.unacked > 0 || !s.known {
		return
	}
	l.leave(s)
	s.known = false
	delete(l.sessions, s)
	owner, result := s.owner, s.handBack()
	l.publish() // before the partition producer decides what is left
	l.pool.release(l.Producer)
	owner.Ended(s, result)
}

// expire ends messages whose delivery timeout is over. Only queue heads need looking at: what stands behind them is
// younger. A batch in flight has its outcome now, and is waited for all the same; one that can't end while it is written
// has a look's time more, before its connection is severed. What stands behind it waits with it.
func (l *loop) expire() {
	holds := false
	for s := range l.sessions {
		for b := s.oldestUndecided(); b != nil && b.Deadline <= l.now; b = s.oldestUndecided() {
			cause := flow.Expired(l.Shared.DeliveryTimeout, b.Cause)
			if l.endNow(s, b, cause) {
				continue
			}
			if b.late { // at the last look already
				l.claims.sever(b, errStuck)
			}
			b.late = true
			break
		}
		n := 0
		for ; n < len(s.records) && l.Shared.Deadline(s.records[n].Born) <= l.now; n++ {
			l.drop(s, s.records[n], s.wrap(flow.Expired(l.Shared.DeliveryTimeout, s.result.Cause)))
		}
		s.records = slices.Delete(s.records, 0, n)
		holds = holds || s.holds()
		l.place(s)
	}
	if holds {
		l.watchDeadlines()
	}
}

// endNow fails a batch wherever it is: in flight it stays until it is answered. It returns false if the batch can't end at
// this moment, because it is being written, and borrows what is its sender's again with the outcome.
func (l *loop) endNow(s *Session, b *Batch, cause error) bool {
	inFlight := s.inFlight(b)
	if inFlight && !b.back {
		where := l.claims.end(b)
		if where == beingWritten && b.Borrows() {
			return false
		}
		b.Unsure = b.Unsure || where != notWritten
	}
	l.fail(b, cause)
	switch {
	case inFlight && b.back:
		l.giveUp(b, cause)
	case inFlight:
	default:
		s.unqueue(b)
		numbered := b.Numbered
		b.Release()
		if numbered {
			l.breakSequence(s, cause)
		}
	}
	return true
}

// abort ends everything with cause: Close ran out of time.
func (l *loop) abort(cause error) {
	l.cancel()
	for s := range l.sessions {
		for {
			b := s.oldestUndecided()
			if b == nil || !l.endNow(s, b, cause) {
				break // it is being written; it will be answered soon, and end in that turn
			}
		}
		for _, rec := range s.records {
			l.drop(s, rec, s.wrap(cause))
		}
		s.records = nil
		l.closeSession(s, cause, false)
	}
	// What was not claimed by now is not written any more; so this is the last write.
	l.claims.sever(nil, cause)
}
