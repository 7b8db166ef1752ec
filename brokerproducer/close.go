package brokerproducer

// How a session ends, on the loop's goroutine:
//
//	loop                                          partition producer
//	a batch fails: closeSession, it sends no more
//	                                  Closed ──▶  turns direct send off
//	                                  ◀── End     (it may also call End by itself, when the leader has moved)
//	takes in what was sent before End
//	waits until nothing is in flight
//	handBack: what is left, in order   Ended ──▶  has it, and may open the next session
//
// Ended is the only end: until then the loop may still deliver, so no other session of the partition may be open.

// closeSession stops a session: it sends nothing more. Its partition producer hears of it, and calls End. next is what the
// next session waits for: see NextTry. The cause of the longest wait is kept.
func (l *loop) closeSession(s *Session, cause error, next NextTry) {
	if !s.closed || next > s.result.Next {
		s.result.Cause, s.result.Next = cause, next
	}
	if s.closed {
		return
	}
	s.closed = true
	l.unqueue(s)
	s.owner.Closed(s)
}

// recall takes back the batch of an ended session that was handed over and is not written yet. It must not wait for a broker
// that may be gone. At most one request is not written; for the others a recall does nothing. The batch comes back with
// its request, as an answer.
func (l *loop) recall(s *Session) {
	for _, b := range s.flight {
		if b.req != nil {
			l.claims.recall(b)
		}
	}
}

// maybeEnd hands back what is left of a session, once its partition producer has ended it and everything in flight is
// answered.
func (l *loop) maybeEnd(s *Session) {
	if !s.ending || s.unacked > 0 || !s.registered {
		return
	}
	l.unqueue(s)
	s.registered = false
	delete(l.sessions, s)
	owner, result := s.owner, s.handBack()
	l.publish() // before the partition producer decides what is left
	l.pool.release(l.Producer, l.sizes)
	owner.Ended(s, result)
}
