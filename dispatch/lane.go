package dispatch

import (
	"fmt"
	"sync"
	"time"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// lane is the goroutine of one partition: the rules, a mailbox and a timer. In a healthy partition it would only hand
// runs on to its generation; so it lends the generation to the topic, sleeps, and takes it back when anything happens:
//
//	topic                             lane
//	                                  sends what it holds, then lends, if its mailbox is empty
//	sends to the generation           sleeps
//	                                  takes back, then ends the generation
//	puts into the mailbox             waits, as its rules say
//
// Lending, taking back and the topic's look at it happen under mu. So all that the topic sent is before the end of the
// generation, and all that it puts into the mailbox is sent by the lane, before it lends again.
type lane struct {
	env       *Env
	topic     string
	partition int32
	rules     rules
	stopping  bool         // laneStop has come
	refusal   *txn.Refusal // of a producer id, that the rules were told of last

	// Runs and events have no order between them: an event is about what the lane has already sent.
	runs   *flow.Mailbox[[]flow.Record]
	events *flow.Mailbox[laneEvent]

	mu   sync.Mutex
	lent Generation // nil while the lane has it
}

// send takes a run, which is the lane's from then on. Only the topic calls it.
func (ln *lane) send(run []flow.Record) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.lent != nil {
		ln.lent.Send(run)
	} else {
		ln.runs.Put(run)
	}
}

// lend lends the open generation if the lane has nothing left to send before.
func (ln *lane) lend() {
	if ln.rules.state != stateOpen || ln.env.Aborted() != nil {
		return
	}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.runs.Empty() {
		ln.lent = ln.rules.gen
	}
}

// takeBack ends the lending. The rules call it before they end a generation.
func (ln *lane) takeBack() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.lent = nil
}

type laneEvent struct {
	kind   laneEventKind
	gen    Generation
	left   brokerproducer.Left
	leader leader
	answer uint64
	at     int64 // when the look-up round ended
	err    error
}

type laneEventKind uint8

const (
	laneClosed laneEventKind = iota
	laneEnded
	laneRound
	laneStop
)

// newLane makes a lane; run is its goroutine.
func newLane(env *Env, topic string, partition int32, l leader) *lane {
	conf := env.Conf
	ln := &lane{
		env: env, topic: topic, partition: partition,
		runs: flow.NewMailbox[[]flow.Record](), events: flow.NewMailbox[laneEvent](),
	}
	ln.rules = rules{
		effects:  ln,
		retryMax: conf.Producer.Retry.Max,
		backoff:  ln.backoff,
		pause:    conf.Producer.Retry.Backoff,
		bounded:  env.SaramaContract,

		lookUpRetries: conf.Metadata.Retry.Max,
		timeout:       env.DeliveryTimeout,
		closing:       env.Closing,
		aborted:       env.Aborted,
		leader:        l,
		idempotent:    env.Identities != nil,
		sequence:      txn.Sequence{Identity: txn.None},
	}
	return ln
}

// backoff does not ask the user's function for a pause once nothing is retried any more.
func (ln *lane) backoff(failures int) time.Duration {
	if ln.env.Aborted() != nil {
		return 0
	}
	return flow.Backoff(ln.env.Conf, failures)
}

// run ends after stop, when the generation that was open has ended. A lane sleeps for most of its life, and there may be
// ten thousand: it holds nothing meanwhile but itself.
func (ln *lane) run() {
	defer ln.env.OnKick(ln.events.Kick)()
	var timer laneTimer
	defer timer.stop()
	for {
		select {
		case <-ln.runs.Wake():
		case <-ln.events.Wake():
		case <-timer.expired:
			timer.at = 0
		}
		if ln.turn(&timer) {
			return
		}
	}
}

// laneTimer is made by the first turn that has to wait: a healthy lane never does.
type laneTimer struct {
	timer   *time.Timer
	expired <-chan time.Time // nil without a timer
	at      int64            // when it expires; 0: not at all
}

func (t *laneTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
	}
}

func (t *laneTimer) set(at, now int64) {
	if at == t.at {
		return
	}
	switch {
	case t.timer == nil:
		t.timer = time.NewTimer(time.Duration(at - now))
		t.expired = t.timer.C
	case at == 0:
		t.timer.Stop()
	default:
		t.timer.Reset(time.Duration(at - now))
	}
	t.at = at
}

