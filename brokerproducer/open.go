package brokerproducer

import (
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/produceset"
)

// How records get into open batches, on the loop's goroutine.

// add encodes records into the session's open batch. A record whose encoder fails has its outcome with this
// turn's others (tell).
func (l *loop) add(s *Session, recs []flow.Record, millis int64) {
	l.know(s)
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
	l.place(s)
}

// addOne is add for a record that needs care, or for which there is no room in the open batch.
func (l *loop) addOne(s *Session, rec *flow.Record, millis int64) {
	if !rec.Borrow() {
		l.drop(s, *rec, nil) // its sender has gone: no outcome, only the accounts
		return
	}
	l.publish() // before an encoder of the user's runs, which may take its time, or wait for what it is to be told
	err := s.open.Append(*rec, millis)
	if err == produceset.ErrFull {
		l.closeOpen(s)
		s.open = l.newBatch(s, rec)
		err = s.open.Append(*rec, millis)
	}
	rec.Return(true)
	if err != nil {
		l.drop(s, *rec, err)
	}
}

func (l *loop) isFull(b *Batch) bool {
	limit := l.conf.Producer.Flush.MaxMessages
	return b.Len() > 0 && (b.Full() || limit > 0 && b.Len() >= limit)
}

func (l *loop) newBatch(s *Session, first *flow.Record) *Batch {
	b := &Batch{Batch: produceset.New(l.Set, s.hint), Deadline: l.Shared.Deadline(first.Born), session: s}
	b.Topic, b.TopicID, b.Partition = s.Topic, s.TopicID, s.Partition
	s.since = l.now
	return b
}

// closeOpen ends the open batch: it takes no more records, and is sent as soon as the window allows.
func (l *loop) closeOpen(s *Session) {
	s.ready = append(s.ready, s.open)
	s.open = nil
}

// drop decides a single record's fate.
func (l *loop) drop(s *Session, rec flow.Record, err error) {
	l.decided = append(l.decided, &flow.Outcome{
		Topic: s.Topic, Partition: s.Partition, BaseOffset: flow.NoOffset, Err: err, Records: []flow.Record{rec},
	})
}
