// Package flow holds what travels through the pipeline, and what every stage shares: records, the memory budget,
// mailboxes, fences and outcomes. It promises no compatibility.
package flow

import "github.com/IBM/sarama"

// Record is one accepted message on its way: the producer's own envelope, so that nothing is kept in the user's message
// or keyed by its pointer. Records travel by value in runs; whoever holds the run owns them.
type Record struct {
	Msg *sarama.ProducerMessage
	// Call is where the outcome goes in place of Successes, Errors and reports; nil for messages from the inputs.
	Call *Call
	// Born is when the message was accepted, in nanoseconds of the producer's clock (Clock.Now).
	Born int64
	// Charge is what the budget was charged with for the message's bytes; the fixed overhead a record is not in it.
	Charge int32
	// Partition is chosen by the topic stage; -1 before.
	Partition int32
	// Fence is the number of the flush fence that counts this record.
	Fence uint32
}
