package brokerproducer

import (
	"slices"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/produceset"
)

// SessionOwner is the partition producer of a session. The loop calls it, so no method may block.
type SessionOwner interface {
	// Closed: the session sends nothing more. The owner stops sending to it and calls End.
	Closed(s *Session)
	// Ended is the last call about a session, after its End. What result holds is the owner's again.
	Ended(s *Session, result SessionResult)
}

// SessionResult is what a session hands back when it ends, in the order of Input: first the batches, then the records.
type SessionResult struct {
	Batches []*Batch
	Records []flow.Record
	// Cause is why the broker producer closed the session; nil if its owner ended it.
	Cause error
	// Next is what comes before the next session.
	Next NextTry
	// Untried is how many of the batches, the last ones, were never handed to the network goroutine.
	Untried int
	// Unsent: at least one batch could not be sent, as a dial failed. Cause may be of another one.
	Unsent bool
	// Denied: the broker has refused our credentials, as Cause says. What is left fails now: no retry helps, and more of them
	// may lock the account. Never set under sarama's contract, which has its tries.
	Denied bool
	// Progress: a batch was delivered, so the back-off starts anew.
	Progress bool
	// Sequence is the partition's counter now.
	Sequence txn.Sequence
	// SequenceState tells whether the partition may go on with Sequence.
	SequenceState SequenceState
}

// NextTry is what comes before the next session. If the batches of a session ask for different things, the greatest
// counts: a hint makes the look-up of another batch needless.
type NextTry uint8

const (
	// AtOnce: a batch was split or sifted, or all batches are verified. Nothing is waited for.
	AtOnce NextTry = iota
	// Soon: after some milliseconds, and that was no failure.
	Soon
	// AfterBackoff: the next try waits for the back-off only.
	AfterBackoff
	// AfterLookup: the leader has to be looked up as well.
	AfterLookup
	// AfterHint: the broker named the leader (KIP-951). A look-up is needed only if that did not help.
	AfterHint
)

// SequenceState tells whether a partition may go on with its sequence numbers.
type SequenceState uint8

const (
	SequenceIntact SequenceState = iota
	// SequenceBroken: a numbered batch was given up, or the broker has lost its state of the producer. The broker takes no
	// later number under this identity, so the partition must go on under another.
	SequenceBroken
	// IdentityLost: and the broker does not take the producer id any more, whatever the epoch.
	IdentityLost
)

// Batch is a batch of the produce set, with what must be remembered of it across sessions. The loop owns it while a session
// has it, its partition producer between two sessions. Some fields are the network goroutine's meanwhile, as said below.
type Batch struct {
	*produceset.Batch
	// Attempts that were sent and failed. Being sent again because another batch failed is none.
	Attempts int
	// Rejected is how many of these got an answer for which the batch itself may be the cause.
	Rejected int
	// Unsure: an attempt ended without a definite answer, so the batch may be in the log.
	Unsure bool
	// unsureIn is the id of the topic that the last such attempt was for.
	unsureIn [16]byte
	// Cause is the error of the last attempt.
	Cause error
	// Deadline of its oldest record, on the producer's clock.
	Deadline int64
	// since is when it began to wait for its next request: when its first record was accepted, or its last attempt has ended.
	since int64
	// Numbered: it has an identity and a sequence number, and may have been sent under them.
	Numbered bool

	// closedBy is the broker that closed the connection on it closes times, maybe for its size.
	closedBy brokerKey
	closes   int

	claim claim

	// Set by the loop before it hands the batch over, read by the network goroutine:

	count    int          // of its records; the loop may take the records meanwhile
	identity txn.Identity // what to number it under, if it has no number yet

	// The network goroutine's until the batch is answered, as is Numbered; then the loop's:

	sealError    error // why it can't be compressed
	justNumbered bool  // it got its number for this attempt
	sentBefore   bool  // an attempt was written, also of the batch that this one is a part of

	// The loop's, but for session, through which the network goroutine finds the sequence:

	session *Session
	req     *request // that it is in, until that is answered
	decided bool     // it has its outcome, and stays because the network still has it
	resend  bool     // it is answered, and waits in flight for the next session
	late    bool     // its deadline passed while it was being written
	// ackedBehind counts the later batches that were acknowledged before this one.
	ackedBehind int
}

// Youngest is when its last record was accepted, on the producer's clock.
func (b *Batch) Youngest() int64 { return b.Records[len(b.Records)-1].Born }

