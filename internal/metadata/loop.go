package metadata

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// watchedTopic is a topic with its listener and the state of its look-up. The loop owns it once it has drained it from
// the requests.
type watchedTopic struct {
	topic  string
	notify func(*Topic, error)

	create        bool      // a message waits: the next look-up may create the topic
	creating      bool      // the same of the look-up under way, retries included
	lookedUp      bool      // it was in a round: from then on its look-ups are spaced
	due           time.Time // while pending: when its retry may begin; zero if it is no retry
	refreshNumber uint64    // of the newest Refresh
	roundNumber   uint64    // refreshNumber as it was when the topic's last round began
	retries       int       // of the look-up under way
	deadline      time.Time // of the look-up under way; zero: none
	useless       int       // answers in a row that helped nobody, see countAnswer
	troubleAt     time.Time // when that count last began anew, see newTrouble

	askNext failing               // partitions that ask for the next round because they failed
	asking  failing               // those that asked for the one under way
	older   map[int32]*olderEpoch // by partition, see believe

	trouble flow.Trouble // why its look-ups fail, for the log
}

// endLookUp: the look-up under way has ended, with its retries.
func (w *watchedTopic) endLookUp() { w.retries, w.due, w.creating = 0, time.Time{}, false }

// loop is the look-up goroutine's state. All of it belongs to that goroutine, but a round borrows the client.
type loop struct {
	s    *Service
	conf *sarama.Config

	watched   map[string]*watchedTopic
	pending   map[*watchedTopic]struct{} // to be looked up in the next round
	nextRound time.Time                  // spaced look-ups wait until then
	refresh   time.Time                  // when all watched topics are due; zero if RefreshFrequency is 0

	unwatched    map[string]struct{} // topics of the snapshot that were watched until lately
	unresponsive []unresponsive      // to mark when the client is back from its round
	client       *client
	round        []*watchedTopic // under way; nil if there is none
	answers      chan answer
}

// answer ends a round, and gives the client back.
type answer struct {
	resp *wire.Metadata
	err  error
}

func newLoop(s *Service, c *client) *loop {
	l := &loop{
		s: s, conf: s.conf, client: c,
		watched: map[string]*watchedTopic{}, pending: map[*watchedTopic]struct{}{}, unwatched: map[string]struct{}{},
		answers: make(chan answer, 1),
	}
	if every := s.conf.Metadata.RefreshFrequency; every > 0 {
		l.refresh = time.Now().Add(every)
	}
	return l
}

// run ends when Close is called. It drains the requests before it starts a round, so that topics that were asked for
// together share a Metadata request. Requests that come during a round wait for the next one.
func (l *loop) run() {
	defer l.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.drain()
		if next := l.startDue(time.Now()); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-l.s.closing.Done():
			return
		case a := <-l.answers:
			l.finishRound(a)
		case <-l.s.requests.wake:
		case <-timer.C:
		}
	}
}

// stop waits for the round, which Close has cancelled, and closes the connection.
func (l *loop) stop() {
	if l.round != nil {
		<-l.answers
	}
	l.client.disconnect()
}

// drain carries out the requests.
func (l *loop) drain() {
	commands, refreshes, failings := l.s.requests.drain()
	var leaders []*newLeader
	for _, c := range commands {
		switch {
		case c.updateLeader != nil:
			leaders = append(leaders, c.updateLeader)
			continue
		case c.markUnresponsive.addr != "":
			l.unresponsive = append(l.unresponsive, c.markUnresponsive)
			continue
		case c.unwatch != "":
			l.unwatch(c.unwatch)
			continue
		}
		l.watch(c.watch)
	}
	if len(l.unwatched) > len(l.watched) {
		l.dropUnwatched()
	}
	l.updateLeaders(leaders)
	l.markUnresponsive()
	for topic, partitions := range failings {
		if w := l.watched[topic]; w != nil {
			w.askNext = w.askNext.join(partitions)
		}
	}
	for topic, refresh := range refreshes {
		if w := l.watched[topic]; w != nil {
			w.refreshNumber = refresh.number
			w.create = w.create || refresh.create
			l.lookUp(w)
		}
	}
}

