package brokerproducer

// How a session ends, on the loop's goroutine. The loop closes it if it can't go on; its partition producer may leave at any
// time. Either way the partition producer calls End, and the loop calls Ended when nothing is in flight any more.

// breakSequence closes a session whose later sequence numbers the broker will not take.
func (l *loop) breakSequence(s *Session, cause error, refresh bool) {
	s.result.SequenceBroken = true
	l.closeSession(s, cause, refresh)
}

// closeSession stops a session: it sends nothing more. Its partition producer hears of it, and calls End.
func (l *loop) closeSession(s *Session, cause error, refresh bool) {
	s.result.Refresh = s.result.Refresh || refresh
	if s.closed {
		return
	}
	s.closed = true
	s.result.Cause = cause
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