// Session is what a partition sends through one broker, from Open to Ended. Its methods Send, Resend and End only put
// something into the loop's mailbox; everything else is the loop's, or the network goroutine's where it says so.
//
// A batch moves from open, or from ready, to flight. It stays in flight, in order, until it is delivered or given up.
// One that must be sent again is marked so and closes the session.
type Session struct {
	// Set by Open and not changed. Anyone reads them.

	Topic     string
	TopicID   [16]byte
	Partition int32
	stats     *stats.Topic
	owner     SessionOwner
	producer  *Producer
	verify    bool // SessionParams.Verify

	// The network goroutine's from the first item to the last answer. Then the loop hands it back.

	sequence txn.Sequence

	// The loop's:

	registered bool // in loop.sessions; it spares a map access for each run
	open       *Batch
	ready      []*Batch
	flight     []*Batch
	unacked    int // of flight: not answered

	records []flow.Record // arrived after it was closed
	since   int64         // when open got its first record
	queued  queue
	// The size of the last batch.
	hint, hintRecords int
	// What it adds to the lingering set.
	lingerBytes, lingerRecords int

	closed bool // it sends nothing more
	ending bool // its owner has called End
	result SessionResult
	// trouble is SessionParams.Trouble, until it is over.
	trouble *flow.Trouble

	// identity is what new batches are numbered under.
	identity txn.Identity
	// confirmed: the broker has acknowledged a batch under this leader and identity. Before that it may know nothing of the
	// producer id, and would take any first sequence number; so only one batch is in flight.
	confirmed   bool
	confirmedAt int64 // the last time

	// Of a transactional producer:

	joined  uint64 // the last transaction that the partition is a part of, by its number
	joining uint64 // the last one that it was to be added to
}

// Send passes a run on, in order. The session owns the run from then on. One goroutine at a time calls it: the partition
// producer, or the topic while it may send directly. Nobody calls it after End.
func (s *Session) Send(run []flow.Record) {
	if len(run) > 0 {
		s.producer.mailbox.Put(item{kind: itemRun, session: s, run: run})
	}
}

// Resend passes on a batch that an earlier session handed back. It goes before the records of later Sends.
func (s *Session) Resend(b *Batch) {
	s.producer.mailbox.Put(item{kind: itemBatch, session: s, batch: b})
}

// End says that the partition producer sends nothing more. When everything in flight is answered, the loop calls the
// owner's Ended.
func (s *Session) End() {
	s.producer.mailbox.Put(item{kind: itemEnd, session: s})
}

// Doing is what the broker producer waits for, for the error of a message that expires meanwhile. Anyone may call it.
func (s *Session) Doing() error { return s.producer.doing() }

// queue is the loop's list that a session is in.
type queue uint8

const (
	notQueued queue = iota // nothing to send, or its window is full
	lingering              // its open batch waits for size, count or linger
	due                    // it has a batch to send now
)

// remembered is how many batches of a producer a broker keeps, to tell duplicates from gaps.
const remembered = 5

// windowFull tells whether the session must wait for answers before it sends more.
//
// Batches that were acknowledged behind the oldest one count like those in flight. If the oldest was written, though its
// answer did not say so, and more than four later ones were too, the broker has forgotten it: sent again it would be out of
// order, and there would be no way to find out what became of it.
func (s *Session) windowFull(window int) bool {
	if !s.confirmed {
		window = 1
	}
	return s.unacked >= window || len(s.flight) > 0 && len(s.flight)+s.flight[0].ackedBehind >= remembered
}

// countAcked counts an acknowledged batch for those in flight before it.
func (s *Session) countAcked(acked *Batch) {
	for _, b := range s.flight {
		if b == acked {
			return
		}
		b.ackedBehind++
	}
}

// verified tells whether a verifying session has all its answers.
func (s *Session) verified() bool { return s.verify && !s.closed && s.unacked == 0 && !s.sendable() }

func (s *Session) sendable() bool { return len(s.ready) > 0 || s.open != nil }

// next takes the batch to send now: the oldest.
func (s *Session) next() *Batch {
	if len(s.ready) > 0 {
		b := s.ready[0]
		s.ready[0] = nil
		s.ready = s.ready[1:]
		return b
	}
	b := s.open
	s.open = nil
	return b
}

// peek is what next would take.
func (s *Session) peek() *Batch {
	if len(s.ready) > 0 {
		return s.ready[0]
	}
	return s.open
}

// takeHead is next, of a batch that must be the one to send now.
func (s *Session) takeHead(b *Batch) {
	if s.next() != b {
		panic("brokerproducer: only the oldest batch is taken out of the queue")
	}
}

// oldestUndecided is the batch without an outcome whose deadline comes first, or nil.
func (s *Session) oldestUndecided() *Batch {
	for _, b := range s.flight {
		if !b.decided {
			return b
		}
	}
	return s.peek()
}

// holds tells whether anything in it has no outcome.
func (s *Session) holds() bool { return s.oldestUndecided() != nil || len(s.records) > 0 }

func (s *Session) inFlight(b *Batch) bool { return slices.Contains(s.flight, b) }

func (s *Session) removeFromFlight(b *Batch) {
	if i := slices.Index(s.flight, b); i >= 0 {
		s.flight = slices.Delete(s.flight, i, i+1)
	}
}

// handBack collects what is left, in order. Everything in flight is answered.
func (s *Session) handBack() SessionResult {
	result := s.result
	result.Batches = append(result.Batches, s.flight...)
	result.Batches = append(result.Batches, s.ready...)
	if s.open != nil {
		result.Batches = append(result.Batches, s.open)
	}
	result.Untried = len(result.Batches) - len(s.flight)
	for _, b := range result.Batches {
		b.session, b.resend = nil, false
	}
	result.Records = s.records
	result.Sequence = s.sequence
	s.flight, s.ready, s.open, s.records = nil, nil, nil, nil
	return result
}
