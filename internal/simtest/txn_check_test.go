package simtest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// readCommitted asks for what read-committed readers get, and for the groups' offsets.
func (r *run) readCommitted() {
	r.committed, r.stable = map[partition]kmsg.FetchResponseTopicPartition{}, map[string]map[partition]int64{}
	for _, topic := range r.sc.topicNames() {
		for _, info := range r.cluster.PartitionInfos(topic) {
			tp := partition{topic, info.Partition}
			got, err := r.fetchFrom(tp, info.Leader, 1)
			if err != nil {
				r.fail("reading %v: %v", tp, err)
				continue
			}
			r.committed[tp] = got
		}
	}
	for _, group := range []string{"g0", "g1"} {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version, req.Group, req.Topics = 7, group, nil
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		if err := r.ask(r.cluster.CoordinatorFor(group), req, resp); err != nil || resp.ErrorCode != 0 && resp.ErrorCode != kerr.GroupIDNotFound.Code {
			r.fail("offsets of %s: %v %v", group, err, kerr.ErrorForCode(resp.ErrorCode))
		}
		r.stable[group] = map[partition]int64{}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				r.stable[group][partition{t.Topic, p.Partition}] = p.Offset
			}
		}
	}
}

func decodeCommitted(tp partition, got kmsg.FetchResponseTopicPartition) ([]*kgo.Record, error) {
	fetched, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Topic: tp.topic, Partition: tp.id, IsolationLevel: kgo.ReadCommitted(),
	}, &got, kgo.DefaultDecompressor(), nil)
	return fetched.Records, fetched.Err
}

// found is where a message is in the log, and in what read-committed readers get of it.
type found struct{ written, visible []place }

// checkTxns holds both readings of the log against what the program was told.
func (r *run) checkTxns() {
	byName := map[string]*sent{}
	for _, m := range r.messages {
		byName[m.String()] = m
	}
	places := map[*sent]*found{}
	for _, m := range r.messages {
		places[m] = &found{}
	}
	for tp, raw := range r.log {
		records, err := decode(tp, raw)
		if err != nil {
			r.fail("the log of %v: %v", tp, err)
		}
		for _, rec := range records {
			if m := r.named(byName, rec); m != nil {
				places[m].written = append(places[m].written, place{tp, rec.Offset, false})
			}
		}
		r.checkVisible(tp, byName, places)
	}
	for _, m := range r.messages {
		if m.tried {
			r.checkSent(m, places[m])
		}
	}
	r.checkOffsets(r.resolve(places))
	r.whatEnded()
}

func (r *run) checkVisible(tp partition, byName map[string]*sent, places map[*sent]*found) {
	got := r.committed[tp]
	if got.LastStableOffset != got.HighWatermark {
		r.fail("%v: the last stable offset is %d of %d", tp, got.LastStableOffset, got.HighWatermark)
	}
	records, err := decodeCommitted(tp, got)
	if err != nil {
		r.fail("the committed log of %v: %v", tp, err)
	}
	last := map[string]int{} // by stream: the number that was seen last
	for _, rec := range records {
		m := r.named(byName, rec)
		if m == nil {
			continue
		}
		places[m].visible = append(places[m].visible, place{tp, rec.Offset, false})
		if m.number <= last[m.stream] {
			r.fail("%v: %v at offset %d comes after number %d of its stream", tp, m, rec.Offset, last[m.stream])
		}
		last[m.stream] = m.number
	}
}

// checkSent checks one message: its outcome, and what that says about the log.
func (r *run) checkSent(m *sent, at *found) {
	if len(at.written) > 1 {
		r.fail("%v is in the log twice: %v", m, at.written)
	}
	if !m.accepted || m.refused != nil {
		if len(m.outcomes)+len(m.reports)+len(at.written) > 0 {
			r.fail("%v was refused (%v); outcomes %v %v, in the log at %v", m, m.refused, m.outcomes, m.reports, at.written)
		}
		return
	}
	o, ok := r.outcomeInTxn(m)
	if !ok {
		return
	}
	r.checkReason(m, o)
	switch {
	case o.err == nil && !r.at(o, at.written):
		r.fail("%v was acknowledged at %v, and is at %v", m, o, at.written)
	case o.err != nil && len(at.written) > 0 && !m.client.sarama && !errors.Is(o.err, sluice.ErrOutcomeUnknown):
		r.fail("%v failed as not written, and is at %v: %v", m, at.written, o.err)
	}
	certain, possible := r.transactionsOf(m)
	notReady := errors.Is(o.err, sarama.ErrTransactionNotReady)
	switch {
	case certain != nil && notReady && certain.verdict == isCommitted:
		r.fail("%v was sent within %v: %v", m, certain, o.err)
	case certain == nil && len(possible) == 0 && !notReady && !errors.Is(o.err, sarama.ErrShuttingDown):
		r.fail("%v was sent outside of every transaction: %v", m, o)
	case notReady && len(at.written) > 0:
		r.fail("%v was not ready, and is at %v", m, at.written)
	}
	if certain != nil {
		possible = []*transaction{certain}
	}
	r.checkVerdict(m, o, at, possible)
}

