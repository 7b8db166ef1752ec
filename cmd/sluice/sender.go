package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// An outcome gets the result of messages that share it: err is nil for messages that were written. It may be called from
// two goroutines at once, and for one partition is called in the order of the outcomes.
type outcome func(msgs []*sarama.ProducerMessage, err error)

// A sender is the producer behind a command. One goroutine uses it.
type sender interface {
	// send hands messages over in order, and waits while the producer has no memory for them. The slice and what it
	// holds are the sender's until their outcomes.
	send(msgs []*sarama.ProducerMessage)
	// begin, commit and abort are those of a transactional producer. commit waits for what was sent in the transaction.
	// They need not end with ctx, but ours does.
	begin() error
	commit(ctx context.Context) error
	abort(ctx context.Context) error
	// ready tells whether another transaction can begin.
	ready() bool
	// close delivers what is left and returns when every message has had its outcome. It aborts an open transaction.
	close()
}

// openSender connects to the cluster; status is told what our own producer waits for. A constructor may take as long as its
// time-outs allow, so it runs beside the wait for ctx: when ctx ends first, the sender that still comes is closed unused.
func openSender(ctx context.Context, client string, addrs []string, s *settings, status *sluice.Status, done outcome) (sender, error) {
	var open opener = func(addrs []string, s *settings, done outcome) (sender, error) {
		return openBatchSender(addrs, s, status, done)
	}
	switch client {
	case "sarama":
		open = openSarama
	case "franz-go":
		open = openFranz
	}
	return openWith(ctx, open, addrs, s, done)
}

// An opener makes a sender. It does not know of interrupts.
type opener func(addrs []string, s *settings, done outcome) (sender, error)

func openWith(ctx context.Context, open opener, addrs []string, s *settings, done outcome) (sender, error) {
	return connected(ctx, func() (sender, error) { return open(addrs, s, done) }, sender.close)
}

// connected calls open, which connects. When ctx ends first, what open still brings is closed unused.
func connected[T any](ctx context.Context, open func() (T, error), closeUnused func(T)) (opened T, err error) {
	type result struct {
		opened T
		err    error
	}
	made := make(chan result, 1)
	go func() {
		opened, err := open()
		made <- result{opened, err}
	}()
	select {
	case r := <-made:
		if _, wrong := errors.AsType[sarama.ConfigurationError](r.err); wrong {
			return opened, usageError{r.err}
		}
		if r.err != nil {
			return opened, fmt.Errorf("cannot start the producer: %w", r.err)
		}
		return r.opened, nil
	case <-ctx.Done():
		go func() {
			if r := <-made; r.err == nil {
				closeUnused(r.opened)
			}
		}()
		return opened, whileConnecting(ctx)
	}
}

// whileConnecting is the error of a command that ended before it had connected.
func whileConnecting(ctx context.Context) error {
	return fmt.Errorf("interrupted while connecting; nothing was sent: %w", context.Cause(ctx))
}

// A batchSender drives our own producer with whole slices in and out.
type batchSender struct{ p *sluice.Producer }

func openSluice(addrs []string, s *settings, done outcome) (sender, error) {
	return openBatchSender(addrs, s, nil, done)
}

// openBatchSender makes the producer; status is told what it waits for, and may be nil.
func openBatchSender(addrs []string, s *settings, status *sluice.Status, done outcome) (batchSender, error) {
	p, err := openProducer(addrs, s, status, sluice.WithDeliveryReport(func(r sluice.DeliveryReport) { done(r.Messages, r.Err) }))
	return batchSender{p}, err
}

// openProducer makes a producer whose outcomes come by reports.
func openProducer(addrs []string, s *settings, status *sluice.Status, more ...sluice.Option) (*sluice.Producer, error) {
	conf := s.Config()
	conf.Producer.Return.Successes = false
	conf.Producer.Return.Errors = false
	opts := append(s.producerOptions(), sluice.WithStatus(status), sluice.WithLogger(s.log))
	return sluice.New(addrs, conf, append(opts, more...)...)
}

func (s batchSender) send(msgs []*sarama.ProducerMessage) { s.p.InputBatch() <- msgs }

// sendUnless is send that ends without it when ctx does, also while the producer has no memory.
func (s batchSender) sendUnless(ctx context.Context, msgs []*sarama.ProducerMessage) bool {
	select {
	case s.p.InputBatch() <- msgs:
		return true
	case <-ctx.Done():
		return false
	}
}

// closeUnless is close that gives up what is not delivered when ctx ends.
func (s batchSender) closeUnless(ctx context.Context) { _ = s.p.CloseContext(ctx) }

func (s batchSender) begin() error { return s.p.BeginTxn() }
func (s batchSender) ready() bool  { return s.p.TxnStatus()&sarama.ProducerTxnFlagReady != 0 }
func (s batchSender) close()       { s.p.Close() }

func (s batchSender) commit(ctx context.Context) error { return s.p.CommitTxnContext(ctx) }
func (s batchSender) abort(ctx context.Context) error  { return s.p.AbortTxnContext(ctx) }

// A channelSender drives sarama's producer through its channels.
type channelSender struct {
	p    sarama.AsyncProducer
	done outcome
	wg   sync.WaitGroup
}

// openSarama makes sarama's own producer. What we recommend for ours and does not suit it stays as sarama has it, unless
// it was asked for: with idempotence it has one request open at a time, and retries without an end, which only our
// delivery timeout bounds, would never give up.
func openSarama(addrs []string, s *settings, done outcome) (sender, error) {
	conf := s.Config()
	if !s.Given["Producer.Idempotent"] && conf.Producer.Transaction.ID == "" {
		conf.Producer.Idempotent = false
		conf.Net.MaxOpenRequests = s.Conf.Net.MaxOpenRequests
	}
	conf.Producer.Return.Successes = true
	conf.Producer.Return.Errors = true
	if !s.Given["Producer.Retry.Max"] {
		conf.Producer.Retry.Max = sarama.NewConfig().Producer.Retry.Max
	}
	p, err := sarama.NewAsyncProducer(addrs, conf)
	if err != nil {
		return nil, err
	}
	c := &channelSender{p: p, done: done}
	c.wg.Go(c.successes)
	c.wg.Go(c.errors)
	return c, nil
}

func (s *channelSender) send(msgs []*sarama.ProducerMessage) {
	in := s.p.Input()
	for _, m := range msgs {
		in <- m
	}
}

func (s *channelSender) begin() error                 { return s.p.BeginTxn() }
func (s *channelSender) commit(context.Context) error { return s.p.CommitTxn() }
func (s *channelSender) abort(context.Context) error  { return s.p.AbortTxn() }
func (s *channelSender) ready() bool                  { return s.p.TxnStatus()&sarama.ProducerTxnFlagReady != 0 }

func (s *channelSender) close() {
	s.p.AsyncClose()
	s.wg.Wait()
}

// successes passes outcomes on by the run, as the receiver takes a lock for each call.
func (s *channelSender) successes() {
	run := make([]*sarama.ProducerMessage, 0, 256)
	for m := range s.p.Successes() {
		run = append(run[:0], m)
	more:
		for len(run) < cap(run) {
			select {
			case m, ok := <-s.p.Successes():
				if !ok {
					break more
				}
				run = append(run, m)
			default:
				break more
			}
		}
		s.done(run, nil)
	}
}

func (s *channelSender) errors() {
	for e := range s.p.Errors() {
		s.done([]*sarama.ProducerMessage{e.Msg}, e.Err)
	}
}
