package brokerproducer

import (
	"runtime"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// loop is the select loop of one broker. Its own fields are its goroutine's; the Producer is shared with the network
// goroutine.
//
// A session with something to send is in one of two lists. Those that linger wait together, as one set, for size, count or
// the linger timer (Producer.Flush.*); then all become due. Those that are due are sent as soon as the bridge is free, and
// grow until then. A session whose window is full is in neither: it waits for its answers, and the loop goes on.
type loop struct {
	*Producer

	sessions   map[*Session]struct{} // that have not ended
	due        []*Session            // with entries of sessions that have left the list: Session.queued counts
	lingerers  []*Session            // likewise
	bridgeFree bool
	stopped    bool
	spare      []*request // ended, to be used again
	sizes      sizes      // that requests may have

	// Of the set that lingers: its size, its age, and how long it may wait.
	lingerBytes, lingerRecords int
	lingerCount                int
	lingerSince                int64
	linger                     time.Duration
	noLinger                   bool // Producer.Flush asks for no waiting at all

	lingerTimer   *time.Timer
	deadlineTimer *time.Timer
	deadlineArmed bool
	deadlineEvery time.Duration

	outcomes []*flow.Outcome // of this turn, not published yet
	notified int             // records of the last turn whose sender waited for the outcome
	now      int64           // the producer's clock at the beginning of this turn
	runCache flow.RunCache
	slow     slowness
}

// itemsKept is the longest slice of items that is kept for the next turn, however little of it was used: with thousands of
// partitions a turn may have as many.
const itemsKept = 16 << 10

func newLoop(p *Producer) *loop {
	l := &loop{Producer: p, sessions: make(map[*Session]struct{}), bridgeFree: true}
	l.linger, l.noLinger = p.Shared.Linger()
	l.deadlineEvery = p.Shared.DeadlineCheckEvery()
	l.lingerTimer = flow.StoppedTimer()
	l.deadlineTimer = flow.StoppedTimer()
	return l
}

// run ends when no session has been open for a while: then nothing is in flight either.
func (l *loop) run() {
	remove := l.Shared.OnChange(l.mailbox.Notify)
	defer remove()
	defer l.Shared.OnUrgent(l.mailbox.Notify)()
	defer close(l.bridge)
	defer l.lingerTimer.Stop()
	defer l.deadlineTimer.Stop()
	defer l.slow.trouble.Leave()

	var items []item
	for !l.stopped {
		expired := false
		select {
		case <-l.mailbox.Wake():
		case <-l.lingerTimer.C:
		case <-l.deadlineTimer.C:
			l.deadlineArmed, expired = false, true
		}
		if l.noLinger && l.notified > 1 {
			// Several senders got their outcomes in the last turn, and the first one that sent again has woken this goroutine.
			// Let the others run too, so that they share a request. That halves the cost of 100 senders.
			runtime.Gosched()
		}
		l.notified = 0
		l.now = l.Shared.Now()
		items = l.mailbox.Take(items)
		l.turn(items, expired)
		items = flow.SpareOf(items, itemsKept)
	}
}

// turn is one wake-up's work: it takes in what came, then sends what is due.
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
			l.addRun(it.session, it.run, millis)
			l.runCache.Put(it.run)
		case itemBatch:
			l.register(it.session)
			it.batch.session, it.batch.TopicID = it.session, it.session.TopicID
			it.session.ready = append(it.session.ready, it.batch)
			l.watchDeadlines()
			l.requeue(it.session)
		case itemEnd:
			l.register(it.session)
			it.session.ending = true
			l.recall(it.session)
			l.maybeEnd(it.session)
		case itemAnswer:
			l.answered(it.req)
		case itemBridgeFree:
			l.bridgeFree = true
		case itemAdded:
			if it.session.registered {
				l.requeue(it.session)
			}
		case itemConnLost:
			for s := range l.sessions {
				l.closeSession(s, it.err, AfterLookup)
			}
		case itemStop:
			l.stopped = true
		}
	}
}

