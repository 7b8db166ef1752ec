package dispatch

import (
	"errors"
	"slices"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
)

// What a topic does until its first look-up succeeds, on its goroutine.

// await keeps records until the topic is resolved. It asks for a look-up; if the breaker is open, the records fail. Only
// sarama's contract has the breaker.
func (t *topic) await(recs []flow.Record) {
	if len(t.waiting) == 0 {
		t.cause = nil // the last failure may be long ago: it is none of theirs
	}
	t.waiting = append(t.waiting, recs...)
	if t.looking || t.repeated > 0 {
		return
	}
	if err := t.breaker.check(t.deps.Now()); err != nil && t.deps.SaramaContract {
		t.failWaiting(len(t.waiting), flow.Errorf("topic %q: %w", t.name, err))
		return
	}
	t.look()
}

func (t *topic) look() {
	t.looking = true
	if t.watched {
		t.deps.Metadata.RefreshOrCreate(t.name)
		return
	}
	t.watched = true
	t.deps.Metadata.Watch(t.name, func(md *metadata.Topic, err error) {
		t.events.Put(topicEvent{md: md, answers: t.deps.Metadata.Answered(t.name), at: t.deps.Now(), err: err})
	})
}

// onFailedLookUp handles that a look-up failed, and the topic was never resolved. After an error that may pass, the
// look-up is made again after a pause. A final one fails all that waits.
//
// With sarama's contract every error is final but sarama.ErrOutOfBrokers. With that contract, or once Close has begun,
// at most Producer.Retry.Max + 1 more look-ups are made.
func (t *topic) onFailedLookUp(err error, at int64) {
	if !t.looking {
		return // a look-up that this topic did not ask for
	}
	t.looking = false
	if err == nil {
		err = flow.External(sarama.ErrUnknownTopicOrPartition)
	}
	t.cause = err
	n := len(t.waiting)
	passes := !metadata.Final(err)
	if t.deps.SaramaContract {
		passes = passes && errors.Is(err, sarama.ErrOutOfBrokers)
	}
	if passes {
		t.repeated++
		n = 0
		if (t.deps.SaramaContract || t.deps.Closing()) && t.repeated-1 > t.deps.Conf.Producer.Retry.Max {
			n = acceptedBy(at, t.waiting)
		}
	} else {
		t.breaker.failed(t.deps.Now(), err)
	}
	t.failWaiting(n, flow.Errorf("looking up topic %q: %w", t.name, err))
	if len(t.waiting) > 0 && t.deps.Stopped() == nil {
		t.lookAt = t.deps.Now() + int64(flow.Backoff(t.deps.Conf, t.repeated))
	}
}

// lookAgain asks for the next look-up when the pause is over.
func (t *topic) lookAgain() {
	if t.repeated > 0 && !t.looking && len(t.waiting) > 0 && t.deps.Now() >= t.lookAt {
		t.look()
	}
}

// expire gives up what has waited for longer than the delivery timeout.
func (t *topic) expire() {
	if n := acceptedBy(t.deps.Now()-int64(t.deps.DeliveryTimeout), t.waiting); n > 0 {
		t.failWaiting(n, flow.Errorf("looking up topic %q: %w", t.name, flow.Expired(t.deps.DeliveryTimeout, t.whyWaiting())))
	}
	if n := acceptedBy(t.deps.Now()-int64(t.deps.DeliveryTimeout), t.notKnown.records); n > 0 {
		t.failNotKnown(n, flow.Errorf("looking up topic %q for new partitions: %w", t.name, flow.Expired(t.deps.DeliveryTimeout, t.deps.Metadata.Doing(t.name))))
	}
}

// whyWaiting is why the topic is not resolved: why the last look-up failed, or else what goes on.
func (t *topic) whyWaiting() error {
	if t.cause != nil {
		return t.cause
	}
	return t.deps.Metadata.Doing(t.name)
}

// noteWait keeps Deps.Waits true of what waits for the first look-up.
func (t *topic) noteWait() {
	if t.deps.Waits == nil {
		return
	}
	switch cause := t.cause; {
	case len(t.waiting) == 0:
		t.waits.End()
		t.waits = nil
	case t.waits == nil:
		t.waits = t.deps.Waits.Begin("", "looking up topic "+t.name, func() error { return cause })
	default:
		t.waits.Explain(func() error { return cause })
	}
}

// failWaiting gives up the first n records that wait.
func (t *topic) failWaiting(n int, err error) {
	if n == 0 {
		return
	}
	t.fail(t.waiting[:n], err)
	if t.waiting = slices.Delete(t.waiting, 0, n); len(t.waiting) == 0 {
		t.waiting, t.repeated = nil, 0
	}
}
