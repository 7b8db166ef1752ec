package simtest

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/IBM/sarama"
	"github.com/eapache/go-resiliency/breaker"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
)

// check holds the log against the outcomes, after the run and outside of its bubble.
func (r *run) check() {
	byName := map[string]*sent{}
	for _, m := range r.messages {
		byName[m.String()] = m
	}
	places := map[*sent][]place{}
	for tp, raw := range r.log {
		records, err := decode(tp, raw)
		if err != nil {
			r.fail("the log of %v: %v", tp, err)
		}
		last := map[string]int{} // by stream: the number that was seen last
		for _, rec := range records {
			m := r.named(byName, rec)
			if m == nil {
				continue
			}
			late := r.ledger.late[tp][rec.Offset]
			again := len(places[m]) > 0
			places[m] = append(places[m], place{tp, rec.Offset, late})
			if again && r.sc.idempotent {
				r.fail("%v is in the log twice: %v", m, places[m])
			}
			// Without idempotence a broker that still works on a lost connection's request can write it late.
			// With acks 0 the producer can't know what a broker that hangs still holds, when the leader has moved on and back.
			if r.sc.idempotent || !again && !late && (r.sc.acks != 0 || !r.sc.moves()) {
				if m.number <= last[m.stream] {
					r.fail("%v: %v at offset %d comes after number %d of its stream", tp, m, rec.Offset, last[m.stream])
				}
				last[m.stream] = max(last[m.stream], m.number)
			}
		}
	}
	for _, m := range r.messages {
		if m.tried {
			r.checkMessage(m, places[m])
		}
	}
}

// place is where a message was found.
type place struct {
	partition
	offset int64
	late   bool
}

// named finds the message of a record, and checks that the record is what was sent.
func (r *run) named(byName map[string]*sent, rec *kgo.Record) *sent {
	name, _, _ := strings.Cut(string(rec.Value), " ")
	m := byName[name]
	if m == nil {
		r.fail("%s/%d offset %d holds what nobody sent: %.60q", rec.Topic, rec.Partition, rec.Offset, rec.Value)
		return nil
	}
	var key []byte
	if m.msg.Key != nil {
		key, _ = m.msg.Key.Encode()
	}
	if m.value != string(rec.Value) || !bytes.Equal(key, rec.Key) || rec.Topic != m.topic ||
		r.sc.partitioner == "manual" && rec.Partition != m.wanted {
		r.fail("%v is not what was sent: %s/%d key %q", m, rec.Topic, rec.Partition, rec.Key)
	}
	return m
}

func (r *run) checkMessage(m *sent, places []place) {
	if !m.taken {
		if len(m.outcomes) > 0 || len(m.reports) > 0 {
			r.fail("%v was refused (%v), and has an outcome: %v %v", m, m.refused, m.outcomes, m.reports)
		}
		if len(places) > 0 {
			r.fail("%v was refused (%v), and is in the log: %v", m, m.refused, places)
		}
		return
	}
	o, ok := r.theOutcome(m)
	if !ok {
		return
	}
	r.checkTime(m, o)
	r.checkReason(m, o)
	switch {
	case o.err != nil && r.sc.mustDeliver() && !withdrawn(o.err) && !neverResolved(o.err) && !poisoned(o.err) &&
		!r.sc.mayFail(m, o.err):
		r.fail("%v had to be delivered: %v", m, o)
	case errors.Is(o.err, sarama.ErrDuplicateSequenceNumber):
		r.fail("%v failed as a duplicate, which is in the log: %v", m, o)
	case o.err == nil && r.sc.acks == 0:
	case o.err == nil && len(places) == 0:
		r.fail("%v was acknowledged (%v), and is not in the log", m, o)
	case o.err == nil && !r.at(o, places):
		r.fail("%v was acknowledged at %v, and is at %v", m, o, places)
	case o.err != nil && len(places) > 0 && !errors.Is(o.err, sluice.ErrOutcomeUnknown):
		r.fail("%v failed as not written, and is at %v: %v", m, places, o.err)
	}
}

// withdrawn: the sender's context has ended.
func withdrawn(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, sluice.ErrDeliveryTimeout)
}

// neverResolved: a topic that was never looked up with success fails its messages after Metadata.Retry.Max, and at once
// while the breaker is open, as in sarama.
func neverResolved(err error) bool {
	return !errors.Is(err, sluice.ErrDeliveryTimeout) &&
		(strings.Contains(err.Error(), "looking up topic") || errors.Is(err, breaker.ErrBreakerOpen))
}

// poisoned: a batch is sent only a few times where it may be the cause of the answer itself.
func poisoned(err error) bool {
	return errors.Is(err, sarama.ErrInvalidMessage) || errors.Is(err, sarama.ErrUnknown)
}

func (r *run) at(o outcome, places []place) bool {
	for _, p := range places {
		if p.id == o.partition && (p.offset == o.offset || o.offset == -1) {
			return true
		}
	}
	return false
}

// theOutcome checks that there is one of each kind that was asked for, and that they agree.
func (r *run) theOutcome(m *sent) (outcome, bool) {
	if m.how == "produce" || m.how == "sync" || m.how == "append" {
		if len(m.outcomes) != 1 || len(m.reports) != 0 {
			r.fail("%v has %d outcomes and %d reports: %v", m, len(m.outcomes), len(m.reports), m.outcomes)
			return outcome{}, false
		}
		return m.outcomes[0], true
	}
	if r.sc.report != (len(m.reports) == 1) || len(m.reports) > 1 {
		r.fail("%v has %d reports: %v; outcomes: %v", m, len(m.reports), m.reports, m.outcomes)
		return outcome{}, false
	}
	if len(m.outcomes)+len(m.reports) == 0 {
		r.fail("%v has no outcome", m)
		return outcome{}, false
	}
	all := append(m.reports, m.outcomes...)
	failed := all[0].err != nil
	wanted := failed && r.sc.returnErr || !failed && r.sc.returnSuccesses
	closeTook := !failed && r.sc.end != "AsyncClose"
	if n := len(m.outcomes); n > 1 || n == 1 && !wanted || n == 0 && wanted && !closeTook {
		r.fail("%v has %d outcomes in the channels: %v; reports: %v", m, n, m.outcomes, m.reports)
	}
	for _, o := range all[1:] {
		if o.partition != all[0].partition || o.offset != all[0].offset || !errors.Is(o.err, all[0].err) {
			r.fail("%v has outcomes that differ: %v", m, all)
		}
	}
	return all[0], true
}

// checkReason: a message that has expired says why: what failed last, or what was going on.
func (r *run) checkReason(m *sent, o outcome) {
	if errors.Is(o.err, sluice.ErrDeliveryTimeout) && strings.HasSuffix(o.err.Error(), "is over") {
		r.fail("%v does not say why it has expired: %v", m, o.err)
	}
}

// checkTime: no message lives much longer than the delivery timeout. Where memory is scarce it may wait in the inputs'
// buffers, or in Produce, before that time begins.
func (r *run) checkTime(m *sent, o outcome) {
	if r.sc.scarce() || r.sc.slowReaders || m.how == "sync" {
		return
	}
	if took := o.at.Sub(m.at); took > r.sc.delivery+r.slack() && !errors.Is(o.err, sarama.ErrShuttingDown) {
		r.fail("%v had its outcome after %v, the delivery timeout is %v: %v", m, took, r.sc.delivery, o)
	}
}