// watch gives a topic its listener. If the bootstrap answered the topic, its first listener needs no look-up.
func (l *loop) watch(w *watchedTopic) {
	if _, old := l.unwatched[w.topic]; old {
		l.dropUnwatched() // what is known of it is old
	}
	earlier := l.watched[w.topic]
	delete(l.pending, earlier)
	l.watched[w.topic] = w
	known := l.s.Topic(w.topic)
	w.lookedUp = known != nil
	if earlier == nil && known != nil {
		w.notify(known, nil)
		return
	}
	w.create = true
	l.lookUp(w)
}

// unwatch forgets a topic. The snapshot has it until there are more such topics than others, since each change copies it.
func (l *loop) unwatch(topic string) {
	delete(l.pending, l.watched[topic])
	if w := l.watched[topic]; w != nil {
		w.trouble.Leave()
	}
	delete(l.watched, topic)
	l.s.requests.forget(topic)
	l.s.failures.set(topic, nil)
	l.unwatched[topic] = struct{}{}
}

// dropUnwatched removes topics that nobody watches, or only the bootstrap has asked for: what is known of them is old by
// now.
func (l *loop) dropUnwatched() {
	clear(l.unwatched)
	now := l.s.current.Load()
	watched := make(map[string]*Topic, len(l.watched))
	for name := range l.watched {
		if t := now.topics[name]; t != nil {
			watched[name] = t
		}
	}
	l.s.current.Store(&snapshot{brokers: now.brokers, topics: watched})
}

// lookUp puts a topic into the next round. If it waits for a retry, it goes on waiting.
func (l *loop) lookUp(w *watchedTopic) { l.pending[w] = struct{}{} }

// updateLeaders publishes a snapshot with the leaders that produce answers have named, then notifies the listeners.
func (l *loop) updateLeaders(leaders []*newLeader) {
	if len(leaders) == 0 {
		return
	}
	now := l.s.current.Load()
	brokers := maps.Clone(now.brokers)
	changed := map[string]*Topic{}
	for _, nl := range leaders {
		t := changed[nl.topic]
		if t == nil {
			t = now.topics[nl.topic]
		}
		if _, ok := brokers[nl.leader]; !ok && nl.node == nil {
			continue // a leader without an address is of no use; the refresh that follows will bring both
		}
		t, taken := t.withLeader(*nl)
		if !taken {
			continue
		}
		changed[nl.topic] = t
		if nl.node != nil {
			brokers[nl.leader] = Broker{ID: nl.leader, Addr: nl.node.Addr, Rack: nl.node.Rack}
		}
	}
	if len(changed) == 0 {
		return
	}
	l.s.current.Store(now.next(brokers, changed))
	l.logLeaders(now, changed)
	for _, topic := range slices.Sorted(maps.Keys(changed)) {
		if w := l.watched[topic]; w != nil {
			w.notify(changed[topic], nil)
		}
	}
}

// markUnresponsive passes unresponsive brokers on to the client, unless a round has it: then finishRound does.
func (l *loop) markUnresponsive() {
	if l.round != nil {
		return
	}
	for _, u := range l.unresponsive {
		l.client.markUnresponsive(u)
	}
	l.unresponsive = nil
}

