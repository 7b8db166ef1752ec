package dispatch

import (
	"sync"
	"time"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// partition producer is the goroutine of one partition: the rules, a mailbox and a timer. In a healthy partition it would only hand
// runs on to its session; so it lets the topic send directly to the session to the topic, sleeps, and takes it back when anything happens:
//
//	topic                             partition producer
//	                                  sends what it holds, then lets the topic send directly to, if its mailbox is empty
//	sends to the session           sleeps
//	                                  takes back, then ends the session
//	puts into the mailbox             waits, as its rules say
//
// Lending, taking back and the topic's look at it happen under mu. So all that the topic sent is before the end of the
// session, and all that it puts into the mailbox is sent by the partition producer, before it lets the topic send directly to again.
type partitionProducer struct {
	deps      *Deps
	topic     string
	partition int32
	rules     rules
	stopping  bool         // stopPartition has come
	refusal   *txn.Refusal // of a producer id, that the rules were told of last

	// Runs and events have no order between them: an event is about what the partition producer has already sent.
	runs   *flow.Mailbox[[]flow.Record]
	events *flow.Mailbox[partitionEvent]

	mu     sync.Mutex
	direct Session // nil while the partition producer has it
}

// send takes a run, which is the partition producer's from then on. Only the topic calls it.
func (pp *partitionProducer) send(run []flow.Record) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	if pp.direct != nil {
		pp.direct.Send(run)
	} else {
		pp.runs.Put(run)
	}
}

// send directly lets the topic send directly to the open session if the partition producer has nothing left to send before.
func (pp *partitionProducer) allowDirect() {
	if pp.rules.state != stateOpen || pp.deps.Aborted() != nil {
		return
	}
	pp.mu.Lock()
	defer pp.mu.Unlock()
	if pp.runs.Empty() {
		pp.direct = pp.rules.session
	}
}

// stopDirect ends the lending. The rules call it before they end a session.
func (pp *partitionProducer) stopDirect() {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	pp.direct = nil
}

type partitionEvent struct {
	kind    partitionEventKind
	session Session
	result  brokerproducer.SessionResult
	leader  leader
	answer  uint64
	at      int64 // when the look-up round ended
	err     error
}

type partitionEventKind uint8

const (
	sessionClosed partitionEventKind = iota
	sessionEnded
	lookUpEnded
	stopPartition
)

// newPartitionProducer makes a partition producer; run is its goroutine.
func newPartitionProducer(deps *Deps, topic string, partition int32, l leader) *partitionProducer {
	conf := deps.Conf
	pp := &partitionProducer{
		deps: deps, topic: topic, partition: partition,
		runs: flow.NewMailbox[[]flow.Record](), events: flow.NewMailbox[partitionEvent](),
	}
	pp.rules = rules{
		effects:  pp,
		retryMax: conf.Producer.Retry.Max,
		backoff:  pp.backoff,
		pause:    conf.Producer.Retry.Backoff,
		bounded:  deps.SaramaContract,

		lookUpRetries: conf.Metadata.Retry.Max,
		timeout:       deps.DeliveryTimeout,
		closing:       deps.Closing,
		aborted:       deps.Aborted,
		leader:        l,
		idempotent:    deps.Identities != nil,
		sequence:      txn.Sequence{Identity: txn.None},
	}
	return pp
}

// backoff does not ask the user's function for a pause once nothing is retried any more.
func (pp *partitionProducer) backoff(failures int) time.Duration {
	if pp.deps.Aborted() != nil {
		return 0
	}
	return flow.Backoff(pp.deps.Conf, failures)
}

// run ends after stop, when the session that was open has ended. A partition producer sleeps for most of its life, and there may be
// ten thousand: it holds nothing meanwhile but itself.
func (pp *partitionProducer) run() {
	defer pp.deps.OnChange(pp.events.Notify)()
	var timer partitionTimer
	defer timer.stop()
	for {
		select {
		case <-pp.runs.Wake():
		case <-pp.events.Wake():
		case <-timer.expired:
			timer.at = 0
		}
		if pp.turn(&timer) {
			return
		}
	}
}

// partitionTimer is made by the first turn that has to wait: a healthy partition producer never does.
type partitionTimer struct {
	timer   *time.Timer
	expired <-chan time.Time // nil without a timer
	at      int64            // when it expires; 0: not at all
}

func (t *partitionTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
	}
}

