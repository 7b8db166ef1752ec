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
	if req.err != nil && req.written && l.Shun != nil {
		l.Shun(l.addr) // before any lane asks for a look-up
	}
	recalled := errors.Is(req.err, errRecalled)
	for i, b := range req.batches {
		b.gen.unacked--
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
		if g := b.gen; g != nil {
			l.settled(g)
			l.place(g)
			l.maybeEnd(g)
		}
	}
	l.recycle(req)
}

// recall asks for the batch of a generation that was not written yet, as its lane has ended the generation: it goes
// elsewhere, or will, and is not to wait here for a broker that may be gone. At most one request is not written.
func (l *loop) recall(g *Generation) {
	for _, b := range g.flight {
		if b.req != nil {
			l.claims.recall(b)
		}
	}
}

// recalled is a batch whose request was recalled: it stands first in its queue again, as if it had not been handed over. A
// lane that goes has it back with the rest; where the lane stays it goes with the next request.
func (l *loop) recalled(b *Batch) {
	if b.decided {
		l.giveUp(b, b.Cause)
		return
	}
	b.gen.drop(b) // it was the last in flight
	b.gen.ready = slices.Insert(b.gen.ready, 0, b)
}

// unanswered is a batch whose request got no answer.
func (l *loop) unanswered(b *Batch, req *request) {
	if b.decided {
		l.giveUp(b, req.err) // it was only waited for
		return
	}
	b.Cause = req.err
	b.gen.left.Unsent = b.gen.left.Unsent || !req.written
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
		b.gen.left.Progress = true
		b.gen.gate = b.Numbered
		b.gen.acked = l.now
		b.gen.passes(b)
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
			l.learn(b, a, nodes)
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
		l.Shared.Abort(fmt.Errorf("sluice: the producer can't go on: %w", b.Cause))
	default:
		l.giveUp(b, b.Cause)
	}
}

// learn passes on the leader that an answer names (KIP-951).
func (l *loop) learn(b *Batch, a *wire.ProduceAnswer, nodes []wire.NodeEndpoint) {
	var node *metadata.Broker
	for _, n := range nodes {
		if n.ID == a.LeaderID {
			addr := net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port)))
			node = &metadata.Broker{ID: n.ID, Addr: addr, Rack: n.Rack}
		}
	}
	b.gen.left.Hinted = true
	l.Learn(b.Topic, b.TopicID, b.Partition, a.LeaderID, a.LeaderEpoch, node)
}

// lostSequence is a numbered batch that does not follow what the broker knows of the producer.
//
//   - Behind a gap it says no more than that the batch was not written: it waits for a new number.
//   - Of a batch that is not its lane's oldest it is collateral: the older one was not written yet. It is sent again
//     after that, and no attempt is counted.
//   - Of the oldest it means that the broker has lost its state. A batch that was certainly not written gets a new
//     number under another epoch (KIP-360); of one that may have been, nobody can tell any more.
func (l *loop) lostSequence(b *Batch, code sarama.KError) {
	g := b.gen
	behindGap := g.settle || g.left.Gap
	outOfOrder := code == sarama.ErrOutOfOrderSequenceNumber
	switch {
	case b.decided:
		l.giveUp(b, b.Cause)
		return
	case behindGap && outOfOrder:
		b.Unsure = false
		b.back = true
	case behindGap && b.Unsure, !behindGap && g.flight[0] == b && b.Unsure:
		l.giveUp(b, b.Cause)
		return
	case !behindGap && g.flight[0] == b:
		g.left.Gap = true
		b.Attempts++
		l.again(b, false)
		return
	default:
		b.back = true
	}
	if !g.settle {
		l.shut(g, b.Cause, false)
	}
}

// settled closes a generation that was to find out about its batches when all of them are answered.
func (l *loop) settled(g *Generation) {
	if g.settle && !g.closed && g.unacked == 0 && !g.sendable() {
		g.left.AtOnce = true
		l.shut(g, nil, false)
	}
}

func (l *loop) refusal(code sarama.KError, message string) error {
	if message == "" {
		return fmt.Errorf("%v: %w", l.Producer, flow.External(code))
	}
	return fmt.Errorf("%v: %w (%s)", l.Producer, flow.External(code), message)
}

// again keeps a batch for the next generation, which it closes this one for, or gives it up when its attempts are used
// up.
func (l *loop) again(b *Batch, refresh bool) {
	g := b.gen
	if b.decided {
		l.giveUp(b, b.Cause)
	} else if b.Attempts > l.conf.Producer.Retry.Max {
		l.giveUp(b, fmt.Errorf("after %d attempts: %w", b.Attempts, b.Cause))
	} else {
		b.back = true
	}
	l.shut(g, b.Cause, refresh)
}

// split sends the halves of a batch that the broker refused as too large (KIP-126). They go through the lane like
// every batch that comes back, so that nothing overtakes them.
func (l *loop) split(b *Batch) {
	g := b.gen
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
			Batch: half, Attempts: b.Attempts, Cause: cause, gen: g, back: true, Numbered: numbered,
			Deadline: l.Shared.Deadline(half.Records[0].Born),
		})
	}
	for i, other := range g.flight {
		if other == b {
			g.flight = append(g.flight[:i:i], append(halves, g.flight[i+1:]...)...)
			break
		}
	}
	b.gen = nil
	g.hint = first.Bytes()
	g.left.AtOnce = true
	l.shut(g, cause, false)
	l.maybeEnd(g)
}
