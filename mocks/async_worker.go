package mocks

import (
	"fmt"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// delivery is one accepted message until its fate is decided.
type delivery struct {
	msg *sarama.ProducerMessage
	// call is where the outcome goes in place of the channels; nil for messages from the inputs.
	call *callback
	// stray says that the message was accepted outside a transaction of a transactional mock.
	stray   bool
	bytes   int64
	decided bool // guarded by the mock's lock
}

// callback is the done of one call to Produce, may be nil, and later its arguments.
type callback struct {
	done func(*sarama.ProducerMessage, error)
	msg  *sarama.ProducerMessage
	err  error
}

func (mp *AsyncProducer) acceptBatch(msgs []*sarama.ProducerMessage) {
	for _, msg := range msgs {
		mp.accept(msg, nil)
	}
}

// accept queues a message for the worker. After the close began it refuses: Produce's callers by its result, others by
// an outcome.
func (mp *AsyncProducer) accept(msg *sarama.ProducerMessage, call *callback) bool {
	if msg == nil {
		return true
	}
	d := &delivery{msg: msg, call: call, stray: mp.mayNotSend(), bytes: size(msg)}
	mp.l.Lock()
	defer mp.l.Unlock()
	switch {
	case !mp.shut:
		mp.queue = append(mp.queue, d)
		mp.accepted++
		mp.bytes += d.bytes
		mp.changed.Broadcast()
		return true
	case call == nil && mp.returnErrors:
		mp.toErrors.put(&sarama.ProducerError{Msg: msg, Err: sarama.ErrShuttingDown})
	}
	return false
}

// size is 0 for an encoder that panics when it is asked for its length.
func size(msg *sarama.ProducerMessage) (n int64) {
	_ = protect("encoder", func() error {
		n = int64(msg.ByteSize(2))
		return nil
	})
	return n
}

// work is the goroutine that decides fates, one message at a time. It ends when the close began and nothing is queued.
func (mp *AsyncProducer) work() {
	for {
		d, ok := mp.next()
		if !ok {
			return
		}
		v := mp.judge(d)
		// A report comes before its outcome. There is none for a message that was aborted meanwhile: its test may be over.
		if !mp.isDecided(d) {
			mp.tell(v)
		}
		mp.l.Lock()
		mp.decide(d, v)
		mp.current = nil
		mp.l.Unlock()
	}
}

func (mp *AsyncProducer) next() (*delivery, bool) {
	mp.l.Lock()
	defer mp.l.Unlock()
	for len(mp.queue) == 0 {
		if mp.shut {
			return nil, false
		}
		mp.changed.Wait()
	}
	mp.current, mp.queue = mp.queue[0], mp.queue[1:]
	return mp.current, true
}

// judge finds a message's outcome. The user's code runs in here, without locks.
func (mp *AsyncProducer) judge(d *delivery) verdict {
	if d.stray {
		return unexpected(ErrNotInTransaction, "mock producer got a message to topic %q outside a transaction", d.msg.Topic)
	}
	exp, ok := mp.takeExpectation()
	if !ok {
		return unexpected(ErrOutOfExpectations, "mock producer has no expectation left for a message to topic %q", d.msg.Topic)
	}
	var partition int32
	err := isolate("partitioner", func() (err error) {
		partition, err = mp.partitioners.partition(d.msg, mp.partitions(d.msg.Topic))
		return err
	})
	if err != nil {
		return unexpected(err, "partitioner refused a message to topic %q: %v", d.msg.Topic, err)
	}
	if !mp.assign(d, partition) || exp.check == nil {
		return verdict{err: exp.result}
	}
	if err := isolate("checker", func() error { return exp.check(d.msg) }); err != nil {
		return unexpected(err, "checker refused a message to topic %q: %v", d.msg.Topic, err)
	}
	return verdict{err: exp.result}
}

func (mp *AsyncProducer) takeExpectation() (exp expectation, ok bool) {
	mp.l.Lock()
	defer mp.l.Unlock()
	if len(mp.expectations) == 0 {
		return exp, false
	}
	exp, mp.expectations = mp.expectations[0], mp.expectations[1:]
	return exp, true
}

// assign writes the partition, unless the message has its outcome already and so is the user's again.
func (mp *AsyncProducer) assign(d *delivery, partition int32) bool {
	mp.l.Lock()
	defer mp.l.Unlock()
	if !d.decided {
		d.msg.Partition = partition
	}
	return !d.decided
}

func (mp *AsyncProducer) isDecided(d *delivery) bool {
	mp.l.Lock()
	defer mp.l.Unlock()
	return d.decided
}

// decide gives a message its one outcome; a second verdict changes nothing. The caller holds the lock.
func (mp *AsyncProducer) decide(d *delivery, v verdict) {
	if d.decided {
		return
	}
	d.decided = true
	mp.decided++
	mp.bytes -= d.bytes
	if v.err == nil {
		mp.lastOffset++
	}
	switch {
	case d.call != nil:
		if v.err == nil {
			d.msg.Offset = mp.lastOffset
		}
		mp.toCallbacks.put(callback{done: d.call.done, msg: d.msg, err: v.err})
	case v.err == nil:
		if mp.returnSuccesses {
			d.msg.Offset = mp.lastOffset
			mp.toSuccesses.put(d.msg)
		}
	case mp.returnErrors || v.report != "":
		mp.toErrors.put(&sarama.ProducerError{Msg: d.msg, Err: v.err})
	}
	mp.changed.Broadcast()
	hint(mp.progress)
}

// abort fails all that is undecided with err, and no longer lets callbacks hold up the close. It tells whether there
// was anything left of either. The verdict of a checker that is still busy comes too late.
func (mp *AsyncProducer) abort(err error) bool {
	mp.l.Lock()
	defer mp.l.Unlock()
	before := mp.decided
	if mp.current != nil {
		mp.decide(mp.current, verdict{err: fmt.Errorf("%w: %w", sluice.ErrOutcomeUnknown, err)})
	}
	for _, d := range mp.queue {
		mp.decide(d, verdict{err: err})
	}
	mp.queue = nil
	mp.aborted = true
	mp.changed.Broadcast()
	hint(mp.progress)
	return mp.decided > before || !mp.toCallbacks.empty()
}

// call runs one callback, and never leaves it to be handed over later.
func (mp *AsyncProducer) call(c callback) bool {
	if c.done == nil {
		return true
	}
	err := isolate("callback", func() error {
		c.done(c.msg, c.err)
		return nil
	})
	if err != nil {
		mp.errorf("callback of a message: %v", err)
	}
	return true
}
