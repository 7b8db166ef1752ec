// Package flow holds what travels through the pipeline and what its stages share: records, mailboxes, the memory budget,
// barriers and outcomes. It promises no compatibility.
package flow

import (
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// RecordOverhead is charged for every record, in bytes, from its acceptance until its outcome is handed over. It stands
// for the user's ProducerMessage, our Record and its places in queues. So empty values are not free.
const RecordOverhead = 256

// Record is one accepted message on its way. All that the pipeline knows about the message is here: nothing is kept in
// the user's message or keyed by its pointer. Records travel by value in runs; whoever holds the run owns them.
type Record struct {
	// Msg is the user's. Until the outcome the pipeline only reads it.
	Msg *sarama.ProducerMessage
	// Completion gets the outcome, instead of Successes, Errors and reports. It is nil for messages from the inputs, unless a
	// tracer wants to know their outcome: see FromInput.
	Completion *Completion
	// Born is when the message was accepted, in nanoseconds of the producer's clock.
	Born int64
	// Charge is what the budget was charged for the message's bytes: in the message, and in a batch's buffer.
	// RecordOverhead comes on top.
	Charge int32
	// Size is the message's part of Charge. It is released when the outcome is handed over. The buffer's part, the rest,
	// is released when the outcome is decided.
	Size int32
	// Partition is -1 until the topic chooses it.
	Partition int32
	// Barrier is the number of the flush barrier that counts this record.
	Barrier uint32
}

// ChosenPartition, as a message's Metadata, is the partition that the message goes to: the partitioner is not asked. A
// sluice.Typed sets it, whose messages are its own.
type ChosenPartition int32

// Completion receives the outcome of a message that did not come through the inputs: exactly one of Done and Waiter is
// set. Neither is in that of a message from the inputs, which is for the tracer alone. Messages that are sent together may share
// one if they are never withdrawn or traced.
type Completion struct {
	// Done is the user's callback. It runs on the reports goroutine.
	Done func(*sarama.ProducerMessage, error)
	// Waiter gets the outcome at once, on the goroutine that decided it. It must not block.
	Waiter Waiter
	// Index tells a Waiter which of its messages this is. It means nothing if messages share the Completion.
	Index int
	// Batch is set for a record that stands for a whole batch, encoded before it came in. Such a record has Done.
	Batch SealedBatch
	// Divide makes the record of a part of Batch, when that is divided. The parts, from the first to the last, take its place.
	Divide func(part SealedBatch, last bool) Record
	// Stale tells the dispatcher that the batch is of an earlier transaction.
	Stale func() bool
	// NotCancellable says that the sender never withdraws the message. It is set before the message is sent.
	NotCancellable bool
	// End tells the tracer the outcome; nil if it need not know. EndTrace calls it.
	End func(partition int32, offset int64, err error)

	// mu is held while the pipeline reads a message that can be withdrawn: afterwards the sender may reuse it.
	mu    sync.Mutex
	state completionState
}

// SealedBatch is a batch that an Appender has encoded. It goes through the pipeline as one record, whose Msg has the topic and
// nothing else of its records.
type SealedBatch interface {
	// Count is the number of its records.
	Count() int
}

// Waiter gets outcomes on the goroutine that decided them. Once Outcome is called, the Completion may be used for another
// message. Its Waiter and Done must not change: the outcome stage still reads them.
type Waiter interface {
	// Outcome gets what became of one or more consecutive records of a batch that share a Completion. offset is that of the
	// first record, or NoOffset. The slice must not be kept; the messages are their senders' again.
	Outcome(recs []Record, partition int32, offset int64, timestamp time.Time, err error)
}

type completionState uint8

const (
	messageOpen      completionState = iota // neither taken nor withdrawn
	messageTaken                            // the pipeline has it for good: an outcome will come
	messageWithdrawn                        // the sender took it back: it is never written and gets no outcome
)

// ErrWithdrawn is the outcome of a record whose sender has withdrawn it. Nobody sees it: it only gives back the record's
// memory and its place in barriers.
var ErrWithdrawn = errors.New("withdrawn by its sender")

// Withdraw takes a message back when its sender's context has ended. It returns false if the message is encoded or its
// outcome is decided; then the outcome comes, or has come. After Withdraw the pipeline does not read the message any
// more: if it is reading it now, Withdraw waits.
func (c *Completion) Withdraw() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != messageOpen {
		return false
	}
	c.state = messageWithdrawn
	return true
}

// FromInput tells whether the message came through Input or InputBatch, so that its outcome goes to channels and reports.
func (r *Record) FromInput() bool {
	return r.Completion == nil || r.Completion.Done == nil && r.Completion.Waiter == nil
}

// Withdrawable tells whether the sender may withdraw the message.
func (r *Record) Withdrawable() bool {
	return r.Completion != nil && r.Completion.Waiter != nil && !r.Completion.NotCancellable
}

// CountOf is how many records recs stand for.
func CountOf(recs []Record) (n int) {
	n = len(recs)
	for i := range recs {
		if recs[i].Completion != nil { // which few have: the call would cost more than the rest
			n += recs[i].Count() - 1
		}
	}
	return n
}

// Alone tells whether a batch must take the record by itself: its sender may withdraw it, or it stands for a batch.
func (r *Record) Alone() bool {
	return r.Completion != nil && (r.Completion.Batch != nil || r.Withdrawable())
}

// Probe is the SealedBatch of a record that only waits until its topic is known. It has a Waiter.
type Probe struct{}

// Count implements SealedBatch: it is no record, for Flush, Buffered and Stats.
func (Probe) Count() int { return 0 }

// IsProbe tells whether the record is one.
func (r *Record) IsProbe() bool {
	_, is := r.Sealed().(Probe)
	return is
}

// Sealed is the batch that the record stands for, or nil.
func (r *Record) Sealed() SealedBatch {
	if r.Completion == nil {
		return nil
	}
	return r.Completion.Batch
}

// Count is how many records it stands for.
func (r *Record) Count() int {
	if r.Completion == nil || r.Completion.Batch == nil {
		return 1
	}
	return r.Completion.Batch.Count()
}

// BeginRead must be called before the message is read, and EndRead after it. If the sender has withdrawn the message,
// BeginRead returns false: drop the record, and do not call EndRead.
func (r *Record) BeginRead() bool {
	if !r.Withdrawable() {
		return true
	}
	r.Completion.mu.Lock()
	if r.Completion.state == messageWithdrawn {
		r.Completion.mu.Unlock()
		return false
	}
	return true
}

// EndRead ends what BeginRead began. taken says that the message is encoded, so that it can't be withdrawn any more.
func (r *Record) EndRead(taken bool) {
	if !r.Withdrawable() {
		return
	}
	if taken {
		r.Completion.state = messageTaken
	}
	r.Completion.mu.Unlock()
}

// EndWithdrawal makes sure that the message can't be withdrawn any more. It returns false if it was withdrawn already;
// then it gets no outcome. Calling it twice is fine.
func (r *Record) EndWithdrawal() bool {
	if !r.BeginRead() {
		return false
	}
	r.EndRead(true)
	return true
}

// Reset prepares a Completion for another message. Nobody else may have it.
func (c *Completion) Reset() { c.state, c.End = messageOpen, nil }

// Charged are sums over records.
type Charged struct {
	Charge, Size int64
	Known        bool
}

// ChargedTo sums up what the records are charged.
func ChargedTo(recs []Record) Charged {
	sums := Charged{Known: true}
	for i := range recs {
		sums.Charge += int64(recs[i].Charge)
		sums.Size += int64(recs[i].Size)
	}
	return sums
}
