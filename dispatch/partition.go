package dispatch

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// partitionProducer is the goroutine of one partition: the rules, mailboxes and a timer.
//
// In a healthy partition it would only pass runs on to its session. So it turns direct send on, and sleeps: the topic sends
// to the session itself. Before the session ends, direct send is turned off:
//
//	topic                        partition producer
//	                             sends what it holds; then, if its mailbox is empty, turns direct send on
//	sends to the session         sleeps
//	                             turns direct send off, then ends the session
//	puts into the mailbox        waits, as its rules say
//
// Direct send is turned on and off, and used, under mu. So the topic sends nothing to a session that was ended. And what it
// puts into the mailbox is sent before direct send is on again: order is kept.
type partitionProducer struct {
	deps      *Deps
	topic     string
	stats     *stats.Topic
	partition int32
	rules     rules
	stopping  bool                      // stopPartition or forgetPartition has come
	forgotBy  *flow.Mailbox[topicEvent] // the topic that is told of the end, after forgetPartition
	refusal   *txn.Refusal              // the last one that was handled: another pointer is a new refusal
	waits     *flow.Activity            // in Deps.Waits, while messages are held
	trouble   *flow.Trouble             // what keeps it from sending, for the log; nil if nothing does. A session borrows it

	// Runs and events need no order between them: an event is about runs that were sent before.
	runs   *flow.Mailbox[[]flow.Record]
	events *flow.Mailbox[partitionEvent]

	mu     sync.Mutex
	direct Session // where the topic sends; nil if direct send is off
}

// send takes a run, which is not the topic's any more. Only the topic calls it.
func (pp *partitionProducer) send(run []flow.Record) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	if pp.direct != nil {
		pp.direct.Send(run)
	} else {
		pp.runs.Put(run)
	}
}

// allowDirect turns direct send on, if a session is open and the mailbox is empty.
func (pp *partitionProducer) allowDirect() {
	if pp.rules.state != stateOpen || pp.deps.Stopped() != nil {
		return
	}
	pp.mu.Lock()
	defer pp.mu.Unlock()
	if pp.runs.Empty() {
		pp.direct = pp.rules.session
	}
}

// stopDirect turns direct send off. The rules call it before they end a session.
func (pp *partitionProducer) stopDirect() {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	pp.direct = nil
}

type partitionEvent struct {
	kind partitionEventKind
	// Of sessionClosed and sessionEnded:
	session Session
	result  brokerproducer.SessionResult
	// Of leaderNews:
	leader  leader
	answers uint64 // it answers all refreshes up to this number
	at      int64  // when it came
	err     error  // why nothing newer is known
	// Of forgetPartition:
	topic *flow.Mailbox[topicEvent]
}

type partitionEventKind uint8

const (
	sessionClosed partitionEventKind = iota
	sessionEnded
	leaderNews
	stopPartition
	forgetPartition // stop, and tell the topic; everything has its outcome
)

// newPartitionProducer makes a partition producer; run is its goroutine.
func newPartitionProducer(deps *Deps, topic string, of *stats.Topic, partition int32, l leader) *partitionProducer {
	conf := deps.Conf
	pp := &partitionProducer{
		deps: deps, topic: topic, stats: of, partition: partition,
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
		stopped:       deps.Stopped,
		transactional: deps.Transactional,
		leader:        l,
		idempotent:    deps.Identities != nil,
		sequence:      txn.Sequence{Identity: txn.None},
	}
	return pp
}

// backoff does not call the user's function after an abort, when nothing is retried any more.
func (pp *partitionProducer) backoff(failures int) time.Duration {
	if pp.deps.Aborted() != nil {
		return 0
	}
	return flow.Backoff(pp.deps.Conf, failures)
}

// run ends after stopPartition or forgetPartition, when the open session has ended. There may be ten thousand partition
// producers, and most sleep most of the time. So they keep no buffers while they sleep.
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
			if pp.forgotBy != nil {
				pp.forgotBy.Put(topicEvent{kind: producerEnded, producer: pp})
			}
			return
		}
	}
}

// partitionTimer makes its timer when it is first set. A healthy partition producer never needs one.
type partitionTimer struct {
	timer   *time.Timer
	expired <-chan time.Time // nil without a timer
	at      int64            // when it expires, or 0
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

// turn is what one wake-up does. It returns true when the partition producer must end.
func (pp *partitionProducer) turn(timer *partitionTimer) (ended bool) {
	// No slices are kept for the next turn: see run.
	runs := pp.runs.Take(nil)
	events := pp.events.Take(nil)
	if len(events) == 0 && pp.rules.state == stateOpen && pp.deps.Stopped() == nil {
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
			pp.rules.onSessionClosed(ev.session)
		case sessionEnded:
			pp.rules.onSessionEnded(ev.session, ev.result, now)
		case leaderNews:
			pp.rules.onLeader(ev.leader, ev.answers, ev.err, ev.at, now)
		case stopPartition:
			pp.stopping = true
		case forgetPartition:
			pp.stopping, pp.forgotBy = true, ev.topic
		}
	}
	pp.checkIdentity(now)
	for _, run := range runs {
		pp.rules.onRecords(run, now)
	}
	pp.rules.onTick(now)
	if cause := pp.deps.Stopped(); cause != nil {
		pp.rules.abort(cause)
	}
	pp.noteWait()
	if pp.stopping && !pp.finishing() && pp.rules.stop() {
		pp.waits.End()
		if pp.trouble != nil {
			pp.trouble.Leave()
		}
		return true
	}
	timer.set(pp.rules.wake(), now)
	pp.allowDirect()
	return false
}

