package brokerproducer

import "github.com/IBM/sarama"

// The rules of order and sequence numbers: what becomes of a batch and its session when an attempt to send it has ended.
// They know no goroutine, channel or clock. The loop asks judge, and carries out its verdict.

// attempt is one attempt to send a batch that has ended, with all that the rules look at.
type attempt struct {
	end  attemptEnd
	code sarama.KError // of an answered one

	acks       sarama.RequiredAcks
	maxRetries int  // Retry.Max
	closing    bool // Close has begun

	// The batch, before this attempt is counted:

	records  int
	culprits int  // of these, which the broker names as the cause (KIP-467); 0 if it names none, or wrong ones
	failed   int  // attempts that were sent and failed
	rejected int  // of these: answered with a RetryFew code
	numbered bool // it has a sequence number
	unsure   bool // an earlier attempt may have written it
	// elsewhere: of an unsure one; it was written to another topic of this name, if at all, which was deleted since.
	elsewhere bool
	decided   bool // it has its outcome: its deadline has passed, or the producer was aborted
	size      sizeDoubt

	// Its session:

	oldest bool // no batch before it is in flight
	// broken: the broker takes no later sequence number, see SequenceBroken.
	broken bool
	// verifying: the session only finds out which batches behind a broken sequence were written.
	verifying bool
	// transactional: of a transactional producer. A batch can't get a new number in its transaction, whose epoch the coordinator gave.
	transactional bool
}

// attemptEnd is how an attempt ended.
type attemptEnd uint8

const (
	answered    attemptEnd = iota // the broker answered with a code
	unmentioned                   // the broker's answer leaves the batch out
	unanswered                    // written, and no answer came
	cutOff                        // written in part: the broker can't act on it
	notSent                       // not a byte was written, say because a dial failed
	recalled                      // taken back before it was written
	unusable                      // it can't be compressed or split
)

// sizeDoubt tells whether an attempt may have failed because the request was too large for the broker, which then closes the
// connection and says nothing.
type sizeDoubt uint8

const (
	sizeIsFine     sizeDoubt = iota
	largeRequest             // the broker closed the connection on a large request
	largeBatch               // and the request was this batch alone, of at least refusableBytes
	batchIsRefused           // and it was the last of at least refusals closes on this batch
)

// verdict is what to do about an ended attempt.
type verdict struct {
	do action
	// exhausted: it is given up because its attempts are used up.
	exhausted bool

	// The batch from now on:

	failed   int
	rejected int
	unsure   bool

	// The session:

	sequence SequenceState
	closes   bool    // it sends nothing more
	next     NextTry // if it closes
	unsent   bool    // it could send nothing
}

type action uint8

const (
	deliver action = iota
	resend         // keep it for the partition's next session
	giveUp
	split   // resend it in two halves
	sift    // fail the records at fault, and resend the others
	putBack // first in its queue, as if it had not been handed over
)

// judge decides what to do about an ended attempt.
//
// A batch that has its outcome already stays in flight only until its answer. Whatever the verdict, it is not sent again.
func judge(a *attempt) verdict {
	v := verdict{failed: a.failed, rejected: a.rejected, unsure: a.unsure}
	switch a.end {
	case answered:
		return a.judgeAnswer(v)
	case unmentioned:
		v.failed, v.unsure = v.failed+1, true
		return a.retry(v, AfterLookup)
	case unanswered:
		if !a.decided {
			v.failed, v.unsure = v.failed+1, true
			return a.retry(v, AfterLookup)
		}
	case cutOff:
		if !a.decided {
			if a.size == sizeIsFine || a.records < 2 { // else less is sent: like a split, that is no failed attempt
				v.failed++
			}
			return a.retry(v, AfterLookup)
		}
	case notSent:
		if !a.decided {
			v.unsent = true
			if a.closing { // what can't be sent costs no attempt, but Close does not wait as long
				v.failed++
			}
			return a.retry(v, AfterLookup)
		}
	case recalled:
		if !a.decided {
			v.do = putBack
			return v
		}
	}
	return a.giveUp(v)
}

// mayHaveWritten tells whether this attempt, whatever came before it, leaves the batch unsure.
func (a *attempt) mayHaveWritten() bool {
	switch a.end {
	case answered:
		return Unsure(a.code, a.acks)
	case unmentioned, unanswered:
		return true
	}
	return false
}

