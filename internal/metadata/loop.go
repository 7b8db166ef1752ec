package metadata

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// watch is a watched topic and the state of its look-up. The loop owns it once it has taken it from the requests.
type watch struct {
	topic  string
	notify func(*Topic, error)

	asked         bool      // it was in a round: from then on its look-ups are spaced
	due           time.Time // while pending: not before; later than now only for a retry
	refreshNumber uint64    // of the last Refresh that asked for it
	going         uint64    // what refresh number was when its last round began
	retries       int       // of the look-up that is going on
	deadline      time.Time // of the look-up that is going on; zero: none
}

// loop is the look-up goroutine's state, its own but for the finder, which is with the round while there is one.
type loop struct {
	s    *Service
	conf *sarama.Config

	watches map[string]*watch
	pending map[*watch]struct{} // asked for, and not in a round yet
	gate    time.Time           // rounds of spaced look-ups don't begin before
	refresh time.Time           // when all watched topics are due; zero if RefreshFrequency is 0

	unresponsive []string // addresses that the finder is not told of yet, as a round has it
	finder       *finder
	round        []*watch // under way; nil if there is none
	answers      chan answer
}

// answer ends a round, and gives the finder back.
type answer struct {
	resp *kmsg.MetadataResponse
	err  error
}

func newLoop(s *Service, f *finder) *loop {
	l := &loop{
		s: s, conf: s.conf, finder: f,
		watches: map[string]*watch{}, pending: map[*watch]struct{}{},
		answers: make(chan answer, 1),
	}
	if every := s.conf.Metadata.RefreshFrequency; every > 0 {
		l.refresh = time.Now().Add(every)
	}
	return l
}

// run ends when Close is called. The requests is drained before a round begins, so that what was asked together goes out
// together. What comes during a round joins pending, and the round's answer leaves it there.
func (l *loop) run() {
	defer l.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.drain()
		if next := l.begin(time.Now()); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-l.s.closing.Done():
			return
		case a := <-l.answers:
			l.finish(a)
		case <-l.s.requests.wake:
		case <-timer.C:
		}
	}
}

// stop waits for the round, which Close has ended, and lets go of the connection.
func (l *loop) stop() {
	if l.round != nil {
		<-l.answers
	}
	l.finder.drop()
}

// drain does what the requests asks for.
func (l *loop) drain() {
	commands, refreshes := l.s.requests.drain()
	var leaders []*leadership
	for _, c := range commands {
		switch {
		case c.updateLeader != nil:
			leaders = append(leaders, c.updateLeader)
			continue
		case c.markUnresponsive != "":
			l.unresponsive = append(l.unresponsive, c.markUnresponsive)
			continue
		}
		l.watch(c.watch)
	}
	l.updateLeader(leaders)
	l.markUnresponsive()
	for topic, refreshNumber := range refreshes {
		if w := l.watches[topic]; w != nil {
			w.refreshNumber = refreshNumber
			l.want(w)
		}
	}
}

// watch gives a topic its listener. The first one of a topic that the bootstrap told of needs no look-up.
func (l *loop) watch(w *watch) {
	earlier := l.watches[w.topic]
	delete(l.pending, earlier)
	l.watches[w.topic] = w
	known := l.s.Topic(w.topic)
	w.asked = known != nil
	if earlier == nil && known != nil {
		w.notify(known, nil)
		return
	}
	l.want(w)
}

// forget drops what the bootstrap told of topics that nobody watches: it is old by now.
func (l *loop) forget() {
	now := l.s.now.Load()
	watched := make(map[string]*Topic, len(l.watches))
	for name := range l.watches {
		if t := now.topics[name]; t != nil {
			watched[name] = t
		}
	}
	l.s.now.Store(&snapshot{brokers: now.brokers, topics: watched})
}

// want has a topic looked up in the next round. One that waits for its retry goes on waiting.
func (l *loop) want(w *watch) { l.pending[w] = struct{}{} }

// update the leader takes leaders told by produce answers into one new snapshot, then notifies.
func (l *loop) updateLeader(leaders []*leadership) {
	if len(leaders) == 0 {
		return
	}
	now := l.s.now.Load()
	brokers := maps.Clone(now.brokers)
	changed := map[string]*Topic{}
	for _, told := range leaders {
		t := changed[told.topic]
		if t == nil {
			t = now.topics[told.topic]
		}
		if _, ok := brokers[told.leader]; !ok && told.node == nil {
			continue // a leader without an address is of no use: the refresh that follows will tell both
		}
		t, taken := lead(t, *told)
		if !taken {
			continue
		}
		changed[told.topic] = t
		if told.node != nil {
			brokers[told.leader] = Broker{ID: told.leader, Addr: told.node.Addr, Rack: told.node.Rack}
		}
	}
	if len(changed) == 0 {
		return
	}
	l.s.now.Store(now.next(brokers, changed))
	for _, topic := range slices.Sorted(maps.Keys(changed)) {
		if w := l.watches[topic]; w != nil {
			w.notify(changed[topic], nil)
		}
	}
}

