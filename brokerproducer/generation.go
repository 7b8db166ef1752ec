package brokerproducer

import (
	"slices"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/produceset"
)

// Lane is told what becomes of its generation. The loop calls it; it must not block.
type Lane interface {
	// Closed: the generation sends nothing more. The lane stops sending to it and calls End.
	Closed(g *Generation)
	// Ended: the last word of a generation, after its End. What is left is the lane's again.
	Ended(g *Generation, left Left)
}

// Left is what a generation hands back when it ends, in the order of Input: first batches, then records.
type Left struct {
	Batches []*Batch
	Records []flow.Record
	// Cause is why the generation was closed by its broker; nil if the lane ended it.
	Cause error
	// Refresh says that the leader has to be looked up before the next try.
	Refresh bool
	// Hinted says that the broker named the leader (KIP-951): a look-up is asked for only if that did not help.
	Hinted bool
	// Untried is how many of the batches, the last ones, were not sent by this generation.
	Untried int
	// Unsent says that Cause kept anything from being sent: a dial failed.
	Unsent bool
	// AtOnce says that there is nothing to wait for: a batch was split.
	AtOnce bool
	// Progress says that a batch was delivered, so that back-off starts anew.
	Progress bool
	// Sequence is the lane's counter as it stands now.
	Sequence txn.Sequence
	// Gap says that a numbered batch has left without being acknowledged, or that the broker has lost its state: no
	// later number is taken under this identity, and the lane must go on under another.
	Gap bool
}

// Batch is a produce set's batch with what its lane must remember of it across generations. It is the loop's while a
// generation has it, the lane's between two generations. What the network goroutine may touch meanwhile is said below.
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

	gen *Generation
	// decided: it has its outcome, and is only waited for because the network still holds it.
	decided bool
	req     *request // that it is in, from compose to answered
	back    bool     // answered, and to be sent again by the next generation
	late    bool     // its deadline has passed while it was being written
	// passed counts the later batches of the lane that were acknowledged before it: the broker has it in mind among its
	// last five only as long as there are not more.
	passed int
}

// Youngest is when its last record was accepted, on the producer's clock.
func (b *Batch) Youngest() int64 { return b.Records[len(b.Records)-1].Born }

// Generation is one stay of a lane at a broker. The lane owns it until End, and may lend it: Send is called by one goroutine
// at a time, the lane's or the topic's, and never after End. All that is done with it in between is to pass it to the
// producer's methods, which read producer and put something into its inbox. Who may touch the fields stands above each
// group.
//
// A batch moves open → ready → flight. Everything in flight stays there, in order, until it is delivered or given up;
// what is answered with a retriable error is marked back and closes the generation.
type Generation struct {
	// Set by Open and not changed: anyone reads them.

	Topic     string
	TopicID   [16]byte
	Partition int32
	lane      Lane
	producer  *Producer
	// settle: it only finds out about batches behind a gap, see Stay.Settle.
	settle bool

	// The network goroutine's from the first item to the last answer; then the loop hands it back with the rest.

	sequence txn.Sequence

	// The loop's:

	known   bool // in loop.gens: it spares a look-up for each run
	open    *Batch
	ready   []*Batch
	flight  []*Batch
	unacked int // of flight: without an answer

	records []flow.Record // arrived after it was closed
	since   int64         // when open got its first record
	stands  standing
	// The size of the last batch.
	hint, hintRecords int
	// What it adds to the lingering set.
	lingerBytes, lingerRecords int

	closed, ending bool
	left           Left

	// identity is what new batches are numbered under.
	identity txn.Identity
	// gate is open when the broker has acknowledged a batch under this leader and identity: before that it may know
	// nothing of the producer id, and would take any first sequence number. Until then one batch is in flight.
	gate bool
	// acked is when the broker last acknowledged a batch.
	acked int64
}

// standing is in which of the loop's lists a generation stands.
type standing uint8

const (
	nowhere   standing = iota // nothing to send, or its window is full
	lingering                 // its open batch waits for size, count or linger
	due                       // has a batch to send now
)

// remembered is how many batches of a producer a broker keeps, to tell duplicates from gaps.
const remembered = 5

// windowFull tells whether the generation must wait for answers before it sends more. What was acknowledged behind the
// oldest batch counts like what is in flight: a batch that was written, though its answer did not say so, and then five
// later ones would be out of order when it is sent again, and nobody could tell what became of it.
func (g *Generation) windowFull(window int) bool {
	if !g.gate {
		window = 1
	}
	return g.unacked >= window || len(g.flight) > 0 && len(g.flight)+g.flight[0].passed >= remembered
}

// passes counts an acknowledged batch for those before it that are not.
func (g *Generation) passes(acked *Batch) {
	for _, b := range g.flight {
		if b == acked {
			return
		}
		b.passed++
	}
}

func (g *Generation) sendable() bool { return len(g.ready) > 0 || g.open != nil }

// next takes the batch to send now: the oldest.
func (g *Generation) next() *Batch {
	if len(g.ready) > 0 {
		b := g.ready[0]
		g.ready[0] = nil
		g.ready = g.ready[1:]
		return b
	}
	b := g.open
	g.open = nil
	return b
}

// peek is what next would take.
func (g *Generation) peek() *Batch {
	if len(g.ready) > 0 {
		return g.ready[0]
	}
	return g.open
}

// oldestUndecided is the batch without an outcome whose deadline comes first, or nil.
func (g *Generation) oldestUndecided() *Batch {
	for _, b := range g.flight {
		if !b.decided {
			return b
		}
	}
	return g.peek()
}

// holds tells whether anything in it is without an outcome.
func (g *Generation) holds() bool { return g.oldestUndecided() != nil || len(g.records) > 0 }

func (g *Generation) inFlight(b *Batch) bool { return slices.Contains(g.flight, b) }

// unqueue takes the batch out that peek returns.
func (g *Generation) unqueue(b *Batch) {
	if g.next() != b {
		panic("brokerproducer: only the oldest batch is taken out of the queue")
	}
}

// drop takes a batch out of flight.
func (g *Generation) drop(b *Batch) {
	if i := slices.Index(g.flight, b); i >= 0 {
		g.flight = slices.Delete(g.flight, i, i+1)
	}
}

// handBack collects what is left, in order. Everything in flight is answered.
func (g *Generation) handBack() Left {
	left := g.left
	left.Batches = append(left.Batches, g.flight...)
	left.Batches = append(left.Batches, g.ready...)
	if g.open != nil {
		left.Batches = append(left.Batches, g.open)
	}
	left.Untried = len(left.Batches) - len(g.flight)
	for _, b := range left.Batches {
		b.gen, b.back = nil, false
	}
	left.Records = g.records
	left.Sequence = g.sequence
	g.flight, g.ready, g.open, g.records = nil, nil, nil, nil
	return left
}
