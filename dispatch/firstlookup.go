package dispatch

import (
	"fmt"
	"slices"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
)

// What a topic does until it is resolved for the first time, on its goroutine.

// await keeps records of a topic that is not resolved yet, and asks for its look-up, unless the breaker is open.
func (t *topic) await(recs []flow.Record) {
	t.waiting = append(t.waiting, recs...)
	if t.looking {
		return
	}
	if err := t.breaker.check(t.env.Now()); err != nil {
		t.failWaiting(fmt.Errorf("sluice: topic %q: %w", t.name, err))
		return
	}
	t.looking = true
	if t.watched {
		t.env.Metadata.Refresh(t.name)
		return
	}
	t.watched = true
	t.env.Metadata.Watch(t.name, func(md *metadata.Topic, err error) {
		t.events.Put(topicEvent{md: md, answers: t.env.Metadata.Answered(t.name), err: err})
	})
}

// unresolved: a look-up of a topic that was never resolved failed.
func (t *topic) unresolved(err error) {
	if !t.looking {
		return // the look-up goroutine's own refresh
	}
	t.looking = false
	if err == nil {
		err = flow.External(sarama.ErrUnknownTopicOrPartition)
	}
	t.breaker.failed(t.env.Now(), err)
	t.failWaiting(fmt.Errorf("sluice: looking topic %q up: %w", t.name, err))
}

// expire ends what has waited for the first look-up beyond the delivery timeout.
func (t *topic) expire() {
	now, n := t.env.Now(), 0
	for n < len(t.waiting) && t.env.Deadline(t.waiting[n].Born) <= now {
		n++
	}
	if n > 0 {
		t.fail(t.waiting[:n], fmt.Errorf("sluice: looking topic %q up: %w", t.name, flow.Expired(t.env.DeliveryTimeout, t.breaker.cause)))
		t.waiting = slices.Delete(t.waiting, 0, n)
	}
}

func (t *topic) failWaiting(err error) {
	if len(t.waiting) > 0 {
		t.fail(t.waiting, err)
		t.waiting = nil
	}
}
