package brokerproducer

import (
	"slices"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/produceset"
)

// partition producer is told what becomes of its session. The loop calls it; it must not block.
type SessionOwner interface {
	// Closed: the session sends nothing more. The partition producer stops sending to it and calls End.
	Closed(s *Session)
	// Ended: the last word of a session, after its End. What is left is the partition producer's again.
	Ended(s *Session, result SessionResult)
}

// SessionResult is what a session hands back when it ends, in the order of Input: first batches, then records.
type SessionResult struct {
	Batches []*Batch
	Records []flow.Record
	// Cause is why the session was closed by its broker; nil if the partition producer ended it.
	Cause error
	// Refresh says that the leader has to be looked up before the next try.
	Refresh bool
	// Hinted says that the broker named the leader (KIP-951): a look-up is asked for only if that did not help.
	Hinted bool
	// Untried is how many of the batches, the last ones, were not sent by this session.
	Untried int
	// Unsent says that Cause kept anything from being sent: a dial failed.
	Unsent bool
	// AtOnce says that there is nothing to wait for: a batch was split.
	AtOnce bool
	// Progress says that a batch was delivered, so that back-off starts anew.
	Progress bool
	// Sequence is the partition producer's counter as it stands now.
	Sequence txn.Sequence
	// SequenceBroken says that a numbered batch has left without being acknowledged, or that the broker has lost its state: no
	// later number is taken under this identity, and the partition producer must go on under another.
	SequenceBroken bool
}

// Batch is a produce set's batch with what its partition producer must remember of it across sessions. It is the loop's while a
// session has it, the partition producer's between two sessions. What the network goroutine may touch meanwhile is said below.
type Batch struct {
	*produceset.Batch
	// Attempts that were sent and failed. Coming back because another batch failed is none.
	Attempts int
	// Unsure: an attempt ended without a definite answer; the batch may be in the log.
	Unsure bool
	// Cause is the error of the last attempt.
	Cause error
	// Deadline of its oldest record, on the producer's clock.
	Deadline int64
	// Numbered: it has an identity and a sequence number, and may have been sent under them.
	Numbered bool

	claim claim

	// Set by the loop before the batch goes over the bridge, read by the network goroutine:

	count int          // of its records, which may be taken meanwhile
	under txn.Identity // what to number it under, if it has no number yet

	// The network goroutine's until the batch is answered, as is Numbered; then the loop's:

	sealError error // it can't be compressed
	fresh     bool  // numbered for this try

	// The loop's alone, but that the network goroutine finds the sequence through gen:

	session *Session
	// decided: it has its outcome, and is only waited for because the network still holds it.
	decided bool
	req     *request // that it is in, from compose to answered
	back    bool     // answered, and to be sent again by the next session
	late    bool     // its deadline has passed while it was being written
	// passed counts the later batches of the partition producer that were acknowledged before it: the broker has it in mind among its
	// last five only as long as there are not more.
	passed int
}

// Youngest is when its last record was accepted, on the producer's clock.
func (b *Batch) Youngest() int64 { return b.Records[len(b.Records)-1].Born }

// Session is one stay of a partition producer at a broker. The partition producer owns it until End, and may send directly it: Send is called by one goroutine
// at a time, the partition producer's or the topic's, and never after End. All that is done with it in between is to pass it to the
// producer's methods, which read producer and put something into its mailbox. Who may touch the fields stands above each
// group.
//
// A batch moves open → ready → flight. Everything in flight stays there, in order, until it is delivered or given up;
// what is answered with a retriable error is marked back and closes the session.
type Session struct {
	// Set by Open and not changed: anyone reads them.

	Topic     string
	TopicID   [16]byte
	Partition int32
	owner     SessionOwner
	producer  *Producer
	// verify: it only finds out about batches behind a gap in the sequence, see stay.Verify.
	verify bool

	// The network goroutine's from the first item to the last answer; then the loop hands it back with the rest.

	sequence txn.Sequence

	// The loop's:

	known   bool // in loop.sessions: it spares a look-up for each run
	open    *Batch
	ready   []*Batch
	flight  []*Batch
	unacked int // of flight: without an answer

	records []flow.Record // arrived after it was closed
	since   int64         // when open got its first record
	queued  queue
	// The size of the last batch.
	hint, hintRecords int
	// What it adds to the lingering set.
	lingerBytes, lingerRecords int

	closed, ending bool
	result         SessionResult

	// identity is what new batches are numbered under.
	identity txn.Identity
	// confirmed is open when the broker has acknowledged a batch under this leader and identity: before that it may know
	// nothing of the producer id, and would take any first sequence number. Until then one batch is in flight.
	confirmed bool
	// acked is when the broker last acknowledged a batch.
	acked int64
}

// queue is in which of the loop's lists a session stands.
type queue uint8

const (
	notQueued queue = iota // nothing to send, or its window is full
	lingering              // its open batch waits for size, count or linger
	due                    // has a batch to send now
)

// remembered is how many batches of a producer a broker keeps, to tell duplicates from gaps in the sequence.
const remembered = 5

// windowFull tells whether the session must wait for answers before it sends more. What was acknowledged behind the
// oldest batch counts like what is in flight: a batch that was written, though its answer did not say so, and then five
// later ones would be out of order when it is sent again, and nobody could tell what became of it.
func (s *Session) windowFull(window int) bool {
	if !s.confirmed {
		window = 1
	}
	return s.unacked >= window || len(s.flight) > 0 && len(s.flight)+s.flight[0].passed >= remembered
}

// passes counts an acknowledged batch for those before it that are not.
func (s *Session) passes(acked *Batch) {
	for _, b := range s.flight {
		if b == acked {
			return
		}
		b.passed++
	}
}

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

// oldestUndecided is the batch without an outcome whose deadline comes first, or nil.
func (s *Session) oldestUndecided() *Batch {
	for _, b := range s.flight {
		if !b.decided {
			return b
		}
	}
	return s.peek()
}

// holds tells whether anything in it is without an outcome.
func (s *Session) holds() bool { return s.oldestUndecided() != nil || len(s.records) > 0 }

func (s *Session) inFlight(b *Batch) bool { return slices.Contains(s.flight, b) }

// unqueue takes the batch out that peek returns.
func (s *Session) unqueue(b *Batch) {
	if s.next() != b {
		panic("brokerproducer: only the oldest batch is taken out of the queue")
	}
}

// drop takes a batch out of flight.
func (s *Session) drop(b *Batch) {
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
		b.session, b.back = nil, false
	}
	result.Records = s.records
	result.Sequence = s.sequence
	s.flight, s.ready, s.open, s.records = nil, nil, nil, nil
	return result
}
