package dispatch

import (
	"slices"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
)

// How the rules give up what they hold: all of it, what is too old, or what has had its rounds.

// failHeld gives up everything.
func (r *rules) failHeld(cause error) { r.failFirst(len(r.batches), len(r.records), cause) }

// failBefore gives up what was accepted by that time.
func (r *rules) failBefore(at int64, cause error) {
	batches, records := 0, 0
	for batches < len(r.batches) && r.batches[batches].Youngest() <= at {
		batches++
	}
	if batches == len(r.batches) {
		records = acceptedBy(at, r.records)
	}
	r.failFirst(batches, records, cause)
}

// expire gives up what has reached its deadline. The oldest come first.
func (r *rules) expire(now int64) {
	batches, records := 0, acceptedBy(now-int64(r.timeout), r.records)
	for batches < len(r.batches) && r.batches[batches].Deadline <= now {
		batches++
	}
	if batches+records > 0 {
		r.failFirst(batches, records, flow.Expired(r.timeout, r.whyWaiting()))
	}
}

// whyWaiting is why nothing was sent of what is held: the last failure, or else what is waited for at the moment.
func (r *rules) whyWaiting() error {
	if r.cause != nil {
		return r.cause
	}
	return r.waitsFor(r.state)
}

// acceptedBy is how many records, from the first on, were accepted by that time.
func acceptedBy(at int64, recs []flow.Record) (n int) {
	for n < len(recs) && recs[n].Born <= at {
		n++
	}
	return n
}

// failFirst gives up the first batches and the first records.
func (r *rules) failFirst(batches, records int, cause error) {
	for _, b := range r.batches[:batches] {
		r.giveUp(b, cause)
	}
	r.batches = slices.Delete(r.batches, 0, batches) // it clears the places that become free
	if records > 0 {
		r.failRecords(r.records[:records], cause)
		r.records = slices.Delete(r.records, 0, records)
	}
	if len(r.records) == 0 {
		r.records = nil // it may be large, and this partition idle for long
	}
}

// giveUp ends a batch. If it has a sequence number, the sequence is broken.
func (r *rules) giveUp(b *brokerproducer.Batch, cause error) {
	if b.Numbered {
		r.sequenceState = max(r.sequenceState, brokerproducer.SequenceBroken)
	}
	r.failBatch(b, cause)
}