// turn is what one wake-up does. It returns true when the lane is to end.
func (ln *lane) turn(timer *laneTimer) (ended bool) {
	// No slices are kept for the next turn: ten thousand sleeping lanes would hold them.
	runs := ln.runs.Take(nil)
	events := ln.events.Take(nil)
	if len(events) == 0 && ln.rules.state == stateOpen && ln.env.Aborted() == nil {
		for _, run := range runs {
			ln.rules.gen.Send(run)
		}
		ln.lend()
		return false
	}
	now := ln.env.Now()
	for i := range events {
		switch ev := &events[i]; ev.kind {
		case laneClosed:
			ln.rules.closed(ev.gen)
		case laneEnded:
			ln.rules.ended(ev.gen, ev.left, now)
		case laneRound:
			ln.rules.round(ev.leader, ev.answer, ev.err, ev.at, now)
		case laneStop:
			ln.stopping = true
		}
	}
	ln.lookAtIdentity(now)
	for _, run := range runs {
		ln.rules.run(run, now)
	}
	ln.rules.tick(now)
	if cause := ln.env.Aborted(); cause != nil {
		ln.rules.abort(cause)
	}
	if ln.stopping && ln.rules.stop() {
		return true
	}
	timer.set(ln.rules.wake(), now)
	ln.lend()
	return false
}

// lookAtIdentity tells the rules what has become of asking for a producer id.
func (ln *lane) lookAtIdentity(now int64) {
	if ln.rules.state != stateIdentity {
		ln.refusal = nil
		return
	}
	if ln.rules.identity().Known() {
		ln.rules.identityChanged(now)
		return
	}
	if refusal := ln.env.Identities.Refusal(); refusal != nil && refusal != ln.refusal {
		ln.refusal = refusal
		ln.rules.identityFailed(refusal.Err, now)
	}
}

// Closed implements brokerproducer.Lane.
func (ln *lane) Closed(g *brokerproducer.Generation) {
	ln.events.Put(laneEvent{kind: laneClosed, gen: g})
}

// Ended implements brokerproducer.Lane.
func (ln *lane) Ended(g *brokerproducer.Generation, left brokerproducer.Left) {
	ln.events.Put(laneEvent{kind: laneEnded, gen: g, left: left})
}

func (ln *lane) open(to leader, sequence txn.Sequence, settle bool) Generation {
	return ln.env.Brokers.Open(to.broker, ln, brokerproducer.Stay{
		Topic: ln.topic, TopicID: to.topicID, Partition: ln.partition, Sequence: sequence, Settle: settle,
	})
}

func (ln *lane) identity() txn.Identity { return ln.env.Identities.Current() }

func (ln *lane) bump(from txn.Identity) { ln.env.Identities.Bump(from) }

func (ln *lane) refresh() uint64 { return ln.env.Metadata.Refresh(ln.topic) }

func (ln *lane) failBatch(b *brokerproducer.Batch, cause error) {
	err := ln.wrap(cause)
	if b.Unsure {
		err = flow.Unknown(err)
	}
	ln.decide(b.TakeRecords(), err)
	b.Release()
}

func (ln *lane) failRecords(recs []flow.Record, cause error) {
	ln.decide(flow.CopyRun(recs), ln.wrap(cause))
}

func (ln *lane) decide(recs []flow.Record, err error) {
	ln.env.Outcomes.Decide(&flow.Outcome{
		Topic: ln.topic, Partition: ln.partition, BaseOffset: flow.NoOffset, Err: err, Records: recs,
	})
}

func (ln *lane) wrap(cause error) error {
	return fmt.Errorf("sluice: topic %q partition %d: %w", ln.topic, ln.partition, cause)
}

// leaderOf reads a partition's leader from what the look-ups know.
func leaderOf(env *Env, t *metadata.Topic, partition int32) leader {
	p, ok := t.Partition(partition)
	if !ok || p.Leader < 0 {
		return leader{topicID: t.ID}
	}
	broker, ok := env.Metadata.Broker(p.Leader)
	return leader{broker: broker, topicID: t.ID, epoch: p.Epoch, known: ok}
}