func (a *attempt) judgeAnswer(v verdict) verdict {
	switch meaning := MeaningOf(a.code); meaning {
	case Delivered, Duplicate:
		v.do = deliver
		return v
	case Retry, RetryFew, Refresh:
		v.failed++
		if meaning == RetryFew {
			v.rejected++
		}
		// A refusal now does not undo that an earlier attempt may have written the batch.
		v.unsure = v.unsure || Unsure(a.code, a.acks)
		if meaning == Refresh {
			return a.retry(v, AfterLookup)
		}
		return a.retry(v, AfterBackoff)
	case Wait:
		if a.decided {
			return a.giveUp(v)
		}
		v.do, v.closes, v.next = resend, true, Soon
		return v
	case Split:
		// An unsure batch may be in the log whole: then its halves would be duplicates.
		if a.records > 1 && !a.unsure && !a.decided {
			v.do, v.closes = split, true
			return v
		}
	case LostSequence, LostIdentity:
		if a.numbered && !a.decided {
			v = a.judgeLostSequence(v)
		} else {
			v = a.giveUp(v)
		}
		if v.sequence == SequenceBroken && meaning == LostIdentity {
			v.sequence = IdentityLost
		}
		return v
	case Fatal:
		// An unsure batch may be in the log whole.
		if a.culprits > 0 && a.culprits < a.records && !a.unsure && !a.decided {
			v.do, v.closes = sift, true
			if a.numbered { // without its number there is a gap before those behind it
				v.sequence = SequenceBroken
			}
			return v
		}
	}
	return a.giveUp(v)
}

// judgeLostSequence is about a batch whose number does not follow what the broker knows of the producer.
//
//   - Behind a broken sequence, out of order means that the batch was not written, by earlier attempts either. It gets a
//     new number later. Any other code leaves an unsure batch unsure for good.
//   - If an earlier batch is in flight, the broker has not got that one, so it had to refuse this one. It is sent again
//     after the earlier one; no attempt is counted.
//   - A topic that was created anew knows nothing of the producer. Since KAFKA-15591 it wants 0 first, so it refuses the
//     oldest batch, and has written none. That the batch may be in the deleted topic's log is no reason to give it up.
//   - In a transaction the oldest batch is given up, and the transaction with it: no new number is to be had in it.
//   - Else, for the oldest batch the broker has lost its state. If the batch was certainly not written, it gets a new number
//     under another epoch (KIP-360), or another producer id if the broker has lost that. If it is unsure, there is no way
//     left to find out.
func (a *attempt) judgeLostSequence(v verdict) verdict {
	afterBreak := a.broken || a.verifying
	outOfOrder := a.code == sarama.ErrOutOfOrderSequenceNumber
	switch {
	case afterBreak && outOfOrder:
		v.unsure = false
	case a.transactional && a.oldest:
		return a.giveUp(v)
	case a.oldest && a.elsewhere && outOfOrder:
		v.failed++
		v.unsure, v.sequence = false, SequenceBroken
		return a.retry(v, AfterBackoff)
	case a.unsure && (afterBreak || a.oldest):
		return a.giveUp(v)
	case a.oldest && !afterBreak:
		v.failed++
		v.sequence = SequenceBroken
		return a.retry(v, AfterBackoff)
	}
	v.do = resend
	v.next = AfterBackoff
	v.closes = !a.verifying // a verifying session goes on until every batch is answered
	return v
}

// retry keeps a batch for the next session, or gives it up when its attempts are used up. The session is closed: what
// follows the batch must not overtake it.
func (a *attempt) retry(v verdict, next NextTry) verdict {
	switch {
	case a.decided:
		v = a.giveUp(v)
	case a.size == batchIsRefused && (v.unsure || a.records < 2): // it can't be split
		v = a.giveUp(v)
	case v.failed > a.maxRetries || v.rejected > fewRetries:
		v = a.giveUp(v)
		v.exhausted = true
	default:
		v.do = resend
	}
	v.closes, v.next = true, next
	return v
}

// giveUp ends a batch without delivery. If it has a number, the broker will take none of the later ones.
func (a *attempt) giveUp(v verdict) verdict {
	v.do = giveUp
	if a.numbered {
		v.sequence, v.closes, v.next = SequenceBroken, true, AfterBackoff
	}
	return v
}