// noteWait keeps Deps.Waits true of what is held.
func (pp *partitionProducer) noteWait() {
	if pp.deps.Waits == nil {
		return // nobody asks: it would cost each turn a text
	}
	if !pp.rules.holds() {
		pp.waits.End()
		pp.waits = nil
		return
	}
	if pp.waits == nil {
		pp.waits = pp.deps.Waits.Begin("", fmt.Sprintf("waiting for the leader of %s/%d", pp.topic, pp.partition), nil)
	}
	cause := pp.rules.cause
	if cause == nil && pp.rules.state == stateIdentity {
		cause = pp.deps.Identities.Doing()
	}
	pp.waits.Explain(func() error { return cause })
}

// finishing tells whether it still holds messages although its topic was forgotten. That can happen after the process was
// suspended, when all timers fire late. It goes on until these messages have their outcomes.
func (pp *partitionProducer) finishing() bool { return pp.forgotBy != nil && pp.rules.holds() }

// checkIdentity tells the rules, while they wait for a producer id, that there is one or that asking for it failed.
func (pp *partitionProducer) checkIdentity(now int64) {
	if pp.rules.state != stateIdentity {
		return
	}
	if pp.rules.identity().Known() {
		pp.rules.onIdentity(now)
		return
	}
	if refusal := pp.deps.Identities.Refusal(); refusal != nil && refusal != pp.refusal {
		pp.refusal = refusal
		pp.rules.onIdentityFailed(refusal.Err, refusal.Final, now)
	}
}

// Closed implements brokerproducer.SessionOwner.
func (pp *partitionProducer) Closed(s *brokerproducer.Session) {
	pp.events.Put(partitionEvent{kind: sessionClosed, session: s})
}

// Ended implements brokerproducer.SessionOwner.
func (pp *partitionProducer) Ended(s *brokerproducer.Session, result brokerproducer.SessionResult) {
	pp.events.Put(partitionEvent{kind: sessionEnded, session: s, result: result})
}

// The effects of the rules.

func (pp *partitionProducer) open(to leader, sequence txn.Sequence, verify bool) Session {
	return pp.deps.Brokers.Open(to.broker, pp, brokerproducer.SessionParams{
		Topic: pp.topic, Stats: pp.stats, TopicID: to.topicID, Partition: pp.partition, Sequence: sequence, Verify: verify, Trouble: pp.trouble,
	})
}

func (pp *partitionProducer) identity() txn.Identity { return pp.deps.Identities.Current() }

func (pp *partitionProducer) awaitIdentity() {
	pp.refusal = pp.deps.Identities.Refusal() // of an earlier try
	pp.deps.Identities.Start()
}

func (pp *partitionProducer) renew(from txn.Identity) {
	if pp.deps.Identities.Renew(from) {
		pp.logBump(from)
	}
}

func (pp *partitionProducer) bump(from txn.Identity) {
	if pp.deps.Identities.Bump(from) {
		pp.logBump(from)
	}
}

// refresh: with acks 0 the leader never acknowledges anything. The topic may have been deleted: it is created only if a
// message waits for it.
func (pp *partitionProducer) refresh(acked, create bool) uint64 {
	acked = acked && pp.deps.Conf.Producer.RequiredAcks != sarama.NoResponse
	return pp.deps.Metadata.RefreshLeader(pp.topic, pp.partition, acked, create)
}

func (pp *partitionProducer) waitsFor(state partitionState) error {
	switch state {
	case stateLookup:
		return fmt.Errorf("looking up the leader: %w", pp.deps.Metadata.Doing(pp.topic))
	case stateIdentity:
		return pp.deps.Identities.Doing()
	case stateVerifying, stateEnding:
		return fmt.Errorf("waiting for what was sent before: %w", pp.rules.session.Doing())
	}
	return errNotSent
}

var errNotSent = errors.New("nothing was sent yet")

func (pp *partitionProducer) failBatch(b *brokerproducer.Batch, cause error) {
	pp.fail(b.TakeRecords(), cause, b.Unsure)
	b.Release()
}

func (pp *partitionProducer) failRecords(recs []flow.Record, cause error) {
	pp.fail(flow.CopyRun(recs), cause, false)
}

// fail decides a run. unsure says that it may have been written.
func (pp *partitionProducer) fail(run []flow.Record, cause error, unsure bool) {
	err := flow.PartitionError(pp.topic, pp.partition, cause, unsure)
	pp.deps.Outcomes.Decide(flow.Failure(pp.stats, pp.topic, pp.partition, run, err))
}

// leaderOf is a partition's leader as the look-ups know it.
func leaderOf(deps *Deps, t *metadata.Topic, partition int32) leader {
	p, ok := t.Partition(partition)
	if !ok || p.Leader < 0 {
		return leader{topicID: t.ID}
	}
	broker, ok := deps.Metadata.Broker(p.Leader)
	return leader{broker: broker, topicID: t.ID, epoch: p.Epoch, known: ok}
}
