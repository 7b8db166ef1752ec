// Package flow holds what travels through the pipeline and what its stages share: records, mailboxes, the memory budget,
// fences and outcomes. It promises no compatibility.
package flow

import (
	"sync/atomic"
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
	// Call is where the outcome goes in place of Successes, Errors and reports; nil for messages from the inputs.
	Call *Call
	// Born is when the message was accepted, in nanoseconds of the producer's clock.
	Born int64
	// Charge is what the budget was charged with for the message's bytes; RecordOverhead is not in it.
	Charge int32
	// Partition is chosen by the topic stage; -1 before.
	Partition int32
	// Fence is the fence that counts this record (Fences).
	Fence uint32
}

// Call receives the outcome of one message that did not come through the inputs. Exactly one of Done and Sink is set.
type Call struct {
	// Done is the user's callback. It runs on the reports goroutine.
	Done func(*sarama.ProducerMessage, error)
	// Sink takes the outcome at once, on the goroutine that decided it: it must not block.
	Sink Sink
	// Index tells a Sink which of its messages this is.
	Index int

	state atomic.Int32
}

// Sink takes outcomes on the goroutine that decided them.
type Sink interface {
	Outcome(index int, partition int32, offset int64, timestamp time.Time, err error)
}

const (
	callOpen      int32 = iota // neither encoded nor withdrawn
	callTaken                  // the pipeline has it for good: an outcome will come
	callWithdrawn              // the sender took it back: it is never written and gets no outcome
)

// Withdraw takes a message back whose sender's context ended. It returns false if the pipeline has encoded it, or has
// decided its fate: then the outcome comes, or has come.
func (c *Call) Withdraw() bool { return c.state.CompareAndSwap(callOpen, callWithdrawn) }

// Take claims the record for the pipeline, before it is encoded or its fate is decided. It returns false if the sender
// withdrew it: then the record is dropped. Taking twice is fine.
func (r *Record) Take() bool {
	if r.Call == nil {
		return true
	}
	return r.Call.state.CompareAndSwap(callOpen, callTaken) || r.Call.state.Load() == callTaken
}

// Reset makes a pooled call new. The caller must be the only one that knows it.
func (c *Call) Reset() { c.state.Store(callOpen) }

// Charges sums what the records' bytes are charged with, their overhead left out.
func Charges(recs []Record) int64 {
	var n int64
	for i := range recs {
		n += int64(recs[i].Charge)
	}
	return n
}
