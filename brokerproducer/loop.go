package brokerproducer

import (
	"runtime"
	"time"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// loop is the select loop of one broker. All its fields are its goroutine's.
//
// Generations with something to send stand in one of two lists. Those that linger wait together, as one set, for size,
// count or the linger timer (Producer.Flush.*); then all become due. Those that are due are sent as soon as the bridge
// is free, and grow until then. A generation whose window is full stands in neither: it alone waits for its answers,
// never the loop.
type loop struct {
	*Producer

	gens       map[*Generation]struct{} // that are not ended
	due        []*Generation
	waiting    []*Generation // that linger
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
	told     int             // records with a sink that the last turn told
	now      int64           // the producer's clock at the beginning of this turn
	runCache flow.RunCache
}

// itemsKept is up to what length a slice of items is kept for the next turn, though it was hardly used: with thousands of
// partitions there are as many for a turn.
const itemsKept = 16 << 10

func newLoop(p *Producer) *loop {
	l := &loop{Producer: p, gens: make(map[*Generation]struct{}), bridgeFree: true}
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

// run ends when no lane has been left for a while: then nothing is open and nothing in flight.
func (l *loop) run() {
	remove := l.Shared.OnKick(l.inbox.Kick)
	defer remove()
	defer l.Shared.OnHurry(l.inbox.Kick)()
	defer close(l.bridge)
	defer l.lingerTimer.Stop()
	defer l.deadlineTimer.Stop()

	var items []item
	for !l.stopped {
		expired := false
		select {
		case <-l.inbox.Wake():
		case <-l.lingerTimer.C:
		case <-l.deadlineTimer.C:
			l.deadlineArmed, expired = false, true
		}
		if l.atOnce && l.told > 1 {
			// Several senders may have been told of their outcomes in the last turn. The first of them that has sent again
			// has woken this goroutine, before the others could run: they are let through, to share a request. It halves
			// what 100 senders cost.
			runtime.Gosched()
		}
		l.told = 0
		l.now = l.Shared.Now()
		items = l.inbox.Take(items)
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
	l.tell()
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
			l.add(it.gen, it.run, millis)
			l.runCache.Put(it.run)
		case itemBatch:
			l.know(it.gen)
			it.batch.gen, it.batch.TopicID = it.gen, it.gen.TopicID
			it.gen.ready = append(it.gen.ready, it.batch)
			l.watchDeadlines()
			l.place(it.gen)
		case itemEnd:
			l.know(it.gen)
			it.gen.ending = true
			l.recall(it.gen)
			l.maybeEnd(it.gen)
		case itemAnswer:
			l.answered(it.req)
		case itemFree:
			l.bridgeFree = true
		case itemConnLost:
			for g := range l.gens {
				l.shut(g, it.err, true)
			}
		case itemStop:
			l.stopped = true
		}
	}
}

// know registers a generation at its first item.
func (l *loop) know(g *Generation) {
	if !g.known {
		g.known = true
		l.gens[g] = struct{}{}
	}
}

// place lets a generation stand where it belongs after something changed.
func (l *loop) place(g *Generation) {
	switch {
	case g.closed || g.ending || !g.sendable() || g.windowFull(l.Window):
		l.leave(g)
	case g.stands == due:
	case l.atOnce || len(g.ready) > 0 || l.now-g.since >= int64(l.linger) || l.Shared.Urgent():
		l.makeDue(g)
	default:
		// It has something to send and nothing ready, so open is not nil.
		if g.stands == nowhere {
			l.join(g)
		}
		l.lingerBytes += g.open.Bytes() - g.lingerBytes
		l.lingerRecords += g.open.Len() - g.lingerRecords
		g.lingerBytes, g.lingerRecords = g.open.Bytes(), g.open.Len()
	}
}

// join adds a generation to the set that lingers. The set is as old as its oldest batch.
func (l *loop) join(g *Generation) {
	g.stands = lingering
	l.waiting = append(l.waiting, g)
	l.lingerCount++
	if l.lingerCount == 1 || g.since < l.lingerSince {
		l.lingerSince = g.since
		l.lingerTimer.Reset(l.linger - time.Duration(l.now-g.since))
	}
}

// makeDue puts a generation into the list of those that are due.
func (l *loop) makeDue(g *Generation) {
	l.leave(g)
	g.stands = due
	l.due = append(l.due, g)
}

// leave takes a generation out of the list that it stands in. Its entry stays until the list is walked.
func (l *loop) leave(g *Generation) {
	if g.stands == lingering {
		l.lingerBytes -= g.lingerBytes
		l.lingerRecords -= g.lingerRecords
		g.lingerBytes, g.lingerRecords = 0, 0
		if l.lingerCount--; l.lingerCount == 0 {
			clear(l.waiting)
			l.waiting = l.waiting[:0]
			l.lingerTimer.Stop()
		}
	}
	g.stands = nowhere
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
	for _, g := range waiting {
		if g.stands == lingering {
			l.makeDue(g)
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
