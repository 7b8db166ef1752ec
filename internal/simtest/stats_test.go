package simtest

import (
	"context"
	"errors"
	"testing/synctest"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// checkStats holds the Stats of a closed producer against what its senders were told of its messages.
func (r *run) checkStats(p *sluice.Producer, messages []*sent, bare bool) {
	synctest.Wait()
	s := p.Stats()
	var want toldCounts
	r.mu.Lock()
	for _, m := range messages {
		want.add(m, bare)
	}
	r.mu.Unlock()

	got := &s.Records
	none := sluice.Amount{}
	if got.Buffered != none || got.InFlight != none || s.Unread != 0 || s.UnreadErrors != 0 || s.Requests.InFlight != 0 || s.Connections.Open != 0 ||
		s.Memory.Used != 0 || s.Memory.Waiting != 0 {
		r.fail("Stats: a closed producer has %+v buffered, %+v in flight, %d outcomes unread (%d in Errors), %d requests in flight, %d connections, %+v",
			got.Buffered, got.InFlight, s.Unread, s.UnreadErrors, s.Requests.InFlight, s.Connections.Open, s.Memory)
	}
	within := func(what string, got, least, more int64) {
		if got < least || got > least+more {
			r.fail("Stats: %d %s, and senders were told of %d; of %d more they do not know", got, what, least, more)
		}
	}
	within("acknowledged", got.Acknowledged.Records, want.acknowledged, want.uncertain)
	within("failed", got.Failed.Records, want.failed, want.uncertain)
	within("timed out", got.FailedBy[sluice.CauseDeliveryTimeout], want.timedOut, want.uncertain+want.withdrawn)
	within("unknown", got.OutcomeUnknown, want.unknown, want.uncertain+want.withdrawn)
	if sum := got.Acknowledged.Records + got.Failed.Records; sum != want.acknowledged+want.failed+want.uncertain {
		r.fail("Stats: %d records have an outcome, of %d", sum, want.acknowledged+want.failed+want.uncertain)
	}
	var causes int64
	for _, n := range got.FailedBy {
		causes += n
	}
	if causes != got.Failed.Records {
		r.fail("Stats: %d failed, and the causes are %v", got.Failed.Records, got.FailedBy)
	}
	if got.Sent.Records < got.Acknowledged.Records+got.Retried.Records || got.Sent.Bytes < got.Acknowledged.Bytes {
		r.fail("Stats: sent %+v, of these again %+v, and acknowledged %+v", got.Sent, got.Retried, got.Acknowledged)
	}
	if q, w, b := s.Stages.Queue.Count, s.Stages.Window.Count, s.Stages.Broker.Count; q < w || w < b {
		r.fail("Stats: %d batches were taken into requests, %d written, %d answered", q, w, b)
	}
	if q := &s.Requests; q.Answered+q.Lost > q.Sent || r.sc.acks != 0 && q.Answered+q.Lost != q.Sent {
		r.fail("Stats: of %d requests %d are answered and %d lost", q.Sent, q.Answered, q.Lost)
	}
	r.checkParts(&s)
}

// checkParts: what topics and brokers have is all that there is, but for those that are forgotten, and messages refused without a
// topic.
func (r *run) checkParts(s *sluice.Stats) {
	var topics, brokers sluice.RecordStats
	for i := range s.Topics {
		t := &s.Topics[i].Records
		if t.Buffered != (sluice.Amount{}) || t.InFlight != (sluice.Amount{}) {
			r.fail("Stats: topic %s of a closed producer has %+v buffered, %+v in flight", s.Topics[i].Topic, t.Buffered, t.InFlight)
		}
		topics.Acknowledged.Records += t.Acknowledged.Records
		topics.Failed.Records += t.Failed.Records
		topics.Sent.Records += t.Sent.Records
	}
	for i := range s.Brokers {
		b := &s.Brokers[i]
		if b.Records.InFlight != (sluice.Amount{}) || b.Requests.InFlight != 0 || b.Connections.Open != 0 {
			r.fail("Stats: broker %d of a closed producer has %+v in flight, %d requests, %d connections", b.ID, b.Records.InFlight,
				b.Requests.InFlight, b.Connections.Open)
		}
		brokers.Acknowledged.Records += b.Records.Acknowledged.Records
		brokers.Sent.Records += b.Records.Sent.Records
		brokers.Retried.Records += b.Records.Retried.Records
	}
	all := &s.Records
	if topics.Acknowledged.Records > all.Acknowledged.Records || topics.Failed.Records > all.Failed.Records ||
		topics.Sent.Records > all.Sent.Records || brokers.Acknowledged.Records > all.Acknowledged.Records ||
		brokers.Sent.Records > all.Sent.Records || brokers.Retried.Records > all.Retried.Records {
		r.fail("Stats: topics have %+v, brokers %+v, and in all it is %+v", topics, brokers, *all)
	}
	if r.tookLong() { // something may be forgotten
		return
	}
	if topics.Acknowledged != (sluice.Amount{Records: all.Acknowledged.Records}) || topics.Sent.Records != all.Sent.Records ||
		brokers.Acknowledged.Records != all.Acknowledged.Records || brokers.Sent.Records != all.Sent.Records ||
		brokers.Retried.Records != all.Retried.Records {
		r.fail("Stats: topics have %+v, brokers %+v, and in all it is %+v", topics, brokers, *all)
	}
}

// toldCounts count messages by what their senders were told.
//
// Of uncertain ones the sender does not know whether they were acknowledged; of withdrawn ones, which have failed, for what reason
// the producer has dropped them.
type toldCounts struct{ acknowledged, failed, timedOut, unknown, uncertain, withdrawn int64 }

// add counts a message. bare: errors are sarama's, and do not tell everything.
func (c *toldCounts) add(m *sent, bare bool) {
	if !m.tried || errors.Is(m.refused, errStopped) || errors.Is(m.refused, errClosed) {
		return // it was not sent
	}
	err := m.refused
	switch {
	case err != nil:
	case len(m.reports) > 0:
		err = m.reports[0].err
	case len(m.outcomes) > 0:
		err = m.outcomes[0].err
	default: // Close took it from Successes
		c.acknowledged++
		return
	}
	switch {
	case err == nil:
		c.acknowledged++
		return
	case m.refused == nil && m.how == "sync" && contextEnded(err) && errors.Is(err, sluice.ErrOutcomeUnknown), bare:
		c.uncertain++ // it went on without its sender
		return
	}
	c.failed++
	if m.how == "sync" && contextEnded(err) {
		c.withdrawn++
		return
	}
	if errors.Is(err, sluice.ErrDeliveryTimeout) && !txn.HasFailed(err) && !errors.Is(err, sarama.ErrTransactionNotReady) {
		c.timedOut++ // else another message has, and failed its transaction
	}
	if errors.Is(err, sluice.ErrOutcomeUnknown) {
		c.unknown++
	}
}

func contextEnded(err error) bool {
	return !errors.Is(err, sluice.ErrDeliveryTimeout) && !errors.Is(err, sarama.ErrShuttingDown) &&
		(errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled))
}
