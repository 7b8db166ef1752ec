package brokerproducer

import (
	"runtime"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// loop is the select loop of one broker. All its fields are its goroutine's.
//
// Sessions with something to send stand in one of two lists. Those that linger wait together, as one set, for size,
// count or the linger timer (Producer.Flush.*); then all become due. Those that are due are sent as soon as the bridge
// is free, and grow until then. A session whose window is full stands in neither: it alone waits for its answers,
// never the loop.
type loop struct {
	*Producer

	sessions   map[*Session]struct{} // that are not ended
	due        []*Session
	waiting    []*Session // that linger
	bridgeFree bool
	stopped    bool
	spare      []*request // answered, to be used again

	// Of the set that lingers: its size, its age, and how long it may wait.
	lingerBytes, lingerRecords int
	lingerCount                int
	lingerSince                int64
	linger                     time.Duration
	atOnce                     bool // Producer.Flush asks for no waiting at all

	lingerTimer   *time.Timer
	deadlineTimer *time.Timer
	deadlineArmed bool
	deadlineEvery time.Duration

	decided  []*flow.Outcome // in this turn, and not told yet
	notified int             // records with a waiter that the last turn told
	now      int64           // the producer's clock at the beginning of this turn
	runCache flow.RunCache
}

// itemsKept is up to what length a slice of items is kept for the next turn, though it was hardly used: with thousands of
// partitions there are as many for a turn.
const itemsKept = 16 << 10

func newLoop(p *Producer) *loop {
	l := &loop{Producer: p, sessions: make(map[*Session]struct{}), bridgeFree: true}
	flush := &p.conf.Producer.Flush
	l.atOnce = flush.Bytes == 0 && flush.Messages == 0 && flush.Frequency == 0
	l.linger = flush.Frequency
	// A batch is sent well before its deadline, also where Flush sets a size or a count that is never reached.
	if latest := p.Shared.DeliveryTimeout / 2; l.linger == 0 || l.linger > latest {
		l.linger = latest
	}
	l.deadlineEvery = p.Shared.LookEvery()
	l.lingerTimer = flow.StoppedTimer()
	l.deadlineTimer = flow.StoppedTimer()
	return l
}

// run ends when no partition producer has been left for a while: then nothing is open and nothing in flight.
func (l *loop) run() {
	remove := l.Shared.OnChange(l.mailbox.Notify)
	defer remove()
	defer l.Shared.OnUrgent(l.mailbox.Notify)()
	defer close(l.bridge)
	defer l.lingerTimer.Stop()
	defer l.deadlineTimer.Stop()

	var items []item
	for !l.stopped {
		expired := false
		select {
		case <-l.mailbox.Wake():
		case <-l.lingerTimer.C:
		case <-l.deadlineTimer.C:
			l.deadlineArmed, expired = false, true
		}
		if l.atOnce && l.notified > 1 {
			// Several senders may have been told of their outcomes in the last turn. The first of them that has sent again
			// has woken this goroutine, before the others could run: they are let through, to share a request. It halves
			// what 100 senders cost.
			runtime.Gosched()
		}
		l.notified = 0
		l.now = l.Shared.Now()
		items = l.mailbox.Take(items)
		l.turn(items, expired)
		items = flow.SpareOf(items, itemsKept)
	}
}

// turn is what one wake-up does: it takes in what came, then sends what is due.
func (l *loop) turn(items []item, expired bool) {
	l.handle(items)
	if cause := l.Shared.Aborted(); cause != nil {
		l.abort(cause)
	}
	if expired {
		l.expire()
	}
	l.publish()
	l.flush()
}

func (l *loop) handle(items []item) {
	var millis int64
	for i := range items {
		it := &items[i]
		switch it.kind {
		case itemRun:
			if millis == 0 {
				millis = time.Now().UnixMilli()
			}
			l.add(it.session, it.run, millis)
			l.runCache.Put(it.run)
		case itemBatch:
			l.know(it.session)
			it.batch.session, it.batch.TopicID = it.session, it.session.TopicID
			it.session.ready = append(it.session.ready, it.batch)
			l.watchDeadlines()
			l.place(it.session)
		case itemEnd:
			l.know(it.session)
			it.session.ending = true
			l.recall(it.session)
			l.maybeEnd(it.session)
		case itemAnswer:
			l.answered(it.req)
		case itemFree:
			l.bridgeFree = true
		case itemConnLost:
			for s := range l.sessions {
				l.closeSession(s, it.err, true)
			}
		case itemStop:
			l.stopped = true
		}
	}
}

// know registers a session at its first item.
func (l *loop) know(s *Session) {
	if !s.known {
		s.known = true
		l.sessions[s] = struct{}{}
	}
}

// place lets a session stand where it belongs after something changed.
func (l *loop) place(s *Session) {
	switch {
	case s.closed || s.ending || !s.sendable() || s.windowFull(l.Window):
		l.leave(s)
	case s.queued == due:
	case l.atOnce || len(s.ready) > 0 || l.now-s.since >= int64(l.linger) || l.Shared.Urgent():
		l.makeDue(s)
	default:
		// It has something to send and nothing ready, so open is not nil.
		if s.queued == notQueued {
			l.join(s)
		}
		l.lingerBytes += s.open.Bytes() - s.lingerBytes
		l.lingerRecords += s.open.Len() - s.lingerRecords
		s.lingerBytes, s.lingerRecords = s.open.Bytes(), s.open.Len()
	}
}

// join adds a session to the set that lingers. The set is as old as its oldest batch.
func (l *loop) join(s *Session) {
	s.queued = lingering
	l.waiting = append(l.waiting, s)
	l.lingerCount++
	if l.lingerCount == 1 || s.since < l.lingerSince {
		l.lingerSince = s.since
		l.lingerTimer.Reset(l.linger - time.Duration(l.now-s.since))
	}
}

// makeDue puts a session into the list of those that are due.
func (l *loop) makeDue(s *Session) {
	l.leave(s)
	s.queued = due
	l.due = append(l.due, s)
}

// leave takes a session out of the list that it stands in. Its entry stays until the list is walked.
func (l *loop) leave(s *Session) {
	if s.queued == lingering {
		l.lingerBytes -= s.lingerBytes
		l.lingerRecords -= s.lingerRecords
		s.lingerBytes, s.lingerRecords = 0, 0
		if l.lingerCount--; l.lingerCount == 0 {
			clear(l.waiting)
			l.waiting = l.waiting[:0]
			l.lingerTimer.Stop()
		}
	}
	s.queued = notQueued
}

// flush makes the lingering set due if it is time, and hands a set to the network goroutine if that is free.
func (l *loop) flush() {
	if l.lingerCount > 0 {
		f := &l.conf.Producer.Flush
		if f.Bytes > 0 && l.lingerBytes >= f.Bytes || f.Messages > 0 && l.lingerRecords >= f.Messages ||
			l.now-l.lingerSince >= int64(l.linger) || l.Shared.Urgent() {
			l.lingerIsOver()
		}
	}
	if l.bridgeFree && len(l.due) > 0 {
		if req := l.compose(); len(req.batches) > 0 {
			l.bridgeFree = false
			l.bridge <- req // has room: the network goroutine said so
		} else {
			l.recycle(req) // none of those that were due is still open
		}
	}
}

func (l *loop) lingerIsOver() {
	waiting := l.waiting
	l.waiting = nil // leave clears the list with the last one: keep it out of its hands
	for _, s := range waiting {
		if s.queued == lingering {
			l.makeDue(s)
		}
	}
	clear(waiting)
	l.waiting = waiting[:0]
}

// watchDeadlines arms the timer that looks at deadlines; an idle loop has none.
func (l *loop) watchDeadlines() {
	if !l.deadlineArmed {
		l.deadlineArmed = true
		l.deadlineTimer.Reset(l.deadlineEvery)
	}
}
