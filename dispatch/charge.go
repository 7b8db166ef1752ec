package dispatch

import (
	"fmt"
	"log/slog"
	"math"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/produceset"
)

// interceptAndPrice runs the interceptors and sets the record's Charge and Size. The error is why the message can't be sent.
func (d *Dispatcher) interceptAndPrice(rec *flow.Record) error {
	Intercept(d.deps, rec.Msg)
	return Price(d.deps, rec)
}

// Intercept runs the interceptors on a message. They run for one message at a time, as they do in sarama: Appenders call it beside
// the dispatcher.
func Intercept(deps *Deps, msg *sarama.ProducerMessage) {
	if len(deps.Conf.Producer.Interceptors) == 0 {
		return // the lock would cost more than the rest
	}
	deps.Intercepting.Lock()
	defer deps.Intercepting.Unlock()
	for _, interceptor := range deps.Conf.Producer.Interceptors {
		if err := intercept(interceptor, msg); err != nil {
			deps.Log.Printf("%v (interceptor %T)\n", err, interceptor)
			kind := fmt.Sprintf("%T", interceptor)
			deps.Log.Event(flow.InterceptorFailed, kind, slog.String("interceptor", kind), slog.String("topic", msg.Topic))
		}
	}
}

// intercept runs one interceptor. As in sarama, a panic is logged, and the message goes on as it is.
func intercept(interceptor sarama.ProducerInterceptor, msg *sarama.ProducerMessage) (err error) {
	defer recoverAs(&err, "an interceptor of a message to", msg.Topic)
	interceptor.OnSend(msg)
	return nil
}

// recoverAs is deferred around the user's code. It turns a panic into an error: "what topic … panicked: …".
func recoverAs(err *error, what, topic string) {
	if p := recover(); p != nil {
		*err = flow.Invalid(flow.Errorf("%s topic %q panicked: %v", what, topic, p))
	}
}

// Price checks a message's topic and size, and sets the record's Charge and Size. It charges at least
// produceset.BufferBound: the budget relies on it.
func Price(deps *Deps, rec *flow.Record) error {
	msg := rec.Msg
	if msg.Topic == "" {
		return flow.Errorf("a message without a topic: %w", flow.External(sarama.ErrInvalidTopic))
	}
	size, err := recordBound(msg)
	if err != nil {
		return err
	}
	if err := CheckSize(deps, msg.Topic, size); err != nil {
		return err
	}
	n, limit := chargeFor(size), deps.Budget.Limit()
	if n+flow.RecordOverhead > limit {
		n = produceset.BufferBound(size) // alone in memory it may still fit
	}
	if n+flow.RecordOverhead > limit || n > math.MaxInt32 {
		return NoRoom(deps, msg.Topic, size)
	}
	rec.Charge, rec.Size = int32(n), int32(min(int64(size), n))
	return nil
}

// CheckSize refuses what Producer.MaxMessageBytes does not allow.
func CheckSize(deps *Deps, topic string, size int) error {
	limit := deps.Conf.Producer.MaxMessageBytes
	if size <= limit {
		return nil
	}
	return flow.Errorf("a message to topic %q: %w: %w", topic, sarama.ErrMessageSizeTooLarge,
		flow.External(sarama.ConfigurationError(fmt.Sprintf(
			"Attempt to produce message larger than configured Producer.MaxMessageBytes: %d > %d", size, limit))))
}

// NoRoom is the error of a message that the whole buffer memory has no room for.
func NoRoom(deps *Deps, topic string, size int) error {
	return flow.Errorf("a message to topic %q of %d bytes does not fit into a buffer memory of %d bytes: %w: %w",
		topic, size, deps.Budget.Limit(), flow.ErrBufferFull, flow.External(sarama.ErrMessageSizeTooLarge))
}

// chargeFor is what a message of that size is charged: its place in a buffer and, if it is large, the message itself, which
// the producer holds as long. The buffer's bound leaves enough for small messages. A value that is borrowed needs no
// buffer, but is charged all the same: if its batch is split, it is copied.
func chargeFor(size int) int64 {
	if size <= produceset.LargeRecord {
		return produceset.BufferBound(size)
	}
	return produceset.BufferBound(size) + int64(size)
}

// recordBound is produceset.RecordBound. The user's encoders may panic.
func recordBound(msg *sarama.ProducerMessage) (size int, err error) {
	switch msg.Value.(type) {
	case sarama.StringEncoder, sarama.ByteEncoder, nil:
		switch msg.Key.(type) {
		case sarama.StringEncoder, sarama.ByteEncoder, nil:
			return produceset.RecordBound(msg), nil
		}
	}
	defer recoverAs(&err, "an encoder of a message to", msg.Topic)
	return produceset.RecordBound(msg), nil
}

// routeAsMemoryAllows waits for memory, record by record. Before each wait it sends on the records that fit.
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
		d.route(run) // only the first record had to wait, if any
		return
	}
	d.route(d.copyRun(run[from:]))
	d.runCache.Put(run)
}

// take charges need bytes, if they and the spare are free.
func (d *Dispatcher) take(need int64) bool { return d.deps.Budget.TryLeaving(need, d.spare(need)) }

// spare is the memory to leave free for messages in Input's buffer, which are not charged. It matters for large messages
// only, by the mean of the last run: the buffer is soon full of them while the dispatcher waits. The spare is at most half
// of the budget.
func (d *Dispatcher) spare(need int64) int64 {
	if d.mean < produceset.LargeRecord || len(d.Input) == 0 {
		return 0
	}
	limit := d.deps.Budget.Limit()
	return max(0, min(int64(cap(d.Input))*d.mean/2, limit/2, limit-need))
}

// waitForMemory returns when need bytes are charged. Meanwhile linger is ignored everywhere (Shared.Urgent).
func (d *Dispatcher) waitForMemory(need int64) {
	if d.mustGoOn(need) {
		d.deps.Budget.Force(need)
		return
	}
	place := d.deps.Budget.WaitLeaving(need, d.spare(need))
	d.deps.WakeLingering()
	for {
		select {
		case <-place.Granted():
			return
		case <-d.direct.Wake():
			// These are charged already. They may hold the memory that is awaited.
			d.admitDirect(d.direct.Take(nil))
		case <-d.idle.requests.Wake():
			d.handleIdle()
		case <-d.control.Wake():
			// Handle it after the run that is being admitted.
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

// mustGoOn tells whether need bytes must be charged without waiting for them:
//
//   - if they are more than the whole budget;
//   - if Close was aborted before the dispatcher began to refuse messages;
//   - if a Flush or Close takes in what the inputs hold, and every outcome is decided. Then only reading outcomes frees memory,
//     and the reader may be waiting for the Flush.
func (d *Dispatcher) mustGoOn(need int64) bool {
	switch {
	case d.forcing, need > d.deps.Budget.Limit(), d.deps.Aborted() != nil && d.deps.Closing() && !d.refusing:
		return true
	case d.atBarrier && d.deps.Barriers.Idle():
		d.forcing = true // also for the rest of what is taken in
	}
	return d.forcing
}
