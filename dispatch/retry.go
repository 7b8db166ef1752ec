package dispatch

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
)

// laneState says what a lane waits for before it may send.
type laneState uint8

const (
	// stateIdle: no generation, and nothing that forbids to open one. It holds nothing.
	stateIdle laneState = iota
	// stateOpen: a generation is open; runs go straight through.
	stateOpen
	// stateEnding: the generation was ended; its reply is awaited, and nothing is sent anywhere.
	stateEnding
	// stateBackoff: a failure was answered; nothing is sent before the back-off is over.
	stateBackoff
	// stateLookup: a look-up round is awaited.
	stateLookup
)

var stateNames = [...]string{"idle", "open", "ending", "back-off", "look-up"}

func (s laneState) String() string { return stateNames[s] }

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
	open(to leader) Generation
	refresh()
	// fail decides the fate of a batch or of records that are given up.
	failBatch(b *brokerproducer.Batch, cause error)
	failRecords(recs []flow.Record, cause error)
}

// rules are the lane's protocol, without a goroutine, a channel or a clock: events in, effects out. They are the one
// owner of the partition's order:
//
//   - held batches go before held records, and both before what comes later;
//   - there is one generation at most, and another one only after the reply that ends it;
//   - the reply's batches and records go before everything that is held.
type rules struct {
	effects
	retryMax    int
	backoff     func(failures int) time.Duration
	timeout     time.Duration // delivery timeout
	maxFailures func() bool   // failures count as attempts: Close has begun, or nothing is ever retried

	state  laneState
	leader leader
	gen    Generation

	batches []*brokerproducer.Batch
	records []flow.Record

	// failures in a row: of this partition's batches, dials and look-ups.
	failures int
	cause    error // of the last failure
	wakeAt   int64 // end of the back-off
	rounds   int   // look-up rounds that were asked for, and are awaited before the next try
}

// run is a run of new records.
func (r *rules) run(recs []flow.Record, now int64) {
	if len(recs) == 0 {
		return
	}
	if r.state == stateOpen {
		r.gen.Send(recs)
		return
	}
	r.records = append(r.records, recs...)
	if r.state == stateIdle {
		r.try(now)
	}
}

// try opens a generation if the leader is known, and sends what is held; else it asks for a look-up.
func (r *rules) try(now int64) {
	if !r.leader.known {
		r.lookup()
		return
	}
	r.state = stateOpen
	r.gen = r.open(r.leader)
	for i, b := range r.batches {
		r.gen.Resend(b)
		r.batches[i] = nil
	}
	r.batches = r.batches[:0]
	r.gen.Send(r.records)
	r.records = flow.Spare(r.records)
}

func (r *rules) lookup() {
	r.state = stateLookup
	r.rounds = 1
	r.refresh()
}

// closed: the broker producer sends nothing more of this generation.
func (r *rules) closed(gen Generation) {
	if r.state == stateOpen && r.gen == gen {
		r.end()
	}
}

func (r *rules) end() {
	r.state = stateEnding
	r.gen.End()
}

// ended: the generation's last word.
func (r *rules) ended(gen Generation, left brokerproducer.Left, now int64) {
	if r.gen != gen {
		return
	}
	r.gen = nil
	r.batches = append(left.Batches, r.batches...)
	r.records = append(left.Records, r.records...)
	if left.Progress {
		r.failures = 0
	}
	if left.Cause == nil || left.AtOnce {
		r.resume(now)
		return
	}
	r.failed(left.Cause, left.Refresh, now)
}

// resume goes on without having to wait.
func (r *rules) resume(now int64) {
	r.state = stateIdle
	if len(r.batches) > 0 || len(r.records) > 0 {
		r.try(now)
	}
}

// failed begins a back-off, and a look-up beside it where the leader is in doubt.
func (r *rules) failed(cause error, refresh bool, now int64) {
	r.failures++
	r.cause = cause
	if r.maxFailures() && r.failures > r.retryMax {
		r.failHeld(cause)
	}
	r.state = stateBackoff
	r.wakeAt = now + int64(r.backoff(r.failures))
	r.rounds = 0
	if refresh {
		r.rounds = 1
		r.refresh()
	}
}

// round: a look-up round ended. l is the leader as it is known now, err why nothing newer is known.
func (r *rules) round(l leader, err error, now int64) {
	moved := !l.same(r.leader)
	r.leader = l
	r.rounds = 0
	switch r.state {
	case stateOpen:
		if moved {
			r.end() // the reply hands back what was not sent, and resume goes to the new leader
		}
	case stateBackoff:
		if moved && l.known {
			// What was wrong was the leader: there is nothing left to wait for.
			r.resume(now)
		}
	case stateLookup:
		if l.known {
			r.resume(now)
			return
		}
		if err == nil {
			err = sarama.ErrLeaderNotAvailable
		}
		r.failed(fmt.Errorf("no leader: %w", err), false, now)
	}
}

// tick: time has passed.
func (r *rules) tick(now int64) {
	r.expire(now)
	if r.state == stateBackoff && now >= r.wakeAt {
		switch {
		case r.rounds > 0:
			r.state = stateLookup
		case !r.leader.known && (len(r.batches) > 0 || len(r.records) > 0):
			r.lookup()
		default:
			r.resume(now)
		}
	}
}

// expire ends what has reached its deadline. Only heads need looking at: what stands behind is younger.
func (r *rules) expire(now int64) {
	for len(r.batches) > 0 && r.batches[0].Deadline <= now {
		r.failBatch(r.batches[0], flow.Expired(r.timeout, r.cause))
		r.batches[0] = nil
		r.batches = r.batches[1:]
	}
	n := 0
	for n < len(r.records) && r.records[n].Born+int64(r.timeout) <= now {
		n++
	}
	if n > 0 {
		r.failRecords(r.records[:n], flow.Expired(r.timeout, r.cause))
		r.records = append(r.records[:0], r.records[n:]...)
	}
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
		r.failBatch(b, cause)
	}
	clear(r.batches)
	r.batches = r.batches[:0]
	if len(r.records) > 0 {
		r.failRecords(r.records, cause)
		r.records = flow.Spare(r.records)
	}
}

// abort gives up everything and ends the generation, whose loop does the same.
func (r *rules) abort(cause error) {
	r.failHeld(cause)
	if r.state == stateOpen {
		r.end()
	}
}

// stop ends the lane's stay. It returns true when nothing is awaited any more.
func (r *rules) stop() bool {
	if r.state == stateOpen {
		r.end()
	}
	return r.state != stateEnding
}
