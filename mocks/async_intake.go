package mocks

import (
	"context"

	"github.com/IBM/sarama"
)

// intake is the goroutine that empties the inputs. It runs none of the user's code but Encoder.Length, so a question
// to it is answered at once even while a checker is busy. It ends when the close is through.
func (mp *AsyncProducer) intake() {
	for !mp.allDecided() {
		mp.turn(mp.input, mp.batches)
	}
	mp.unmetExpectations()
	// Successes ends on its own, so that the outputs can be read to their ends one after the other, in either order.
	mp.toSuccesses.close()
	mp.toCallbacks.close()
	// Late messages are refused while errors of accepted ones are unread, and while callbacks run, which may send. The
	// refusals themselves are not waited for here: a sender that never pauses must not keep the mock from its end.
	unread, _ := mp.toErrors.counts()
	for !mp.errorsRead(unread) || !mp.callbacksDone() {
		mp.settle()
		mp.turn(mp.input, mp.batches)
	}
	mp.plug()
	mp.toErrors.close()
	for !mp.handedOver() {
		mp.settle()
		mp.turn(nil, nil)
	}
	<-mp.toSuccesses.done
	<-mp.toErrors.done
	close(mp.closed)
	mp.settle()
}

// turn takes one message, slice or question. A question is answered behind all that the inputs held when it came.
func (mp *AsyncProducer) turn(input <-chan *sarama.ProducerMessage, batches <-chan []*sarama.ProducerMessage) {
	select {
	case msg := <-input:
		mp.accept(msg, nil)
	case msgs := <-batches:
		mp.acceptBatch(msgs)
	case f := <-mp.control:
		// Nobody else receives, so that what len counts is there.
		for range len(input) {
			mp.accept(<-input, nil)
		}
		for range len(batches) {
			mp.acceptBatch(<-batches)
		}
		f()
	case <-mp.progress:
	}
}

// plug makes later sends to the inputs block: it fills their buffers with nils, once no message is among these.
func (mp *AsyncProducer) plug() {
	for plugged := false; !plugged; {
		for range len(mp.input) {
			mp.accept(<-mp.input, nil)
		}
		plugged = fill(mp.input, nil)
	}
	for plugged := false; !plugged; {
		for range len(mp.batches) {
			mp.acceptBatch(<-mp.batches)
		}
		plugged = fill(mp.batches, nil)
	}
}

// fill puts v into all of c's buffer, and tells whether c holds nothing else.
func fill[T any](c chan T, v T) bool {
	for n := 0; ; n++ {
		select {
		case c <- v:
		default:
			return n == cap(c)
		}
	}
}

// onIntake runs f on the intake goroutine behind all that the inputs hold, and returns after it; once the close is
// through it runs f itself.
func (mp *AsyncProducer) onIntake(f func()) {
	done := make(chan struct{})
	select {
	case mp.control <- func() { defer close(done); f() }:
		<-done
	case <-mp.closed:
		f()
	}
}

// fence counts the messages that were accepted before the call.
func (mp *AsyncProducer) fence() (n uint64) {
	mp.onIntake(func() { n = mp.count() })
	return n
}

func (mp *AsyncProducer) count() uint64 {
	mp.l.Lock()
	defer mp.l.Unlock()
	return mp.accepted
}

// await returns when the first n accepted messages are decided, or when ctx ends. Fates are decided in order.
func (mp *AsyncProducer) await(ctx context.Context, n uint64) error {
	defer context.AfterFunc(ctx, func() {
		mp.l.Lock()
		defer mp.l.Unlock()
		mp.changed.Broadcast()
	})()
	mp.l.Lock()
	defer mp.l.Unlock()
	for mp.decided < n {
		if ctx.Err() != nil {
			return ended("flushing", ctx)
		}
		mp.changed.Wait()
	}
	return nil
}

func (mp *AsyncProducer) allDecided() bool {
	mp.l.Lock()
	defer mp.l.Unlock()
	return mp.shut && mp.accepted == mp.decided
}

// errorsRead tells that the first n errors are with the user.
func (mp *AsyncProducer) errorsRead(n int) bool {
	_, handed := mp.toErrors.counts()
	return handed >= n
}

// handedOver tells that every outcome is with the user.
func (mp *AsyncProducer) handedOver() bool {
	return mp.toSuccesses.empty() && mp.toErrors.empty() && mp.callbacksDone()
}

// settle lets Close return, once every outcome is with the user or waits for one to read it.
func (mp *AsyncProducer) settle() {
	if mp.isSettled || !mp.callbacksDone() || mp.toSuccesses.moving() || mp.toErrors.moving() {
		return
	}
	mp.isSettled = true
	close(mp.settled)
}

// callbacksDone tells that callbacks hold up nothing: they have returned, or are not waited for any more.
func (mp *AsyncProducer) callbacksDone() bool {
	mp.l.Lock()
	aborted := mp.aborted
	mp.l.Unlock()
	return aborted || mp.toCallbacks.empty()
}

func (mp *AsyncProducer) unmetExpectations() {
	mp.l.Lock()
	n := len(mp.expectations)
	mp.l.Unlock()
	mp.unmet(n)
}
