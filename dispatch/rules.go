package dispatch

import (
	"time"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// partitionState says what a partition producer waits for before it may send.
type partitionState uint8

const (
	// stateIdle: there is no session, and nothing is held. The next run opens one.
	stateIdle partitionState = iota
	// stateOpen: a session is open, and runs are sent to it at once. The topic sends most of them directly.
	stateOpen
	// stateVerifying: the sequence is broken. A session is open only to find out which unsure batches are in the log. All
	// else waits.
	stateVerifying
	// stateEnding: the session was told to end, and its result is awaited. Nothing is sent.
	stateEnding
	// stateBackoff: something failed. Nothing is sent before the back-off is over, unless the leader moves.
	stateBackoff
	// stateLookup: the end of a look-up round is awaited.
	stateLookup
	// stateIdentity: a producer id is awaited.
	stateIdentity
)

var stateNames = [...]string{"idle", "open", "verifying", "ending", "back-off", "look-up", "identity"}

func (s partitionState) String() string { return stateNames[s] }

// leader is where a partition's batches go.
type leader struct {
	broker  metadata.Broker
	topicID [16]byte
	epoch   int32 // -1: not known; for the log alone
	known   bool
}

// same tells whether a session can go on.
func (l leader) same(other leader) bool {
	return l.known == other.known && l.broker.ID == other.broker.ID && l.broker.Addr == other.broker.Addr &&
		l.topicID == other.topicID
}

// effects is what the rules do to the world. Nothing here blocks; answers come later, as events.
type effects interface {
	open(to leader, sequence txn.Sequence, verify bool) Session
	// stopDirect ends direct send: from now on only the rules send to the session.
	stopDirect()
	// refresh asks for a look-up round and returns its refresh number. acked: the leader has acknowledged something since the
	// last one. create: a message waits, so that the topic may be created.
	refresh(acked, create bool) uint64
	// identity is the producer's current one.
	identity() txn.Identity
	// awaitIdentity asks for an identity where there is none: onIdentity or onIdentityFailed is called then.
	awaitIdentity()
	// bump asks for an identity other than from, renew for one with another id. Later batches are numbered under that.
	bump(from txn.Identity)
	renew(from txn.Identity)
	// waitsFor is what goes on in a state in which messages are held, for those that expire when nothing has failed.
	waitsFor(partitionState) error
	// failing tells the log that what is held can't be sent for now.
	failing(cause error)
	// working says that a session has had batches acknowledged: the log was told by the session.
	working()
	// failBatch and failRecords decide what is given up.
	failBatch(b *brokerproducer.Batch, cause error)
	failRecords(recs []flow.Record, cause error)
}

// rules are the protocol of a partition producer: events in, effects out, without a goroutine, a channel or a clock.
// Only they decide about the partition's order:
//
//   - Held batches are sent before held records, and both before later records.
//   - There is at most one session. The next one is opened only after the result of the last one has come.
//   - The batches and records in that result go before everything that is held.
//
// This file has the states and the session. rounds.go has failures, back-off and look-ups; giveup.go has what ends
// batches and records without a session; sequence.go has what idempotence needs.
type rules struct {
	effects
	retryMax int
	backoff  func(failures int) time.Duration
	timeout  time.Duration // delivery timeout
	pause    time.Duration // used in place of backoff when nothing is waiting for a retry
	closing  func() bool   // Close has begun: every failure counts as an attempt
	stopped  func() error  // why nothing may be sent, or nil
	// bounded is set by sarama's contract. What can't be sent is given up after retryMax + 1 rounds of pause, look-up and
	// dial. A look-up that finds no leader is repeated lookUpRetries times within a round.
	bounded       bool
	lookUpRetries int

	state   partitionState
	leader  leader
	session Session

	// What is held.
	batches []*brokerproducer.Batch
	records []flow.Record

	failures      int    // in a row, of batches, dials and look-ups
	unsent        int    // the latest of these, in a row, at which nothing could be sent
	leaderAt      int64  // when the last news of the leader came: a look-up ended, or a produce answer named it
	lookUpErr     error  // why that look-up brought nothing new, or nil
	soon          int    // pauses in a row that were short: see pauseShortly
	acked         bool   // a batch was acknowledged since the last refresh
	leaderless    int    // look-ups in a row that found no leader
	cause         error  // of the last failure, until something is delivered or nothing is held
	wakeAt        int64  // end of the back-off
	refreshNumber uint64 // of the look-up round that is awaited before the next try, or 0
	openedAt      leader // where the session was opened
	hinted        bool   // the broker named another leader: look up after the back-off, unless it became known meanwhile

	idempotent    bool
	transactional bool // then identities come from the transactions' coordinator alone
	sequence      txn.Sequence
	sequenceState brokerproducer.SequenceState
	order         []*brokerproducer.Batch // while verifying: all batches, in order, those at the session included
}

// onRecords takes new records. The slice is the rules' from now on.
func (r *rules) onRecords(recs []flow.Record, now int64) {
	if len(recs) == 0 {
		return
	}
	if r.state == stateOpen {
		r.session.Send(recs)
		return
	}
	r.records = append(r.records, recs...)
	flow.PutRun(recs)
	if r.state == stateIdle {
		r.try(now)
	}
}

// try opens a session and sends what is held. If the leader is not known, it asks for a look-up instead.
func (r *rules) try(now int64) {
	if cause := r.stopped(); cause != nil {
		r.failHeld(cause) // a new session would be aborted as well, again and again
		return
	}
	if !r.leader.known {
		r.lookup()
		return
	}
	if r.sequenceState != brokerproducer.SequenceIntact && r.repairSequence() {
		return
	}
	// Look also after a bump: if the last epoch is used up, there is no identity until a broker gives another id.
	if r.idempotent {
		id := r.identity()
		if !id.Known() {
			r.state = stateIdentity
			r.awaitIdentity()
			return
		}
		// The session must have an identity from the start: the producer may lose its own at any moment.
		if !r.sequence.Known() {
			r.sequence = txn.Sequence{Identity: id}
		}
	}
	r.state = stateOpen
	r.session, r.openedAt = r.open(r.leader, r.sequence, false), r.leader
	r.resend(r.batches)
	r.batches = nil
	r.session.Send(r.records)
	r.records = nil // the session's
}

func (r *rules) resend(batches []*brokerproducer.Batch) {
	for _, b := range batches {
		r.session.Resend(b)
	}
}

// onSessionClosed handles that the broker producer sends nothing more of a session.
func (r *rules) onSessionClosed(session Session) {
	if r.isOpen() && r.session == session {
		r.end()
	}
}

func (r *rules) isOpen() bool { return r.state == stateOpen || r.state == stateVerifying }

func (r *rules) end() {
	r.state = stateEnding
	r.stopDirect()
	r.session.End()
}

// onSessionEnded handles the result of a session.
func (r *rules) onSessionEnded(session Session, result brokerproducer.SessionResult, now int64) {
	if r.session != session {
		return
	}
	r.session = nil
	if r.order != nil {
		r.inOrder(result.Batches)
	} else {
		r.batches = append(result.Batches, r.batches...)
	}
	r.records = append(result.Records, r.records...)
	r.sequence = result.Sequence
	r.sequenceState = max(r.sequenceState, result.SequenceState)
	if result.Progress {
		r.failures, r.unsent, r.acked, r.soon, r.cause = 0, 0, true, 0, nil
		r.working()
	}
	if r.bounded && result.Cause != nil && result.Next > brokerproducer.Soon && !result.Unsent {
		r.countReturn(result.Batches[len(result.Batches)-result.Untried:])
	}
	moved := r.leader.known && !r.leader.same(r.openedAt)
	atOnce := result.Next == brokerproducer.AtOnce || result.Next != brokerproducer.AfterBackoff && moved
	if result.Denied && !moved {
		r.failHeld(result.Cause) // later messages try again: credentials may change
	}
	if result.Cause == nil || atOnce || result.Denied {
		r.resume(now)
		return
	}
	if result.Next == brokerproducer.Soon {
		r.pauseShortly(result.Cause, now)
		return
	}
	r.backOff(result.Cause, result.Unsent, now)
	switch result.Next {
	case brokerproducer.AfterBackoff:
		// The broker may have been deposed and not know it: then it answers NOT_ENOUGH_REPLICAS for ever. The retry does not
		// wait for this look-up.
		r.askForLeader()
	case brokerproducer.AfterLookup:
		r.refreshNumber = r.askForLeader()
	case brokerproducer.AfterHint:
		r.hinted = true
	}
}

// countReturn adds an attempt to batches that came back only because one before them failed, as sarama does. Otherwise, at
// a partition that refuses everything, a batch would wait for all attempts of every batch before it. Each keeps one attempt
// of its own.
func (r *rules) countReturn(untried []*brokerproducer.Batch) {
	for _, b := range untried {
		b.Attempts = min(b.Attempts+1, r.retryMax)
	}
}

// resume sends what is held, without a pause.
func (r *rules) resume(now int64) {
	r.state = stateIdle
	if r.holds() {
		r.try(now)
	} else {
		r.failures, r.unsent, r.cause = 0, 0, nil
	}
}

func (r *rules) holds() bool { return len(r.batches) > 0 || len(r.records) > 0 }

// abort gives up everything that is held, and ends the session: the producer was aborted, as its broker producers are, or the
// open transaction has failed. What is being sent gets its outcome by its answer.
func (r *rules) abort(cause error) {
	r.failHeld(cause)
	if r.isOpen() {
		r.end()
	}
}

// stop ends the session. It returns false while its result is awaited.
func (r *rules) stop() bool {
	if r.isOpen() {
		r.end()
	}
	return r.state != stateEnding
}
