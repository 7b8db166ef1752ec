package brokerproducer

import (
	"fmt"
	"slices"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// The ends of a batch, and of a generation, on the loop's goroutine. What the words mean:
//
//	decide     say what the outcome of its records is, once
//	tell       hand over what was decided in this turn: a thousand small batches have one lock and one wake-up then
//	fail       decide with an error; the network may hold the batch still
//	forget     take it out of flight and let go of its memory: it is decided, and the network has let go
//	delivered  decide, forget
//	giveUp     fail, forget; a numbered batch leaves a gap
//	again      keep it for the next generation, or give it up when its attempts are used up
//	endNow     fail it wherever it is, and forget it unless it is in flight; not while it is written, if it borrows
//	gap        no later number is taken: the lane must go on under another identity
//	shut       nothing more is sent by this generation; its lane is told
//	maybeEnd   hand back what is left, when the lane has ended the generation and everything is answered

// delivered is the good end of a batch.
func (l *loop) delivered(b *Batch, offset, appendTime int64) {
	if b.decided {
		l.forget(b)
		return
	}
	l.decide(b, offset, appendTime, nil)
	l.forget(b)
}

// giveUp is the bad end of a batch. One with a number leaves a gap in its lane.
func (l *loop) giveUp(b *Batch, cause error) {
	if !b.decided {
		l.fail(b, cause)
	}
	g, numbered := b.gen, b.Numbered
	l.forget(b)
	if numbered {
		l.gap(g, cause)
	}
}

// gap stops a lane: a numbered batch has left unacknowledged, and the broker would take no later one.
func (l *loop) gap(g *Generation, cause error) {
	g.left.Gap = true
	l.shut(g, cause, false)
}

// wrap says where a message failed.
func (g *Generation) wrap(cause error) error {
	return fmt.Errorf("sluice: topic %q partition %d: %w", g.Topic, g.Partition, cause)
}

// fail decides the fate of a batch that may still be in flight.
func (l *loop) fail(b *Batch, cause error) {
	err := b.gen.wrap(cause)
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
func (l *loop) tell() {
	l.told += l.Shared.Outcomes.Decide(l.decided...)
	clear(l.decided)
	l.decided = l.decided[:0]
}

// forget lets go of a batch that has its outcome and that the network has let go of.
func (l *loop) forget(b *Batch) {
	b.gen.drop(b)
	b.Release()
}

// shut closes a generation at this broker. Its lane is told, and ends it.
func (l *loop) shut(g *Generation, cause error, refresh bool) {
	g.left.Refresh = g.left.Refresh || refresh
	if g.closed {
		return
	}
	g.closed = true
	g.left.Cause = cause
	l.leave(g)
	g.lane.Closed(g)
}

// maybeEnd hands back what is left of a generation once its lane has ended it and everything in flight is answered.
func (l *loop) maybeEnd(g *Generation) {
	if !g.ending || g.unacked > 0 || !g.known {
		return
	}
	l.leave(g)
	g.known = false
	delete(l.gens, g)
	lane, left := g.lane, g.handBack()
	l.tell() // before the lane decides what is left
	l.pool.release(l.Producer)
	lane.Ended(g, left)
}

// expire ends messages whose delivery timeout is over. Only queue heads need looking at: what stands behind them is
// younger. A batch in flight has its outcome now, and is waited for all the same; one that can't end while it is written
// has a look's time more, before its connection is severed. What stands behind it waits with it.
func (l *loop) expire() {
	holds := false
	for g := range l.gens {
		for b := g.oldestUndecided(); b != nil && b.Deadline <= l.now; b = g.oldestUndecided() {
			cause := flow.Expired(l.Shared.DeliveryTimeout, b.Cause)
			if l.endNow(g, b, cause) {
				continue
			}
			if b.late { // at the last look already
				l.claims.sever(b, errStuck)
			}
			b.late = true
			break
		}
		n := 0
		for ; n < len(g.records) && l.Shared.Deadline(g.records[n].Born) <= l.now; n++ {
			l.drop(g, g.records[n], g.wrap(flow.Expired(l.Shared.DeliveryTimeout, g.left.Cause)))
		}
		g.records = slices.Delete(g.records, 0, n)
		holds = holds || g.holds()
		l.place(g)
	}
	if holds {
		l.watchDeadlines()
	}
}

// endNow fails a batch wherever it is: in flight it stays until it is answered. It returns false if the batch can't end at
// this moment, because it is being written, and borrows what is its sender's again with the outcome.
func (l *loop) endNow(g *Generation, b *Batch, cause error) bool {
	inFlight := g.inFlight(b)
	if inFlight && !b.back {
		where := l.claims.end(b)
		if where == beingWritten && b.Borrows() {
			return false
		}
		b.Unsure = b.Unsure || where != unwritten
	}
	l.fail(b, cause)
	switch {
	case inFlight && b.back:
		l.giveUp(b, cause)
	case inFlight:
	default:
		g.unqueue(b)
		numbered := b.Numbered
		b.Release()
		if numbered {
			l.gap(g, cause)
		}
	}
	return true
}

// abort ends everything with cause: Close ran out of time.
func (l *loop) abort(cause error) {
	l.cancel()
	for g := range l.gens {
		for {
			b := g.oldestUndecided()
			if b == nil || !l.endNow(g, b, cause) {
				break // it is being written; it will be answered soon, and end in that turn
			}
		}
		for _, rec := range g.records {
			l.drop(g, rec, g.wrap(cause))
		}
		g.records = nil
		l.shut(g, cause, false)
	}
	// What was not claimed by now is not written any more; so this is the last write.
	l.claims.sever(nil, cause)
}
