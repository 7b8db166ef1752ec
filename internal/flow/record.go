// Package flow holds what travels through the pipeline and what its stages share: records, mailboxes, the memory budget,
// barriers and outcomes. It promises no compatibility.
package flow

import (
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// RecordOverhead is charged for every record from its acceptance until its outcome is handed over, in bytes, so that
// empty values are not free: the user's ProducerMessage, our envelopes of it, its places in the queues.
const RecordOverhead = 256

// Record is one accepted message on its way: the producer's own envelope, so that nothing is kept in the user's message
// or keyed by its pointer. Records travel by value in runs; whoever holds the run owns them.
type Record struct {
	// Msg is the user's. Between acceptance and outcome the pipeline only reads it.
	Msg *sarama.ProducerMessage
	// Completion is where the outcome goes in place of Successes, Errors and reports; nil for messages from the inputs.
	Completion *Completion
	// Born is when the message was accepted, in nanoseconds of the producer's clock.
	Born int64
	// Charge is what the budget was charged with for the message's bytes, in the message and in a batch's buffer;
	// RecordOverhead is not in it.
	Charge int32
	// Size is the message's own part of Charge: it stays charged until the outcome is handed over, as the message is
	// kept until then. The rest is the buffer's, and is released with the fate.
	Size int32
	// Partition is chosen by the topic stage; -1 before.
	Partition int32
	// flush barrier is the flush barrier that counts this record (Barriers).
	Barrier uint32
}

// Completion receives the outcome of a message that did not come through the inputs. Exactly one of Done and Waiter is set. Messages
// that were sent together and are never withdrawn may share one.
type Completion struct {
	// Done is the user's callback. It runs on the reports goroutine.
	Done func(*sarama.ProducerMessage, error)
	// Waiter takes the outcome at once, on the goroutine that decided it: it must not block.
	Waiter Waiter
	// Index tells a Waiter which of its messages this is. It means nothing where messages share the call.
	Index int
	// NotCancellable says that the sender of a Waiter's message never withdraws it. It is set before the message is sent.
	NotCancellable bool

	// mu is held while the pipeline reads a message that its sender may withdraw, and use again.
	mu    sync.Mutex
	state completionState
}

// Waiter takes outcomes on the goroutine that decided them. Once Outcome is called, the Completion may serve another message; the
// outcome stage still reads Waiter and Done of it, so these never change.
type Waiter interface {
	// Outcome is the fate of records of one batch that stand together and share a Completion, at least one. offset is the first
	// one's, and the others follow; or it is NoOffset. The slice is not the waiter's, but the messages are its senders' again.
	Outcome(recs []Record, partition int32, offset int64, timestamp time.Time, err error)
}

type completionState uint8

const (
	callOpen      completionState = iota // neither encoded nor withdrawn
	callTaken                            // the pipeline has it for good: an outcome will come
	callWithdrawn                        // the sender took it back: it is never written and gets no outcome
)

// Withdraw takes a message back whose sender's context ended. It returns false if the pipeline has encoded it, or has
// decided its fate: then the outcome comes, or has come. In either case the pipeline reads the message no more: if it is
// reading it at this moment, Withdraw waits for that.
func (c *Completion) Withdraw() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != callOpen {
		return false
	}
	c.state = callWithdrawn
	return true
}

// Withdrawable tells whether the message's sender may take it back.
func (r *Record) Withdrawable() bool {
	return r.Completion != nil && r.Completion.Waiter != nil && !r.Completion.NotCancellable
}

// Borrow begins a look at the message and tells whether there may be one: false if its sender withdrew it. Then the
// record is dropped. Return ends the look.
func (r *Record) Borrow() bool {
	if !r.Withdrawable() {
		return true
	}
	r.Completion.mu.Lock()
	if r.Completion.state == callWithdrawn {
		r.Completion.mu.Unlock()
		return false
	}
	return true
}

// Return ends a look that Borrow has allowed. taken says that the pipeline needs no other: it has encoded the message.
func (r *Record) Return(taken bool) {
	if !r.Withdrawable() {
		return
	}
	if taken {
		r.Completion.state = callTaken
	}
	r.Completion.mu.Unlock()
}

// Take claims the record for the pipeline, before its fate is decided. It returns false if the sender withdrew it: then
// it gets no outcome. Taking twice is fine.
func (r *Record) Take() bool {
	if !r.Borrow() {
		return false
	}
	r.Return(true)
	return true
}

// Reset makes a pooled call new. The caller must be the only one that knows it.
func (c *Completion) Reset() { c.state = callOpen }

// Charges sums what the records' bytes are charged with: what their buffers hold, and what the messages do, overhead
// included.
func Charges(recs []Record) (buffers, messages int64) {
	messages = int64(len(recs)) * RecordOverhead
	for i := range recs {
		buffers += int64(recs[i].Charge - recs[i].Size)
		messages += int64(recs[i].Size)
	}
	return buffers, messages
}