// register takes a session in at its first item.
func (l *loop) register(s *Session) {
	if !s.registered {
		s.registered = true
		l.sessions[s] = struct{}{}
	}
}

// requeue puts a session into the list where it belongs after something changed.
func (l *loop) requeue(s *Session) {
	switch {
	case s.closed || s.ending || !s.sendable() || s.windowFull(l.Window) || l.Txn != nil && !l.joinTxn(s):
		l.unqueue(s)
	case s.queued == due:
	case l.noLinger || len(s.ready) > 0 || l.now-s.since >= int64(l.linger) || l.isOld(s.open) || l.Shared.Urgent():
		l.makeDue(s)
	default:
		// It has something to send, and nothing is ready: so open is not nil.
		if s.queued == notQueued {
			l.beginLinger(s)
		}
		l.lingerBytes += s.open.Bytes() - s.lingerBytes
		l.lingerRecords += s.open.Len() - s.lingerRecords
		s.lingerBytes, s.lingerRecords = s.open.Bytes(), s.open.Len()
	}
}

// isOld tells whether a batch has waited elsewhere for half of its time, such as for a leader. It would expire in the lingering set.
func (l *loop) isOld(b *Batch) bool { return b.Deadline-l.now <= int64(l.Shared.DeliveryTimeout/2) }

// beginLinger adds a session to the set that lingers. The set is as old as its oldest batch.
func (l *loop) beginLinger(s *Session) {
	s.queued = lingering
	l.lingerers = append(l.lingerers, s)
	l.lingerCount++
	if l.lingerCount == 1 || s.since < l.lingerSince {
		l.lingerSince = s.since
		l.lingerTimer.Reset(l.linger - time.Duration(l.now-s.since))
	}
}

func (l *loop) makeDue(s *Session) {
	l.unqueue(s)
	s.queued = due
	l.due = append(l.due, s)
}

// unqueue takes a session out of its list. The entry stays until the list is walked.
func (l *loop) unqueue(s *Session) {
	if s.queued == lingering {
		l.lingerBytes -= s.lingerBytes
		l.lingerRecords -= s.lingerRecords
		s.lingerBytes, s.lingerRecords = 0, 0
		if l.lingerCount--; l.lingerCount == 0 {
			clear(l.lingerers)
			l.lingerers = l.lingerers[:0]
			l.lingerTimer.Stop()
		}
	}
	s.queued = notQueued
}

// flush makes the lingering set due if it is time, and hands a request to the network goroutine if that is free.
func (l *loop) flush() {
	if l.lingerCount > 0 {
		f := &l.conf.Producer.Flush
		if f.Bytes > 0 && l.lingerBytes >= f.Bytes || f.Messages > 0 && l.lingerRecords >= f.Messages ||
			l.now-l.lingerSince >= int64(l.linger) || l.Shared.Urgent() {
			l.endLinger()
		}
	}
	if l.bridgeFree && len(l.due) > 0 {
		if req := l.compose(); len(req.batches) > 0 {
			l.bridgeFree = false
			l.bridge <- req // never blocks: the network goroutine has said that it is free
		} else {
			l.recycle(req) // all that was due has left the list
		}
	}
}

func (l *loop) endLinger() {
	lingerers := l.lingerers
	l.lingerers = nil // unqueue clears the list when the last one leaves it, and this loop still reads it
	for _, s := range lingerers {
		if s.queued == lingering {
			l.makeDue(s)
		}
	}
	clear(lingerers)
	l.lingerers = lingerers[:0]
}

// watchDeadlines arms the timer that looks at deadlines; an idle loop has none.
func (l *loop) watchDeadlines() {
	if !l.deadlineArmed {
		l.deadlineArmed = true
		l.deadlineTimer.Reset(l.deadlineEvery)
	}
}
