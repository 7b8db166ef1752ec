package brokerproducer

import (
	"fmt"
	"slices"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// expire fails messages whose delivery timeout is over. It looks at the heads of the queues only: what is behind them is
// younger.
//
// A batch in flight fails now, and stays in flight until it is answered. If it can't fail because it is being written, it
// gets until the next look; then its connection is severed. The batches behind it wait with it.
func (l *loop) expire() {
	holds := false
	for s := range l.sessions {
		for b := s.oldestUndecided(); b != nil && b.Deadline <= l.now; b = s.oldestUndecided() {
			cause := flow.Expired(l.Shared.DeliveryTimeout, l.whyWaiting(s, b))
			if l.endNow(s, b, cause) {
				continue
			}
			if b.late { // it was at the last look, too
				l.claims.sever(b, errStuck)
			}
			b.late = true
			break
		}
		l.expireRecords(s)
		holds = holds || s.holds()
		l.requeue(s)
	}
	if l.logSlow() || holds {
		l.watchDeadlines()
	}
}

// expireRecords fails the records behind the batches. There may be very many: so they share their error.
func (l *loop) expireRecords(s *Session) {
	n := 0
	for n < len(s.records) && l.Shared.Deadline(s.records[n].Born) <= l.now {
		n++
	}
	if n == 0 {
		return
	}
	cause := flow.Expired(l.Shared.DeliveryTimeout, l.whyWaiting(s, nil))
	for _, rec := range s.records[:n] {
		l.failRecord(s, rec, cause)
	}
	s.records = slices.Delete(s.records, 0, n)
}

// whyWaiting is why a batch has no outcome, or the records behind all batches if b is nil: the last failure of its own, or of
// the batches before it, or of the session; or else what is waited for at the moment.
func (l *loop) whyWaiting(s *Session, b *Batch) error {
	if b != nil && b.Cause != nil {
		return b.Cause
	}
	if cause := causeBefore(s, b); cause != nil {
		return cause
	}
	if s.result.Cause != nil {
		return s.result.Cause
	}
	if l.Txn != nil && len(s.flight) == 0 {
		if number, _ := l.Txn.Open(); s.joined != number {
			return fmt.Errorf("waiting for the partition to be added to the transaction: %w", l.Txn.Adding())
		}
	}
	return l.doing()
}

// causeBefore is the first failure of a batch before b. Many batches may expire in one turn, each the oldest at that time: so it
// goes no further than to b, and copies nothing.
func causeBefore(s *Session, b *Batch) error {
	for _, batches := range [...][]*Batch{s.flight, s.ready} {
		for _, before := range batches {
			if before == b {
				return nil
			}
			if before.Cause != nil {
				return before.Cause
			}
		}
	}
	return nil
}

// doing is what the network goroutine waits for, or its broker does. Anyone may call it.
func (p *Producer) doing() error {
	if conn := p.link.Load(); conn != nil {
		if err := conn.Doing(p.String()); err != nil {
			return err
		}
	}
	if err := p.Dialer.Doing(p.addr); err != nil {
		return err
	}
	return fmt.Errorf("waiting for %v", p)
}

// Waits is what the broker producers with sessions wait for: dials, and answers.
func (p *Pool) Waits() (waits []flow.Wait) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, bp := range p.brokers {
		if bp.refs == 0 {
			continue
		}
		if conn := bp.link.Load(); conn != nil {
			if since, ok := conn.Unanswered(); ok {
				waits = append(waits, flow.Wait{What: "waiting for an answer of " + bp.String(), Since: since})
				continue
			}
		}
		if w, ok := bp.Dialer.Wait(bp.id, bp.addr); ok {
			waits = append(waits, w)
		}
	}
	return waits
}

// endNow fails a batch wherever it is. One that the network has stays in flight until it is answered.
//
// It returns false if the batch can't fail at this moment: it is being written and borrows bytes of its messages, which
// are their sender's again with the outcome.
func (l *loop) endNow(s *Session, b *Batch, cause error) bool {
	inFlight := s.inFlight(b)
	if inFlight && !b.resend {
		state := l.claims.end(b)
		if state == beingWritten && b.Borrows() {
			return false
		}
		b.Unsure = b.Unsure || state != notWritten
		l.fail(b, cause)
		return true
	}
	l.fail(b, cause)
	if !inFlight {
		s.takeHead(b)
	}
	l.release(b)
	if b.Numbered { // it was given up: see judge
		s.result.SequenceState = max(s.result.SequenceState, SequenceBroken)
		l.closeSession(s, cause, AfterBackoff)
	}
	return true
}

// abort ends everything: Close ran out of time.
func (l *loop) abort(cause error) {
	l.cancel()
	for s := range l.sessions {
		for {
			b := s.oldestUndecided()
			if b == nil || !l.endNow(s, b, cause) {
				break // it is being written: it will be answered soon, and end in that turn
			}
		}
		for _, rec := range s.records {
			l.failRecord(s, rec, cause)
		}
		s.records = nil
		l.closeSession(s, cause, AfterBackoff)
	}
	// Nothing is claimed for writing from now on, so this ends the last write.
	l.claims.sever(nil, cause)
}
