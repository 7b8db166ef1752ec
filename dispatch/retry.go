package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// partitionState says what a partition producer waits for before it may send.
type partitionState uint8

const (
	// stateIdle: no session, and nothing that forbids to open one. It holds nothing.
	stateIdle partitionState = iota
	// stateOpen: a session is open; runs go straight through, most of them from the topic, which it is direct to.
	stateOpen
	// stateVerifying: a session is open that finds out about what stands behind a gap in the sequence; what is held waits.
	stateVerifying
	// stateEnding: the session was ended; its reply is awaited, and nothing is sent anywhere.
	stateEnding
	// stateBackoff: a failure was answered; nothing is sent before the back-off is over.
	stateBackoff
	// stateLookup: a look-up round is awaited.
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
	epoch   int32
	known   bool
}

func (l leader) same(other leader) bool {
	return l.known == other.known && l.broker.ID == other.broker.ID && l.broker.Addr == other.broker.Addr && l.topicID == other.topicID
}

// effects is what the rules make happen. None of it blocks; answers come as events later.
type effects interface {
	open(to leader, sequence txn.Sequence, verify bool) Session
	// stopDirect: nobody but the rules sends to the session from now on.
	stopDirect()
	// refresh asks for a look-up round and returns its refresh number.
	refresh() uint64
	// identity is the producer's at the moment; an identityChanged follows where it is not known yet.
	identity() txn.Identity
	// bump has new numbers given under another identity than from.
	bump(from txn.Identity)
	// fail decides the fate of a batch or of records that are given up.
	failBatch(b *brokerproducer.Batch, cause error)
	failRecords(recs []flow.Record, cause error)
}

// rules are the partition producer's protocol, without a goroutine, a channel or a clock: events in, effects out. They are the one
// owner of the partition's order:
//
//   - held batches go before held records, and both before what comes later;
//   - there is one session at most, and another one only after the reply that ends it;
//   - the reply's batches and records go before everything that is held.
//
// With idempotence, when a numbered batch has left unacknowledged (a gap in the sequence), the broker takes no later number of that
// identity. First those later batches that may have been written are sent again under their old numbers, until each is
// acknowledged or answered as out of order, which behind a gap in the sequence means that it was not written. Then the identity is
// bumped, once for all partition producers, and what is left gets new numbers (KIP-360).
type rules struct {
	effects
	retryMax int
	backoff  func(failures int) time.Duration
	timeout  time.Duration // delivery timeout
	pause    time.Duration // in place of backoff where nothing waits to be retried
	closing  func() bool   // Close has begun: failures count as attempts, so that it ends
	aborted  func() error  // why nothing is sent any more; nil while it is
	// bounded: what can't be sent is given up after retryMax + 1 rounds of pause, look-up and dial. A look-up that finds no
	// leader is made again, lookUpRetries times, as sarama does.
	bounded       bool
	lookUpRetries int

	state   partitionState
	leader  leader
	session Session

	batches []*brokerproducer.Batch
	records []flow.Record

	// failures in a row: of this partition's batches, dials and look-ups, while it held anything.
	failures      int
	unsent        int    // those in a row, up to the last, at which nothing could be sent
	lookedUp      int64  // when the last look-up round ended
	lookUpErr     error  // why that told nothing newer
	leaderless    int    // look-ups in a row that found no leader
	cause         error  // of the last failure
	wakeAt        int64  // end of the back-off
	refreshNumber uint64 // of the look-up round that is awaited before the next try; 0: none is
	openedAt      leader
	hinted        bool // the broker named another leader: if the look-ups don't know it after the back-off, they are asked

	idempotent     bool
	sequence       txn.Sequence
	sequenceBroken bool
	order          []*brokerproducer.Batch // while verifying: what is held and what is being settled
}

