package mocks

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// SendMessageContext is SendMessage that ends with ctx, and that sends a copy of msg, so that msg is the caller's again
// when it returns. When ctx ends, the error wraps the context's cause. A message whose checker has not begun by then is
// withdrawn, and uses up no expectation; with one whose checker is busy the error also wraps sluice.ErrOutcomeUnknown,
// and what the checker says counts for nothing.
func (sp *SyncProducer) SendMessageContext(ctx context.Context, msg *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	err = sp.SendMessagesContext(ctx, []*sarama.ProducerMessage{msg})
	var failed sarama.ProducerErrors
	switch {
	case errors.As(err, &failed):
		return -1, -1, failed[0].Err
	case err != nil:
		return -1, -1, err
	}
	return msg.Partition, msg.Offset, nil
}

// SendMessagesContext is SendMessageContext for many messages. It returns sarama.ProducerErrors with exactly those that
// failed; the others carry their Partition and Offset. A nil message fails the call, and nothing is sent.
func (sp *SyncProducer) SendMessagesContext(ctx context.Context, msgs []*sarama.ProducerMessage) error {
	if ctx.Err() != nil {
		return allFailed(msgs, ended("sending", ctx))
	}
	if err := sp.takeTurn(ctx, "sending"); err != nil {
		return allFailed(msgs, err)
	}
	if err := sp.refuse(msgs); err != nil {
		sp.turn <- struct{}{}
		return allFailed(msgs, err)
	}
	s := &sending{copies: make([]sarama.ProducerMessage, len(msgs)), errs: make([]error, len(msgs))}
	for i, msg := range msgs {
		s.copies[i] = *msg
	}
	// The turn goes to the goroutine: whoever's checker is busy has it, whether or not the caller still waits.
	through := make(chan struct{})
	go func() {
		defer func() { sp.turn <- struct{}{} }()
		defer close(through)
		s.run(sp)
	}()
	select {
	case <-through:
	case <-ctx.Done():
		s.stop(ended("sending", ctx))
	}
	return s.outcome(msgs)
}

// allFailed is the outcome of messages that share their error. One that is nil has no place in sarama.ProducerErrors.
func allFailed(msgs []*sarama.ProducerMessage, err error) error {
	var failed sarama.ProducerErrors
	for _, msg := range msgs {
		if msg == nil {
			return err
		}
		failed = append(failed, &sarama.ProducerError{Msg: msg, Err: err})
	}
	if len(failed) == 0 {
		return err
	}
	return failed
}

// sending is one call's messages on their way. The goroutine that judges them owns the copies that are begun and not
// decided; mu guards the rest.
type sending struct {
	copies []sarama.ProducerMessage

	mu      sync.Mutex
	errs    []error
	begun   int   // messages that took an expectation
	decided int   // messages that have their outcome
	stopped error // why no more is judged
}

// run judges message after message until all are decided or the sending is stopped.
func (s *sending) run(sp *SyncProducer) {
	for i := range s.copies {
		exp, ok := s.begin(sp)
		if !ok {
			return
		}
		var v verdict
		if err := isolate("checker", func() error {
			v = sp.judge(&s.copies[i], exp)
			return nil
		}); err != nil {
			v = unexpected(err, "message to topic %q: %v", s.copies[i].Topic, err)
		}
		if !s.decide(sp, i, v) {
			return
		}
	}
}

// begin takes an expectation unless the sending is stopped.
func (s *sending) begin(sp *SyncProducer) (exp expectation, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped != nil {
		return exp, false
	}
	s.begun++
	return sp.take(), true
}

// decide tells whether the verdict counts. There is no report of one that does not: its test may be over.
func (s *sending) decide(sp *SyncProducer, i int, v verdict) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped != nil {
		return false
	}
	sp.tell(v)
	s.errs[i] = v.err
	s.decided = i + 1
	return true
}

// stop fails every message that has no outcome yet.
func (s *sending) stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = err
}

// outcome copies back what was decided, and collects what failed. Called once, behind run or stop.
func (s *sending) outcome(msgs []*sarama.ProducerMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed sarama.ProducerErrors
	for i, msg := range msgs {
		err := s.stopped
		switch {
		case i < s.decided:
			err = s.errs[i]
			msg.Partition, msg.Offset, msg.Timestamp = s.copies[i].Partition, s.copies[i].Offset, s.copies[i].Timestamp
		case i < s.begun:
			err = fmt.Errorf("%w: %w", sluice.ErrOutcomeUnknown, err)
		}
		if err != nil {
			failed = append(failed, &sarama.ProducerError{Msg: msg, Err: err})
		}
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}