// startDue starts a round if one is due and none is under way. It returns when to call it again; zero: not before
// something happens.
func (l *loop) startDue(now time.Time) (next time.Time) {
	if !l.refresh.IsZero() {
		if !now.Before(l.refresh) {
			l.refresh = now.Add(l.conf.Metadata.RefreshFrequency)
			l.dropUnwatched()
			for _, w := range l.watched {
				l.lookUp(w)
			}
		}
		next = l.refresh
	}
	if l.round != nil {
		return next
	}
	due := false
	for w := range l.pending {
		at := w.due
		if w.lookedUp && at.Before(l.nextRound) {
			at = l.nextRound
		}
		if !at.After(now) {
			due = true
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if due {
		l.startRound(now)
	}
	return next
}

// startRound looks up all pending topics, but for those whose retry is not due.
func (l *loop) startRound(now time.Time) {
	var deadline time.Time
	var topics, missing []string // missing: those that the request may create
	byName := func(a, b *watchedTopic) int { return cmp.Compare(a.topic, b.topic) }
	for _, w := range slices.SortedFunc(maps.Keys(l.pending), byName) {
		if w.due.After(now) {
			continue
		}
		delete(l.pending, w)
		w.lookedUp, w.roundNumber = true, w.refreshNumber
		w.asking, w.askNext = w.asking.join(w.askNext), nil
		w.newTrouble(now)
		l.avoidLeaders(w, now)
		if timeout := l.conf.Metadata.Timeout; timeout > 0 && w.retries == 0 {
			w.deadline = now.Add(timeout)
		}
		if w.deadline.After(deadline) {
			deadline = w.deadline
		}
		l.round = append(l.round, w)
		if w.creating, w.create = w.creating || w.create, false; w.creating && l.conf.Metadata.AllowAutoTopicCreation {
			missing = append(missing, w.topic)
		} else {
			topics = append(topics, w.topic)
		}
	}
	ctx, cancel := l.s.closing, context.CancelFunc(func() {})
	if !deadline.IsZero() {
		ctx, cancel = context.WithDeadlineCause(ctx, deadline, timedOut(l.conf.Metadata.Timeout))
	}
	brokers := l.s.current.Load().brokers
	l.s.spawn(func() {
		defer cancel()
		resp, err := l.client.askFor(ctx, topics, missing, brokers)
		l.answers <- answer{resp, err} // has room for the one round
	})
}

// finishRound publishes the new snapshot first, then notifies each topic's listener or has the look-up retried.
func (l *loop) finishRound(a answer) {
	round := l.round
	l.round = nil
	l.markUnresponsive()
	now := time.Now()
	// A topic that has a new listener since the round began is looked up for it in the next one.
	round = slices.DeleteFunc(round, func(w *watchedTopic) bool { return l.watched[w.topic] != w })
	pause := flow.MetadataBackoff(l.conf, 0)

	if a.err != nil {
		l.nextRound = now.Add(max(pause, leastPause))
		for _, w := range round {
			l.fail(w, a.err, flow.LoginRefused(a.err), now)
		}
		return
	}
	answers := make(map[string]*wire.MetadataTopic, len(a.resp.Topics))
	for i := range a.resp.Topics {
		answers[a.resp.Topics[i].Name] = &a.resp.Topics[i]
	}
	before := l.s.current.Load()
	changed := map[string]*Topic{}
	brokers := answeredBrokers(a.resp)
	from, several := l.client.connTo.brokerID(brokers), len(brokers) > 1
	another := false
	for _, w := range round {
		if err, final := topicError(answers[w.topic]); err != nil {
			another = !final && w.countAnswer(useless) || another
			continue
		}
		newer := answeredTopic(answers[w.topic])
		t, stale := merge(w.believe(before.topics[w.topic], newer, from, several, l.s.log), newer)
		if t != before.topics[w.topic] {
			changed[w.topic] = t
		}
		switch {
		case stale || len(t.Writable) < len(t.All):
			another = w.countAnswer(useless) || another
		case t == before.topics[w.topic] && l.s.requests.answeredUpTo(w.topic) < w.roundNumber:
			another = w.countAnswer(unchanged) || another // although somebody asked
		default:
			w.countAnswer(helpful)
		}
	}
	if another {
		l.client.askAnother()
	}
	if slices.ContainsFunc(round, (*watchedTopic).uselessLately) {
		pause = max(pause, leastPause)
	}
	l.nextRound = now.Add(pause)
	l.s.current.Store(before.next(brokers, changed))
	l.logLeaders(before, changed)
	for _, w := range round {
		if err, final := topicError(answers[w.topic]); err != nil {
			l.fail(w, err, final, now)
			continue
		}
		w.endLookUp()
		w.trouble.Over(slog.String("topic", w.topic))
		l.s.failures.set(w.topic, nil)
		l.s.requests.answer(w.topic, w.roundNumber)
		w.notify(l.s.Topic(w.topic), nil)
	}
}

// fail has a topic's look-up retried, or ends it.
func (l *loop) fail(w *watchedTopic, err error, final bool, now time.Time) {
	pause := flow.MetadataBackoff(l.conf, w.retries)
	late := !w.deadline.IsZero() && now.Add(pause).After(w.deadline)
	if !final && !late && w.retries < l.conf.Metadata.Retry.Max {
		w.retries++
		w.due = now.Add(pause)
		l.s.failures.set(w.topic, err)
		l.lookUp(w)
		return
	}
	w.endLookUp()
	l.s.failures.set(w.topic, nil)
	l.s.log.Printf("sluice: looking up topic %q: %v\n", w.topic, err)
	l.logFailed(w, err)
	l.s.requests.answer(w.topic, w.roundNumber)
	w.notify(l.s.Topic(w.topic), flow.External(err))
}
