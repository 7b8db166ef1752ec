package dispatch

import (
	"fmt"
	"math"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/produceset"
)

// check runs the interceptors and sets what the record's bytes are to be charged with, or tells why it can't be sent.
func (d *Dispatcher) check(rec *flow.Record) error {
	for _, interceptor := range d.deps.Conf.Producer.Interceptors {
		intercept(interceptor, rec.Msg)
	}
	return Charge(d.deps, rec)
}

// intercept runs one interceptor. As in sarama, one that panics is logged, and the message goes on as it is.
func intercept(interceptor sarama.ProducerInterceptor, msg *sarama.ProducerMessage) {
	defer func() {
		if p := recover(); p != nil {
			sarama.Logger.Printf("sluice: interceptor %T panicked on a message to topic %q: %v", interceptor, msg.Topic, p)
		}
	}()
	interceptor.OnSend(msg)
}

// Charge checks a message's topic and size, and sets what its bytes are to be charged with: produceset.BufferBound at
// least, which is what the budget stands on.
func Charge(deps *Deps, rec *flow.Record) error {
	msg := rec.Msg
	if msg.Topic == "" {
		return flow.Errorf("a message without a topic: %w", flow.External(sarama.ErrInvalidTopic))
	}
	size, err := recordBound(msg)
	if err != nil {
		return err
	}
	if limit := deps.Conf.Producer.MaxMessageBytes; size > limit {
		return flow.Errorf("a message to topic %q: %w: %w", msg.Topic, sarama.ErrMessageSizeTooLarge,
			flow.External(sarama.ConfigurationError(fmt.Sprintf(
				"Attempt to produce message larger than configured Producer.MaxMessageBytes: %d > %d", size, limit))))
	}
	n, limit := chargeFor(size), deps.Budget.Limit()
	if n+flow.RecordOverhead > limit {
		n = produceset.BufferBound(size) // it has the memory to itself, if it fits at all
	}
	if n+flow.RecordOverhead > limit || n > math.MaxInt32 {
		return flow.Errorf("a message to topic %q of %d bytes does not fit into a buffer memory of %d bytes: %w: %w",
			msg.Topic, size, limit, flow.ErrBufferFull, flow.External(sarama.ErrMessageSizeTooLarge))
	}
	rec.Charge, rec.Size = int32(n), int32(min(int64(size), n))
	return nil
}

// chargeFor adds the message itself to the buffer, as the producer holds it as long. Of small ones the buffer is rarely
// twice their size, and the rest covers it. That a value may be borrowed, and have no buffer, is not counted on: a batch
// that is split copies it.
func chargeFor(size int) int64 {
	if size <= produceset.LargeRecord {
		return produceset.BufferBound(size)
	}
	return produceset.BufferBound(size) + int64(size)
}

// recordBound is produceset.RecordBound of a message whose encoders may panic.
func recordBound(msg *sarama.ProducerMessage) (size int, err error) {
	switch msg.Value.(type) {
	case sarama.StringEncoder, sarama.ByteEncoder, nil:
		switch msg.Key.(type) {
		case sarama.StringEncoder, sarama.ByteEncoder, nil:
			return produceset.RecordBound(msg), nil
		}
	}
	defer func() {
		if p := recover(); p != nil {
			err = flow.Errorf("the length of a message to topic %q: its encoder panicked: %v", msg.Topic, p)
		}
	}()
	return produceset.RecordBound(msg), nil
}

// routeAsMemoryAllows hands on what fits before it waits for the rest: what waits behind nothing is never held back.
func (d *Dispatcher) routeAsMemoryAllows(run []flow.Record) {
	from := 0
	for i := range run {
		need := int64(run[i].Charge) + flow.RecordOverhead
		if d.take(need) {
			continue
		}
		d.route(d.copyRun(run[from:i]))
		from = i
		d.waitForMemory(need)
	}
	if from == 0 {
		d.route(run) // the first record waited at most, and the rest fitted
		return
	}
	d.route(d.copyRun(run[from:]))
	d.runCache.Put(run)
}

// take charges need bytes if there is room for them, and for what waits in Input.
func (d *Dispatcher) take(need int64) bool { return d.deps.Budget.TryLeaving(need, d.behind(need)) }

// behind is what Input's buffer comes to when it is full, as it soon is while the dispatcher waits, by the measure of the
// last run. Nobody charges what lies in it, but it is memory all the same; so room is left for it where messages are
// large, up to half of the budget.
func (d *Dispatcher) behind(need int64) int64 {
	if d.mean < produceset.LargeRecord || len(d.Input) == 0 {
		return 0
	}
	limit := d.deps.Budget.Limit()
	return max(0, min(int64(cap(d.Input))*d.mean/2, limit/2, limit-need))
}

// waitForMemory returns with need bytes charged. Meanwhile linger is ignored everywhere (Shared.Urgent).
func (d *Dispatcher) waitForMemory(need int64) {
	if d.mustGoOn(need) {
		d.deps.Budget.Force(need)
		return
	}
	place := d.deps.Budget.WaitLeaving(need, d.behind(need))
	d.deps.WakeLingering()
	for {
		select {
		case <-place.Granted():
			return
		case <-d.direct.Wake():
			// These are charged already: what they hold may be the very memory that is waited for.
			d.admitDirect(d.direct.Take(nil))
		case <-d.control.Wake():
			// It is handled when the run that is being admitted has gone.
			defer d.control.Notify()
			d.atBarrier = true
		case <-d.deps.Outcomes.Decided():
		}
		if d.mustGoOn(need) {
			if place.Cancel() {
				d.deps.Budget.Force(need)
			}
			return
		}
	}
}

// mustGoOn tells that need bytes are not to be waited for any longer:
//
//   - They are more than the whole bound.
//   - Close was cut short before it has begun to refuse.
//   - A flush or a Close takes in what the inputs hold, and every fate is decided. Only outcomes that are taken free any
//     memory then, and whoever is to take them may be waiting for the flush.
func (d *Dispatcher) mustGoOn(need int64) bool {
	switch {
	case d.forcing, need > d.deps.Budget.Limit(), d.deps.Aborted() != nil && d.deps.Closing() && !d.refusing:
		return true
	case d.atBarrier && d.deps.Barriers.Idle():
		d.forcing = true // the rest of what is taken in need not look again
	}
	return d.forcing
}