// checkVerdict: what is visible belongs to a transaction that may be committed, and what is delivered and not visible to one
// that may not be.
func (r *run) checkVerdict(m *sent, o outcome, at *found, possible []*transaction) {
	verdict := func(is ...verdictOfTxn) bool {
		return slices.ContainsFunc(possible, func(t *transaction) bool { return slices.Contains(is, t.verdict) })
	}
	switch {
	case len(at.visible) > 0 && !verdict(isCommitted, isUnknown):
		r.fail("%v is visible at %v, and belongs to %v", m, at.visible, possible)
	case len(at.visible) == 0 && o.err == nil && !verdict(isNotCommitted, isUnknown):
		r.fail("%v is delivered at %v, and not visible; it belongs to %v", m, o, possible)
	case len(possible) == 1 && verdict(isCommitted) && o.err != nil && !errors.Is(o.err, sarama.ErrTransactionNotReady) &&
		!(len(at.visible) > 0 && errors.Is(o.err, context.DeadlineExceeded)): // its sender has not waited, CommitTxn has
		r.fail("%v failed, and %v: %v", m, possible[0], o.err)
	}
}

// transactionsOf returns the transaction that a message belongs to, or those that it may belong to: it was sent while one
// began or ended.
func (r *run) transactionsOf(m *sent) (certain *transaction, possible []*transaction) {
	for _, t := range m.client.txns {
		endCalled, ended := t.endCalled, t.ended
		if ended == 0 {
			endCalled, ended = max(endCalled, 1<<62), 1<<62 // Close has ended it
		}
		switch {
		case t.began < m.from && m.to < endCalled && t.began > 0 && !t.neverBegan:
			return t, nil
		case m.to > t.beginCalled && m.from < ended:
			possible = append(possible, t)
		}
	}
	return nil, possible
}

// outcomeInTxn checks that a message has one outcome of each kind that it must have.
func (r *run) outcomeInTxn(m *sent) (outcome, bool) {
	all := append(slices.Clone(m.reports), m.outcomes...)
	switch {
	case len(all) == 0:
		r.fail("%v has no outcome", m)
	case m.reported && (len(m.reports) != 1 || len(m.outcomes) > 1) || !m.reported && len(m.reports)+len(m.outcomes) > 1:
		r.fail("%v has outcomes %v and reports %v", m, m.outcomes, m.reports)
	case len(all) == 2 && (all[0].offset != all[1].offset || !errors.Is(all[1].err, all[0].err)):
		r.fail("%v has outcomes that differ: %v", m, all)
	default:
		return all[0], true
	}
	return outcome{}, false
}

// resolve finds what became of the unknown transactions: all of one is visible, or nothing.
func (r *run) resolve(places map[*sent]*found) []*transaction {
	for _, t := range r.txns {
		if t.verdict != isUnknown {
			continue
		}
		var visible, hidden []*sent
		for _, m := range t.messages {
			switch at := places[m]; {
			case len(at.visible) > 0:
				visible = append(visible, m)
			case len(at.written) > 0:
				hidden = append(hidden, m)
			}
		}
		if len(visible) > 0 && len(hidden) > 0 {
			r.fail("%v is visible in part: %v, not %v", t, visible, hidden)
		}
		t.resolved = len(visible) > 0
		t.guess = len(visible)+len(hidden) == 0
	}
	return r.txns
}

// checkOffsets: the groups' offsets are those of the last transaction that was committed.
func (r *run) checkOffsets(txns []*transaction) {
	want := map[string]map[partition][]int64{"g0": {}, "g1": {}}
	for _, t := range txns {
		for group, offsets := range t.offsets {
			for tp, offset := range offsets {
				switch {
				case t.verdict == isCommitted || t.verdict == isUnknown && t.resolved:
					want[group][tp] = []int64{offset}
				case t.verdict == isUnknown && t.guess:
					if want[group][tp] == nil {
						want[group][tp] = []int64{-1}
					}
					want[group][tp] = append(want[group][tp], offset)
				}
			}
		}
	}
	for group, offsets := range want {
		for tp, allowed := range offsets {
			got, ok := r.stable[group][tp]
			if !ok {
				got = -1
			}
			if !slices.Contains(allowed, got) {
				r.fail("group %s has offset %d of %v, and the last committed transaction has %v", group, got, tp, allowed)
			}
		}
		for tp, got := range r.stable[group] {
			if offsets[tp] == nil && got >= 0 {
				r.fail("group %s has offset %d of %v, which was never committed", group, got, tp)
			}
		}
	}
}

// summary counts the transactions by their end.
func (r *run) summary() string {
	count := map[verdictOfTxn]int{}
	for _, t := range r.txns {
		count[t.verdict]++
	}
	return fmt.Sprint(count)
}

// whatEnded notes which kinds of ends were met.
func (r *run) whatEnded() {
	for _, t := range r.txns {
		switch {
		case t.verdict == isUnknown && t.resolved:
			r.happens("an unknown transaction was committed")
		case t.verdict == isUnknown && !t.guess:
			r.happens("an unknown transaction was aborted")
		case t.verdict == isCommitted && len(t.offsets) > 0 && len(t.messages) > 0:
			r.happens("messages and offsets are committed")
		case t.verdict == isCommitted && len(t.offsets) > 0:
			r.happens("offsets alone are committed")
		}
	}
}