func (t *partitionTimer) set(at, now int64) {
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

// turn is what one wake-up does. It returns true when the partition producer is to end.
func (pp *partitionProducer) turn(timer *partitionTimer) (ended bool) {
	// No slices are kept for the next turn: ten thousand sleeping partition producers would hold them.
	runs := pp.runs.Take(nil)
	events := pp.events.Take(nil)
	if len(events) == 0 && pp.rules.state == stateOpen && pp.deps.Aborted() == nil {
		for _, run := range runs {
			pp.rules.session.Send(run)
		}
		pp.allowDirect()
		return false
	}
	now := pp.deps.Now()
	for i := range events {
		switch ev := &events[i]; ev.kind {
		case sessionClosed:
			pp.rules.closed(ev.session)
		case sessionEnded:
			pp.rules.ended(ev.session, ev.result, now)
		case lookUpEnded:
			pp.rules.round(ev.leader, ev.answer, ev.err, ev.at, now)
		case stopPartition:
			pp.stopping = true
		}
	}
	pp.lookAtIdentity(now)
	for _, run := range runs {
		pp.rules.run(run, now)
	}
	pp.rules.tick(now)
	if cause := pp.deps.Aborted(); cause != nil {
		pp.rules.abort(cause)
	}
	if pp.stopping && pp.rules.stop() {
		return true
	}
	timer.set(pp.rules.wake(), now)
	pp.allowDirect()
	return false
}

// lookAtIdentity tells the rules what has become of asking for a producer id.
func (pp *partitionProducer) lookAtIdentity(now int64) {
	if pp.rules.state != stateIdentity {
		pp.refusal = nil
		return
	}
	if pp.rules.identity().Known() {
		pp.rules.identityChanged(now)
		return
	}
	if refusal := pp.deps.Identities.Refusal(); refusal != nil && refusal != pp.refusal {
		pp.refusal = refusal
		pp.rules.identityFailed(refusal.Err, now)
	}
}

// Closed implements brokerproducer.partition producer.
func (pp *partitionProducer) Closed(g *brokerproducer.Session) {
	pp.events.Put(partitionEvent{kind: sessionClosed, session: g})
}

// Ended implements brokerproducer.partition producer.
func (pp *partitionProducer) Ended(g *brokerproducer.Session, result brokerproducer.SessionResult) {
	pp.events.Put(partitionEvent{kind: sessionEnded, session: g, result: result})
}

func (pp *partitionProducer) open(to leader, sequence txn.Sequence, verify bool) Session {
	return pp.deps.Brokers.Open(to.broker, pp, brokerproducer.SessionParams{
		Topic: pp.topic, TopicID: to.topicID, Partition: pp.partition, Sequence: sequence, Verify: verify,
	})
}

func (pp *partitionProducer) identity() txn.Identity { return pp.deps.Identities.Current() }

func (pp *partitionProducer) bump(from txn.Identity) { pp.deps.Identities.Bump(from) }

func (pp *partitionProducer) refresh() uint64 { return pp.deps.Metadata.Refresh(pp.topic) }

func (pp *partitionProducer) failBatch(b *brokerproducer.Batch, cause error) {
	err := pp.wrap(cause)
	if b.Unsure {
		err = flow.Unknown(err)
	}
	pp.decide(b.TakeRecords(), err)
	b.Release()
}

func (pp *partitionProducer) failRecords(recs []flow.Record, cause error) {
	pp.decide(flow.CopyRun(recs), pp.wrap(cause))
}

func (pp *partitionProducer) decide(recs []flow.Record, err error) {
	pp.deps.Outcomes.Decide(&flow.Outcome{
		Topic: pp.topic, Partition: pp.partition, BaseOffset: flow.NoOffset, Err: err, Records: recs,
	})
}

func (pp *partitionProducer) wrap(cause error) error {
	return flow.Errorf("topic %q partition %d: %w", pp.topic, pp.partition, cause)
}

// leaderOf reads a partition's leader from what the look-ups know.
func leaderOf(deps *Deps, t *metadata.Topic, partition int32) leader {
	p, ok := t.Partition(partition)
	if !ok || p.Leader < 0 {
		return leader{topicID: t.ID}
	}
	broker, ok := deps.Metadata.Broker(p.Leader)
	return leader{broker: broker, topicID: t.ID, epoch: p.Epoch, known: ok}
}
