package brokerproducer

import (
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/produceset"
)

// How records get into open batches, on the loop's goroutine.

// addRun encodes records into the session's open batch. A record whose encoder fails gets its outcome in this turn.
func (l *loop) addRun(s *Session, recs []flow.Record, millis int64) {
	l.register(s)
	l.watchDeadlines()
	if s.closed || s.ending {
		s.records = append(s.records, recs...)
		return
	}
	for len(recs) > 0 {
		if s.open == nil {
			s.open = l.newBatch(s, &recs[0])
		}
		room := len(recs)
		if limit := l.conf.Producer.Flush.MaxMessages; limit > 0 {
			room = min(room, limit-s.open.Len())
		}
		n := s.open.AppendRun(recs[:room], millis, s.hintRecords)
		recs = recs[n:]
		if n < room {
			l.addOne(s, &recs[0], millis)
			recs = recs[1:]
		}
		if s.open != nil && l.isFull(s.open) {
			l.closeOpen(s)
		}
	}
	if s.open != nil && s.open.Len() == 0 {
		s.open.Release() // only failures so far
		s.open = nil
	}
	l.requeue(s)
}

// addOne is addRun for a record that AppendRun does not take, or that has no room in the open batch.
func (l *loop) addOne(s *Session, rec *flow.Record, millis int64) {
	if !rec.BeginRead() {
		l.decideRecord(s, *rec, flow.ErrWithdrawn)
		return
	}
	if batch := rec.Sealed(); batch != nil {
		rec.EndRead(true)
		l.addSealed(s, batch.(*produceset.Batch), rec)
		return
	}
	l.publish() // before the user's encoder runs: it may take long, or wait for one of these outcomes
	err := s.open.Append(*rec, millis)
	if err == produceset.ErrFull {
		l.closeOpen(s)
		s.open = l.newBatch(s, rec)
		err = s.open.Append(*rec, millis)
	}
	rec.EndRead(true)
	if err != nil {
		l.decideRecord(s, *rec, err)
	}
}

// addSealed takes in a batch that an Appender has encoded. It is behind the records that came before it, and takes none.
func (l *loop) addSealed(s *Session, batch *produceset.Batch, rec *flow.Record) {
	if s.open.Len() > 0 {
		l.closeOpen(s)
	} else {
		s.open.Release()
		s.open = nil
	}
	batch.TopicID = s.TopicID
	batch.Carry(*rec)
	s.ready = append(s.ready, l.batchSince(rec.Born, s, batch))
}

// batchSince is a batch of a session whose first record was accepted at born.
func (l *loop) batchSince(born int64, s *Session, batch *produceset.Batch) *Batch {
	return &Batch{Batch: batch, Deadline: l.Shared.Deadline(born), since: born, session: s}
}

func (l *loop) isFull(b *Batch) bool {
	limit := l.conf.Producer.Flush.MaxMessages
	return b.Len() > 0 && (b.Full() || limit > 0 && b.Len() >= limit || l.sizes.limit > 0 && b.Bytes() >= l.sizes.limit/2)
}

func (l *loop) newBatch(s *Session, first *flow.Record) *Batch {
	b := l.batchSince(first.Born, s, produceset.New(l.Set, s.hint))
	b.Topic, b.TopicID, b.Partition = s.Topic, s.TopicID, s.Partition
	if limit := l.pool.limits.of(s.Topic, l.now); limit > 0 {
		b.Limit(limit)
	}
	s.since = l.now
	return b
}

// closeOpen makes the open batch ready: it takes no more records, and is sent as soon as the window allows.
func (l *loop) closeOpen(s *Session) {
	s.ready = append(s.ready, s.open)
	s.open = nil
}