// mark as unresponsive tells the finder of brokers that others have found silent.
func (l *loop) markUnresponsive() {
	if l.round != nil {
		return // finish comes back to it
	}
	for _, addr := range l.unresponsive {
		l.finder.markUnresponsive(addr)
	}
	l.unresponsive = nil
}

// begin starts a round if one is due and none is under way. Otherwise it returns when to look again (zero: when
// something happens).
func (l *loop) begin(now time.Time) (next time.Time) {
	if !l.refresh.IsZero() {
		if !now.Before(l.refresh) {
			l.refresh = now.Add(l.conf.Metadata.RefreshFrequency)
			l.forget()
			for _, w := range l.watches {
				l.want(w)
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
		if w.asked && at.Before(l.gate) {
			at = l.gate
		}
		if !at.After(now) {
			due = true
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if due {
		l.ask(now)
	}
	return next
}

// ask starts a round for all topics that wait, but for those whose retry is not due.
func (l *loop) ask(now time.Time) {
	var deadline time.Time
	var topics []string
	for _, w := range slices.SortedFunc(maps.Keys(l.pending), byName) {
		if w.due.After(now) {
			continue
		}
		delete(l.pending, w)
		w.asked, w.going = true, w.refreshNumber
		if timeout := l.conf.Metadata.Timeout; timeout > 0 && w.retries == 0 {
			w.deadline = now.Add(timeout)
		}
		if w.deadline.After(deadline) {
			deadline = w.deadline
		}
		l.round = append(l.round, w)
		topics = append(topics, w.topic)
	}
	ctx, cancel := l.s.closing, context.CancelFunc(func() {})
	if !deadline.IsZero() {
		ctx, cancel = context.WithDeadlineCause(ctx, deadline, timedOut(l.conf.Metadata.Timeout))
	}
	req, brokers := newRequest(l.conf, topics), l.s.now.Load().brokers
	l.s.spawn(func() {
		defer cancel()
		resp, err := l.finder.ask(ctx, req, brokers)
		l.answers <- answer{resp, err} // has room for the one round
	})
}

// finish ends a round: the new snapshot first, then each topic's listener or retry.
func (l *loop) finish(a answer) {
	round := l.round
	l.round = nil
	l.markUnresponsive()
	now := time.Now()
	l.gate = now.Add(backoff(l.conf, 0))
	// Topics that were watched anew meanwhile are asked for anew.
	round = slices.DeleteFunc(round, func(w *watch) bool { return l.watches[w.topic] != w })

	if a.err != nil {
		for _, w := range round {
			l.fail(w, a.err, errors.Is(a.err, sarama.ErrSASLAuthenticationFailed), now)
		}
		return
	}
	told := make(map[string]*kmsg.MetadataResponseTopic, len(a.resp.Topics))
	for i := range a.resp.Topics {
		if t := &a.resp.Topics[i]; t.Topic != nil {
			told[*t.Topic] = t
		}
	}
	before := l.s.now.Load()
	changed := map[string]*Topic{}
	for _, w := range round {
		if err, _ := verdict(told[w.topic]); err != nil {
			continue
		}
		t, stale := merge(before.topics[w.topic], answeredTopic(w.topic, told[w.topic]))
		if t != before.topics[w.topic] {
			changed[w.topic] = t
		}
		if stale {
			l.finder.distrust()
		}
	}
	l.s.now.Store(before.next(answeredBrokers(a.resp), changed))
	for _, w := range round {
		if err, final := verdict(told[w.topic]); err != nil {
			l.fail(w, err, final, now)
			continue
		}
		w.retries, w.due = 0, time.Time{}
		l.s.requests.answer(w.topic, w.going)
		w.notify(l.s.Topic(w.topic), nil)
	}
}

// fail has a topic's look-up retried, or ends it.
func (l *loop) fail(w *watch, err error, final bool, now time.Time) {
	pause := backoff(l.conf, w.retries)
	late := !w.deadline.IsZero() && now.Add(pause).After(w.deadline)
	if !final && !late && w.retries < l.conf.Metadata.Retry.Max {
		w.retries++
		w.due = now.Add(pause)
		l.want(w)
		return
	}
	w.retries, w.due = 0, time.Time{}
	err = fmt.Errorf("topic %q: %w", w.topic, flow.External(err))
	sarama.Logger.Println(err)
	l.s.requests.answer(w.topic, w.going)
	w.notify(l.s.Topic(w.topic), err)
}
