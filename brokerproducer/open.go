package brokerproducer

import (
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/produceset"
)

// How records get into open batches, on the loop's goroutine.

// add encodes records into the generation's open batch. A record whose encoder fails has its outcome with this
// turn's others (tell).
func (l *loop) add(g *Generation, recs []flow.Record, millis int64) {
	l.know(g)
	l.watchDeadlines()
	if g.closed || g.ending {
		g.records = append(g.records, recs...)
		return
	}
	for len(recs) > 0 {
		if g.open == nil {
			g.open = l.newBatch(g, &recs[0])
		}
		room := len(recs)
		if limit := l.conf.Producer.Flush.MaxMessages; limit > 0 {
			room = min(room, limit-g.open.Len())
		}
		n := g.open.AppendRun(recs[:room], millis, g.hintRecords)
		recs = recs[n:]
		if n < room {
			l.addOne(g, &recs[0], millis)
			recs = recs[1:]
		}
		if g.open != nil && l.isFull(g.open) {
			l.closeOpen(g)
		}
	}
	if g.open != nil && g.open.Len() == 0 {
		g.open.Release() // only failures so far
		g.open = nil
	}
	l.place(g)
}

// addOne is add for a record that needs care, or for which there is no room in the open batch.
func (l *loop) addOne(g *Generation, rec *flow.Record, millis int64) {
	if !rec.Borrow() {
		l.drop(g, *rec, nil) // its sender has gone: no outcome, only the accounts
		return
	}
	l.tell() // before an encoder of the user's runs, which may take its time, or wait for what it is to be told
	err := g.open.Append(*rec, millis)
	if err == produceset.ErrFull {
		l.closeOpen(g)
		g.open = l.newBatch(g, rec)
		err = g.open.Append(*rec, millis)
	}
	rec.Return(true)
	if err != nil {
		l.drop(g, *rec, err)
	}
}

func (l *loop) isFull(b *Batch) bool {
	limit := l.conf.Producer.Flush.MaxMessages
	return b.Len() > 0 && (b.Full() || limit > 0 && b.Len() >= limit)
}

func (l *loop) newBatch(g *Generation, first *flow.Record) *Batch {
	b := &Batch{Batch: produceset.New(l.Set, g.hint), Deadline: l.Shared.Deadline(first.Born), gen: g}
	b.Topic, b.TopicID, b.Partition = g.Topic, g.TopicID, g.Partition
	g.since = l.now
	return b
}

// closeOpen ends the open batch: it takes no more records, and is sent as soon as the window allows.
func (l *loop) closeOpen(g *Generation) {
	g.ready = append(g.ready, g.open)
	g.open = nil
}

// drop decides a single record's fate.
func (l *loop) drop(g *Generation, rec flow.Record, err error) {
	l.decided = append(l.decided, &flow.Outcome{
		Topic: g.Topic, Partition: g.Partition, BaseOffset: flow.NoOffset, Err: err, Records: []flow.Record{rec},
	})
}