// run is a run of new records, which is the partition producer's to keep or to hand on.
func (r *rules) run(recs []flow.Record, now int64) {
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

// try opens a session if the leader is known, and sends what is held; else it asks for a look-up.
func (r *rules) try(now int64) {
	if cause := r.aborted(); cause != nil {
		r.failHeld(cause) // what is opened now would be aborted as well, again and again
		return
	}
	if !r.leader.known {
		r.lookup()
		return
	}
	if r.sequenceBroken && r.verify() {
		return
	}
	// Also behind a bump: after the last epoch there is none until a broker gives another id.
	if r.idempotent && !r.identity().Known() {
		r.state = stateIdentity
		return
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

// verify opens a session that finds out about the batches that may have been written behind a gap in the sequence. The others wait
// meanwhile. It returns false when there are none; then everything held gets new numbers.
func (r *rules) verify() bool {
	var unsure, others []*brokerproducer.Batch
	for _, b := range r.batches {
		if b.Numbered && b.Unsure {
			unsure = append(unsure, b)
		} else {
			others = append(others, b)
		}
	}
	if len(unsure) > 0 {
		r.state = stateVerifying
		r.order, r.batches = r.batches, others
		r.session, r.openedAt = r.open(r.leader, r.sequence, true), r.leader
		r.resend(unsure)
		return true
	}
	r.sequenceBroken = false
	r.bump(r.sequence.Identity)
	r.sequence = txn.Sequence{Identity: txn.None}
	for _, b := range r.batches {
		b.Numbered = false
	}
	return false
}

// inOrder puts the batches that came back from a verifying session between those that waited.
func (r *rules) inOrder(back []*brokerproducer.Batch) {
	alive := append(back, r.batches...)
	r.batches = slices.DeleteFunc(r.order, func(b *brokerproducer.Batch) bool { return !slices.Contains(alive, b) })
	r.order = nil
}

// identityFailed: no broker has given a producer id. It is asked for again.
func (r *rules) identityFailed(cause error, now int64) {
	if r.state != stateIdentity {
		return
	}
	r.failures++
	r.unsent++
	r.cause = cause
	switch {
	case r.closing() && r.failures > r.retryMax:
		r.failHeld(cause)
	case r.outOfRounds():
		r.failBefore(now, cause)
	}
	if !r.holds() {
		r.resume(now)
	}
}

// identityChanged: there is a producer id.
func (r *rules) identityChanged(now int64) {
	if r.state == stateIdentity {
		r.resume(now)
	}
}

func (r *rules) lookup() {
	r.state = stateLookup
	r.refreshNumber = r.refresh()
}

// closed: the broker producer sends nothing more of this session.
func (r *rules) closed(session Session) {
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

// ended: the session's last word.
func (r *rules) ended(session Session, result brokerproducer.SessionResult, now int64) {
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
	r.sequenceBroken = r.sequenceBroken || result.SequenceBroken
	if result.Progress {
		r.failures, r.unsent = 0, 0
	}
	if r.bounded && result.Cause != nil && !result.AtOnce && !result.Unsent {
		r.countReturn(result.Batches[len(result.Batches)-result.Untried:])
	}
	moved := r.leader.known && !r.leader.same(r.openedAt)
	if result.Cause == nil || result.AtOnce || result.Refresh && moved {
		r.resume(now)
		return
	}
	r.failed(result.Cause, result.Refresh && !result.Hinted, result.Unsent, now)
	r.hinted = result.Hinted
}

// countReturn counts that batches came back behind one that failed, as sarama does: else what waits behind a partition that
// refuses everything would wait for the attempts of each batch before it. One attempt of its own is left to each.
func (r *rules) countReturn(untried []*brokerproducer.Batch) {
	for _, b := range untried {
		b.Attempts = min(b.Attempts+1, r.retryMax)
	}
}

// resume goes on without having to wait.
func (r *rules) resume(now int64) {
	r.state = stateIdle
	if r.holds() {
		r.try(now)
	} else {
		r.failures, r.unsent = 0, 0
	}
}

func (r *rules) holds() bool { return len(r.batches) > 0 || len(r.records) > 0 }

// failed begins a back-off, and a look-up beside it where the leader is in doubt. unsent says that nothing could be sent:
// a dial or a look-up failed.
func (r *rules) failed(cause error, refresh, unsent bool, now int64) {
	r.failures++
	r.unsent++
	if !unsent {
		r.unsent = 0
	}
	r.cause = cause
	switch {
	case r.closing() && r.failures > r.retryMax:
		r.failHeld(cause)
	case r.outOfRounds():
		if r.lookUpErr != nil && !errors.Is(cause, r.lookUpErr) {
			cause = r.lookUpErr // why the dial went to nobody better
		}
		r.failBefore(r.lookedUp, cause)
	}
	if !r.holds() {
		r.failures, r.unsent = 0, 0
	}
	pause := r.pause
	if n := r.retries(); n > 0 {
		pause = r.backoff(n)
	}
	r.state = stateBackoff
	r.hinted = false
	r.wakeAt = now + int64(pause)
	r.refreshNumber = 0
	if refresh {
		r.refreshNumber = r.refresh()
	}
}

// outOfRounds tells that what can't be sent has had its rounds. The first failure began them.
func (r *rules) outOfRounds() bool { return r.bounded && r.unsent-1 > r.retryMax }

// retries is the number of the retry that what is held waits for; 0: it was not tried yet.
func (r *rules) retries() int {
	n := r.unsent
	if len(r.batches) > 0 {
		n = max(n, r.batches[0].Attempts)
	}
	return n
}

// round: a look-up round ended at the time at, the one with the refresh number answers or a later one. l is the leader as it is
// known now, err why nothing newer is known. A round that began before this partition producer asked may bring the answer, but it is not
// what is awaited.
func (r *rules) round(l leader, answers uint64, err error, at, now int64) {
	r.lookedUp, r.lookUpErr = at, err
	moved := !l.same(r.leader)
	r.leader = l
	awaited := r.refreshNumber <= answers
	if awaited {
		r.refreshNumber = 0
	}
	switch r.state {
	case stateOpen, stateVerifying:
		if moved {
			r.end() // the reply hands back what was not sent, and resume goes to the new leader
		}
	case stateBackoff:
		if moved && l.known {
			// What was wrong was the leader: there is nothing left to wait for.
			r.resume(now)
		}
	case stateLookup:
		if l.known && (awaited || moved) {
			r.leaderless = 0
			r.resume(now)
			return
		}
		if !awaited {
			return
		}
		if err == nil {
			err = flow.External(sarama.ErrLeaderNotAvailable)
			if r.bounded && r.leaderless < r.lookUpRetries {
				r.leaderless++
				r.lookup() // the look-ups keep their distance by themselves
				return
			}
		}
		r.leaderless = 0
		r.failed(fmt.Errorf("no leader: %w", err), false, true, now)
	}
}

// tick: time has passed.
func (r *rules) tick(now int64) {
	r.expire(now)
	if r.state == stateBackoff && now >= r.wakeAt {
		switch {
		case r.refreshNumber > 0:
			r.state = stateLookup
		case r.hinted:
			r.hinted = false
			r.lookup()
		case !r.leader.known && r.holds():
			r.lookup()
		default:
			r.resume(now)
		}
	}
}

// expire ends what has reached its deadline. Only heads need looking at: what stands behind is younger.
func (r *rules) expire(now int64) {
	for len(r.batches) > 0 && r.batches[0].Deadline <= now {
		r.giveUp(r.batches[0], flow.Expired(r.timeout, r.cause))
		r.batches = slices.Delete(r.batches, 0, 1)
	}
	n := 0
	for n < len(r.records) && r.records[n].Born+int64(r.timeout) <= now {
		n++
	}
	r.failFirst(n, flow.Expired(r.timeout, r.cause))
}

// giveUp ends a batch. One with a number leaves a gap in the sequence.
func (r *rules) giveUp(b *brokerproducer.Batch, cause error) {
	r.sequenceBroken = r.sequenceBroken || b.Numbered
	r.failBatch(b, cause)
}

// wake is when tick has to be called next; 0: not at all.
func (r *rules) wake() int64 {
	var at int64
	if r.state == stateBackoff {
		at = r.wakeAt
	}
	earlier := func(t int64) {
		if at == 0 || t < at {
			at = t
		}
	}
	if len(r.batches) > 0 {
		earlier(r.batches[0].Deadline)
	} else if len(r.records) > 0 {
		earlier(r.records[0].Born + int64(r.timeout))
	}
	return at
}

// failHeld gives up everything that is held.
func (r *rules) failHeld(cause error) {
	for _, b := range r.batches {
		r.giveUp(b, cause)
	}
	clear(r.batches)
	r.batches = r.batches[:0]
	if len(r.records) > 0 {
		r.failRecords(r.records, cause)
		r.records = flow.Spare(r.records)
	}
}

// failBefore gives up what was accepted before a look-up ended: what came later has not seen any yet.
func (r *rules) failBefore(lookedUp int64, cause error) {
	for len(r.batches) > 0 && r.batches[0].Youngest() <= lookedUp {
		r.giveUp(r.batches[0], cause)
		r.batches = slices.Delete(r.batches, 0, 1)
	}
	n := 0
	for len(r.batches) == 0 && n < len(r.records) && r.records[n].Born <= lookedUp {
		n++
	}
	r.failFirst(n, cause)
}

// failFirst gives up the first n records that are held.
func (r *rules) failFirst(n int, cause error) {
	if n > 0 {
		r.failRecords(r.records[:n], cause)
		r.records = slices.Delete(r.records, 0, n) // what it leaves behind is cleared
	}
}

// abort gives up everything and ends the session, whose loop does the same.
func (r *rules) abort(cause error) {
	r.failHeld(cause)
	if r.isOpen() {
		r.end()
	}
}

// stop ends the partition producer's stay. It returns true when nothing is awaited any more.
func (r *rules) stop() bool {
	if r.isOpen() {
		r.end()
	}
	return r.state != stateEnding
}
