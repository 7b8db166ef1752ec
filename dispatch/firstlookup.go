package dispatch

import (
	"errors"
	"slices"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
)

// What a topic does until it is resolved for the first time, on its goroutine.

// await keeps records of a topic that is not resolved yet, and asks for its look-up, unless the breaker is open.
func (t *topic) await(recs []flow.Record) {
	t.waiting = append(t.waiting, recs...)
	if t.looking || t.unanswered > 0 {
		return
	}
	if err := t.breaker.check(t.deps.Now()); err != nil {
		t.failWaiting(len(t.waiting), flow.Errorf("topic %q: %w", t.name, err))
		return
	}
	t.look()
}

func (t *topic) look() {
	t.looking = true
	if t.watched {
		t.deps.Metadata.Refresh(t.name)
		return
	}
	t.watched = true
	t.deps.Metadata.Watch(t.name, func(md *metadata.Topic, err error) {
		t.events.Put(topicEvent{md: md, answers: t.deps.Metadata.Answered(t.name), at: t.deps.Now(), err: err})
	})
}

// unresolved: a look-up of a topic that was never resolved failed. If no broker answered, it is made again after a pause;
// with sarama's contract, and once Close has begun, Producer.Retry.Max + 1 times.
func (t *topic) unresolved(err error, at int64) {
	if !t.looking {
		return // the look-up goroutine's own refresh
	}
	t.looking = false
	if err == nil {
		err = flow.External(sarama.ErrUnknownTopicOrPartition)
	}
	t.cause = err
	n := len(t.waiting)
	if errors.Is(err, sarama.ErrOutOfBrokers) && !errors.Is(err, sarama.ErrSASLAuthenticationFailed) {
		t.unanswered++
		n = 0
		if (t.deps.SaramaContract || t.deps.Closing()) && t.unanswered-1 > t.deps.Conf.Producer.Retry.Max {
			n = t.acceptedBefore(at)
		}
	} else {
		t.breaker.failed(t.deps.Now(), err)
	}
	t.failWaiting(n, flow.Errorf("looking topic %q up: %w", t.name, err))
	if len(t.waiting) > 0 && t.deps.Aborted() == nil {
		t.lookAt = t.deps.Now() + int64(flow.Backoff(t.deps.Conf, t.unanswered))
	}
}

// lookAgain asks for the next look-up when the pause is over.
func (t *topic) lookAgain() {
	if t.unanswered > 0 && !t.looking && len(t.waiting) > 0 && t.deps.Now() >= t.lookAt {
		t.look()
	}
}

// acceptedBefore is how many of those that wait were accepted before that time.
func (t *topic) acceptedBefore(at int64) (n int) {
	for n < len(t.waiting) && t.waiting[n].Born <= at {
		n++
	}
	return n
}

// expire ends what has waited for the first look-up beyond the delivery timeout.
func (t *topic) expire() {
	n := t.acceptedBefore(t.deps.Now() - int64(t.deps.DeliveryTimeout))
	if n == 0 {
		return // nearly always, and the error costs
	}
	t.failWaiting(n, flow.Errorf("looking topic %q up: %w", t.name, flow.Expired(t.deps.DeliveryTimeout, t.cause)))
}

// failWaiting gives up the first n that wait.
func (t *topic) failWaiting(n int, err error) {
	if n == 0 {
		return
	}
	t.fail(t.waiting[:n], err)
	if t.waiting = slices.Delete(t.waiting, 0, n); len(t.waiting) == 0 {
		t.waiting, t.unanswered = nil, 0
	}
}
