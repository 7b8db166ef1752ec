package mocks

import (
	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/causes"
)

// accept puts a message into the line of messages, which calls outcome once. If the close has begun, accept returns an
// error and does not.
func (p *Producer) accept(msg *sarama.ProducerMessage, outcome func(error)) error {
	size := int64(msg.ByteSize(2))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return sarama.ErrShuttingDown
	}
	p.undecided++
	p.undecidedBytes += size
	p.messages.add(func() {
		err := errEnded // unless judge returns
		defer func() {
			p.mu.Lock()
			p.undecided--
			p.undecidedBytes -= size
			p.count(size, err)
			if err != nil && err != ErrNotInTransaction {
				p.txns.messageFailed(err)
			}
			p.mu.Unlock()
			outcome(err)
		}()
		err = p.judge(msg)
	})
	return nil
}

// count counts what became of a message, for Stats. Called with mu held.
func (p *Producer) count(size int64, err error) {
	of := &p.stats.Acknowledged
	if err != nil {
		of = &p.stats.Failed
		if p.stats.FailedBy == nil {
			p.stats.FailedBy = make(map[sluice.FailureCause]int64)
		}
		p.stats.FailedBy[sluice.FailureCause(causes.Of(err).String())]++
	}
	of.Records++
	of.Bytes += size
}

// acceptCall is accept for the message of a call, behind those that were sent to the inputs before.
func (p *Producer) acceptCall(msg *sarama.ProducerMessage, outcome func(error)) (err error) {
	p.onIntake(func() { err = p.accept(msg, outcome) })
	return err
}

// acceptInput is accept for messages whose outcomes go to the channels.
func (p *Producer) acceptInput(msgs ...*sarama.ProducerMessage) {
	for _, msg := range msgs {
		if msg == nil {
			continue
		}
		outcome := func(err error) {
			switch {
			case err == nil && p.returnSuccesses:
				p.toSuccesses.add(func() { p.successes <- msg })
			case err != nil && p.returnErrors:
				p.toErrors.add(func() { p.errors <- &sarama.ProducerError{Msg: msg, Err: err} })
			}
		}
		if err := p.accept(msg, outcome); err != nil {
			p.messages.add(func() { outcome(err) }) // behind those before it
		}
	}
}

// intake is the goroutine that empties the inputs, until all is handed over. It runs no checks and never waits for them.
func (p *Producer) intake() {
	defer close(p.inputsShut)
	for {
		select {
		case msg := <-p.input:
			p.acceptInput(msg)
		case msgs := <-p.batches:
			p.acceptInput(msgs...)
		case f := <-p.requests:
			// What was sent before the request comes first.
			for range len(p.input) {
				p.acceptInput(<-p.input)
			}
			for range len(p.batches) {
				p.acceptInput(<-p.batches...)
			}
			f()
		case <-p.handedOver:
			close(p.input)
			close(p.batches)
			for msg := range p.input {
				p.acceptInput(msg)
			}
			for msgs := range p.batches {
				p.acceptInput(msgs...)
			}
			return
		}
	}
}

// onIntake runs f when all that the inputs hold is accepted, and returns after it.
func (p *Producer) onIntake(f func()) {
	done := make(chan struct{})
	select {
	case p.requests <- func() { f(); close(done) }:
		<-done
	case <-p.inputsShut:
		f()
	}
}

// decided returns a channel that is closed when it is decided what becomes of each message that was sent before.
func (p *Producer) decided() (done <-chan struct{}) {
	p.onIntake(func() { done = p.messages.done() })
	return done
}

// shutdown ends the mock, when nothing is accepted any more. First it waits for what was accepted, while the intake goes
// on refusing; then the inputs are closed, and it waits for what was refused.
func (p *Producer) shutdown() {
	p.messages.add(p.abortForClose)
	p.messages.add(p.reportUnmet)
	<-p.messages.done()
	<-p.callbacks.done()
	<-p.toSuccesses.done()
	<-p.toErrors.done()
	close(p.handedOver)
	<-p.inputsShut
	<-p.messages.done()
	<-p.toErrors.done()
	close(p.successes)
	close(p.errors)
}
