package brokerproducer

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
	"github.com/sluice-kafka/sluice/produceset"
)

// answered takes a request back whose fate is known for each batch, or that failed as a whole. Runs on the loop.
func (l *loop) answered(req *request) {
	if req.err != nil && req.written && l.MarkUnresponsive != nil {
		l.MarkUnresponsive(l.addr) // before any partition producer asks for a look-up
	}
	recalled := errors.Is(req.err, errRecalled)
	for i, b := range req.batches {
		b.session.unacked--
		switch {
		case req.fatal:
			l.giveUp(b, b.sealError)
		case recalled:
			l.recalled(b)
		case req.err != nil:
			l.unanswered(b, req)
		default:
			l.answer(b, &req.wire.Answers[i], req.wire.Nodes)
		}
	}
	for _, b := range req.batches {
		b.req = nil
		if s := b.session; s != nil {
			l.maybeVerified(s)
			l.place(s)
			l.maybeEnd(s)
		}
	}
	l.recycle(req)
}

// recall asks for the batch of a session that was not written yet, as its partition producer has ended the session: it goes
// elsewhere, or will, and is not to wait here for a broker that may be gone. At most one request is not written.
func (l *loop) recall(s *Session) {
	for _, b := range s.flight {
		if b.req != nil {
			l.claims.recall(b)
		}
	}
}

// recalled is a batch whose request was recalled: it stands first in its queue again, as if it had not been handed over. A
// partition producer that goes has it back with the rest; where the partition producer stays it goes with the next request.
func (l *loop) recalled(b *Batch) {
	if b.decided {
		l.giveUp(b, b.Cause)
		return
	}
	b.session.drop(b) // it was the last in flight
	b.session.ready = slices.Insert(b.session.ready, 0, b)
}

// unanswered is a batch whose request got no answer.
func (l *loop) unanswered(b *Batch, req *request) {
	if b.decided {
		l.giveUp(b, req.err) // it was only waited for
		return
	}
	b.Cause = req.err
	b.session.result.Unsent = b.session.result.Unsent || !req.written
	if req.written {
		b.Unsure = true
		b.Attempts++
	} else if l.Shared.Closing() {
		// What was not sent costs time and no attempt, except where Close waits.
		b.Attempts++
	}
	l.again(b, true)
}

// answer is a batch that the broker answered.
func (l *loop) answer(b *Batch, a *wire.ProduceAnswer, nodes []wire.NodeEndpoint) {
	code := sarama.KError(a.Code)
	if a.Missing {
		b.Cause = fmt.Errorf("%v: %w", l.Producer, flow.External(sarama.ErrIncompleteResponse))
		b.Unsure = true
		b.Attempts++
		l.again(b, true)
		return
	}
	fate := FateOf(code)
	if fate == Delivered || fate == Duplicate {
		b.session.result.Progress = true
		b.session.confirmed = b.Numbered
		b.session.acked = l.now
		b.session.passes(b)
		offset := a.BaseOffset
		if fate == Duplicate {
			offset = flow.NoOffset
		}
		l.delivered(b, offset, a.AppendTime)
		return
	}
	b.Cause = l.refusal(code, a.Message)
	switch fate {
	case Retry, Refresh:
		if Unsure(code, l.conf.Producer.RequiredAcks) {
			b.Unsure = true
		}
		b.Attempts++
		if fate == Refresh && a.LeaderID >= 0 && a.LeaderEpoch >= 0 {
			l.updateLeader(b, a, nodes)
		}
		l.again(b, fate == Refresh)
	case Split:
		if b.Len() > 1 && !b.Unsure && !b.decided {
			l.split(b)
			return
		}
		l.giveUp(b, b.Cause)
	case LostSequence:
		if b.Numbered {
			l.lostSequence(b, code)
			return
		}
		l.giveUp(b, b.Cause)
	case FatalProducer:
		l.giveUp(b, b.Cause)
		if l.Identity == nil {
			return // there is no identity that it could be about
		}
		l.Shared.Abort(flow.Errorf("the producer can't go on: %w", b.Cause))
	default:
		l.giveUp(b, b.Cause)
	}
}

