package dispatch

import (
	"slices"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// What the rules do for idempotence.
//
// When a batch with a sequence number is given up, the sequence is broken: the broker takes no later number of that
// identity. The rules recover in two steps (KIP-360):
//
//  1. Later batches that may have been written are sent again under their old numbers, at a session to verify them. Each
//     is acknowledged, or answered as out of order. After a break, out of order means that it was not written.
//  2. The identity is bumped, once for all partition producers, or renewed where the broker does not take the producer id
//     any more. What is left gets new numbers.

// repairSequence does what a broken sequence needs next. It opens a session for the first step and returns true, or does the
// second step and returns false.
func (r *rules) repairSequence() (opened bool) {
	if r.transactional {
		return r.repairByCoordinator()
	}
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
	if r.sequenceState == brokerproducer.IdentityLost {
		r.renew(r.sequence.Identity)
	} else {
		r.bump(r.sequence.Identity)
	}
	r.sequenceState = brokerproducer.SequenceIntact
	r.sequence = txn.Sequence{Identity: txn.None}
	for _, b := range r.batches {
		b.Numbered = false
	}
	return false
}

// repairByCoordinator is repairSequence of a transactional producer, whose coordinator alone gives epochs. It gave another one
// when it ended the transaction in which the sequence broke: what is held is of a later transaction. If it has not, the
// transaction fails: it may have lost a batch.
func (r *rules) repairByCoordinator() (stopped bool) {
	if r.identity() == r.sequence.Identity {
		r.bump(r.sequence.Identity)
		if cause := r.stopped(); cause != nil {
			r.failHeld(cause)
			return true
		}
	}
	r.sequenceState = brokerproducer.SequenceIntact
	r.sequence = txn.Sequence{Identity: txn.None}
	return false
}

// inOrder merges the batches that a verifying session hands back with those that waited, in their old order.
func (r *rules) inOrder(back []*brokerproducer.Batch) {
	alive := append(back, r.batches...)
	r.batches = slices.DeleteFunc(r.order, func(b *brokerproducer.Batch) bool { return !slices.Contains(alive, b) })
	r.order = nil
}

// onIdentityFailed handles that no broker gave a producer id. It is asked for again, unless the refusal is final: then
// all that waits fails, and the next message asks again.
func (r *rules) onIdentityFailed(cause error, final bool, now int64) {
	if r.state != stateIdentity {
		return
	}
	r.countFailure(cause, true)
	if final {
		r.failHeld(cause)
	} else {
		r.giveUpTried(cause, now)
	}
	if !r.holds() {
		r.resume(now)
	}
}

// onIdentity handles that there is a producer id.
func (r *rules) onIdentity(now int64) {
	if r.state == stateIdentity {
		r.resume(now)
	}
}
