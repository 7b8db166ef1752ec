package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// An outcome is told the fate of messages that share it: err is nil for messages that were written. It may be called from
// two goroutines at once, and for one partition is called in the order of the outcomes.
type outcome func(msgs []*sarama.ProducerMessage, err error)

// A sender is the producer behind a command. One goroutine uses it.
type sender interface {
	// send hands messages over in order, and waits while the producer has no memory for them. The slice and what it
	// holds are the sender's until their outcomes.
	send(msgs []*sarama.ProducerMessage)
	// close delivers what is left and returns when every message has had its outcome.
	close()
}

// newProducer makes the producer.
var newProducer = func(addrs []string, conf *sarama.Config) (sarama.AsyncProducer, error) {
	return sarama.NewAsyncProducer(addrs, conf)
}

// newConfig is where the settings start.
func newConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Compression = sarama.CompressionLZ4
	conf.Producer.Flush.Frequency = 5 * time.Millisecond
	return conf
}

// openSender connects to the cluster. A constructor may take as long as its time-outs allow, so it runs beside the wait
// for ctx: when ctx ends first, the producer that still comes is closed unused.
func openSender(ctx context.Context, client string, addrs []string, s *settings, done outcome) (sender, error) {
	type result struct {
		p   sarama.AsyncProducer
		err error
	}
	conf := *s.conf
	conf.Producer.Return.Successes = true
	conf.Producer.Return.Errors = true
	open := newProducer
	if client == "sarama" {
		open = sarama.NewAsyncProducer
	}
	made := make(chan result, 1)
	go func() {
		p, err := open(addrs, &conf)
		made <- result{p, err}
	}()
	select {
	case r := <-made:
		if r.err != nil {
			return nil, fmt.Errorf("cannot reach the cluster: %w", r.err)
		}
		return newChannelSender(r.p, done), nil
	case <-ctx.Done():
		go func() {
			if r := <-made; r.err == nil {
				r.p.Close()
			}
		}()
		return nil, fmt.Errorf("interrupted while connecting: %w", context.Cause(ctx))
	}
}

// A channelSender drives a producer through sarama's own channels.
type channelSender struct {
	p    sarama.AsyncProducer
	done outcome
	wg   sync.WaitGroup
}

func newChannelSender(p sarama.AsyncProducer, done outcome) *channelSender {
	s := &channelSender{p: p, done: done}
	s.wg.Go(s.successes)
	s.wg.Go(s.errors)
	return s
}

func (s *channelSender) send(msgs []*sarama.ProducerMessage) {
	in := s.p.Input()
	for _, m := range msgs {
		in <- m
	}
}

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