// update the leader passes on the leader that an answer names (KIP-951).
func (l *loop) updateLeader(b *Batch, a *wire.ProduceAnswer, nodes []wire.NodeEndpoint) {
	var node *metadata.Broker
	for _, n := range nodes {
		if n.ID == a.LeaderID {
			addr := net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port)))
			node = &metadata.Broker{ID: n.ID, Addr: addr, Rack: n.Rack}
		}
	}
	b.session.result.Hinted = true
	l.UpdateLeader(b.Topic, b.TopicID, b.Partition, a.LeaderID, a.LeaderEpoch, node)
}

// lostSequence is a numbered batch that does not follow what the broker knows of the producer.
//
//   - Behind a gap in the sequence it says no more than that the batch was not written: it waits for a new number.
//   - Of a batch that is not its partition producer's oldest it is collateral: the older one was not written yet. It is sent again
//     after that, and no attempt is counted.
//   - Of the oldest it means that the broker has lost its state. A batch that was certainly not written gets a new
//     number under another epoch (KIP-360); of one that may have been, nobody can tell any more.
func (l *loop) lostSequence(b *Batch, code sarama.KError) {
	s := b.session
	afterBreak := s.verify || s.result.SequenceBroken
	outOfOrder := code == sarama.ErrOutOfOrderSequenceNumber
	switch {
	case b.decided:
		l.giveUp(b, b.Cause)
		return
	case afterBreak && outOfOrder:
		b.Unsure = false
		b.back = true
	case afterBreak && b.Unsure, !afterBreak && s.flight[0] == b && b.Unsure:
		l.giveUp(b, b.Cause)
		return
	case !afterBreak && s.flight[0] == b:
		s.result.SequenceBroken = true
		b.Attempts++
		l.again(b, false)
		return
	default:
		b.back = true
	}
	if !s.verify {
		l.closeSession(s, b.Cause, false)
	}
}

// verified closes a session that was to find out about its batches when all of them are answered.
func (l *loop) maybeVerified(s *Session) {
	if s.verify && !s.closed && s.unacked == 0 && !s.sendable() {
		s.result.AtOnce = true
		l.closeSession(s, nil, false)
	}
}

func (l *loop) refusal(code sarama.KError, message string) error {
	if message == "" {
		return fmt.Errorf("%v: %w", l.Producer, flow.External(code))
	}
	return fmt.Errorf("%v: %w (%s)", l.Producer, flow.External(code), message)
}

// again keeps a batch for the next session, which it closes this one for, or gives it up when its attempts are used
// up.
func (l *loop) again(b *Batch, refresh bool) {
	s := b.session
	if b.decided {
		l.giveUp(b, b.Cause)
	} else if b.Attempts > l.conf.Producer.Retry.Max {
		l.giveUp(b, fmt.Errorf("after %d attempts: %w", b.Attempts, b.Cause))
	} else {
		b.back = true
	}
	l.closeSession(s, b.Cause, refresh)
}

// split sends the halves of a batch that the broker refused as too large (KIP-126). They go through the partition producer like
// every batch that comes back, so that nothing overtakes them.
func (l *loop) split(b *Batch) {
	s := b.session
	cause := b.Cause
	id, epoch, sequence := b.Batch.Identity()
	numbered := b.Numbered
	first, second, err := b.Split()
	if err != nil {
		l.giveUp(b, fmt.Errorf("splitting: %w", err))
		return
	}
	halves := make([]*Batch, 0, 2)
	for _, half := range []*produceset.Batch{first, second} {
		if numbered {
			// The batch was not written: its numbers are the halves' (KIP-126).
			half.SetIdentity(id, epoch, sequence, false)
			sequence = txn.Advance(sequence, half.Len())
		}
		halves = append(halves, &Batch{
			Batch: half, Attempts: b.Attempts, Cause: cause, session: s, back: true, Numbered: numbered,
			Deadline: l.Shared.Deadline(half.Records[0].Born),
		})
	}
	for i, other := range s.flight {
		if other == b {
			s.flight = append(s.flight[:i:i], append(halves, s.flight[i+1:]...)...)
			break
		}
	}
	b.session = nil
	s.hint = first.Bytes()
	s.result.AtOnce = true
	l.closeSession(s, cause, false)
	l.maybeEnd(s)
}
