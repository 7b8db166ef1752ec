//go:build unix

package integration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

const (
	loadKeys = 101 // messages have this many keys in turn

	// Between bursts a load trickles, so that every moment of the faults has messages under way and the gap between two
	// acknowledgements tells how long nothing went through.
	trickleEvery = 10 * time.Millisecond
	trickle      = 10
)

// load is one producer's stream of numbered messages: bursts when it is told to, and a trickle all the time. Two
// goroutines: one sends, one collects the outcomes. The methods are for the test's goroutine.
type load struct {
	name     string
	topic    string
	producer sarama.AsyncProducer

	bursts chan int
	finish chan struct{} // closed by end
	last   atomic.Int64  // how many are sent once the bursts so far are
	waits  chan settledWait

	result chan loadResult // of the collector, when the producer has ended
}

// settledWait asks the collector to close done once that many messages have their outcome.
type settledWait struct {
	messages int64
	done     chan struct{}
}

// loadResult is what the producer said about each message, by its number.
type loadResult struct {
	outcomes []outcome
	gaps     []ackGap      // times of 10 ms or more between two acknowledgements
	took     time.Duration // from the first message to the last outcome
	problems []error       // outcomes that no message has, or a second one; and failures, the first few
}

// ackGap is a time in which nothing was acknowledged.
type ackGap struct {
	length, until time.Duration // until is from the start
}

// longest is the longest gap that ended later than after.
func (r *loadResult) longest(after time.Duration) (longest ackGap) {
	for _, g := range r.gaps {
		if g.until > after && g.length > longest.length {
			longest = g
		}
	}
	return longest
}

// outcome is what a producer said about a message. The zero value: nothing.
type outcome struct {
	told      bool
	err       error
	partition int32
	offset    int64
}

func loadKey(number int) string { return "key-" + strconv.Itoa(number%loadKeys) }

// startLoad begins to send. The load closes the producer, at its end.
func startLoad(name, topic string, p sarama.AsyncProducer) *load {
	l := &load{
		name: name, topic: topic, producer: p,
		bursts: make(chan int, 100),
		finish: make(chan struct{}),
		waits:  make(chan settledWait),
		result: make(chan loadResult, 1),
	}
	go l.send()
	go l.collect()
	return l
}

func (l *load) send() {
	ticker := time.NewTicker(trickleEvery)
	defer ticker.Stop()
	defer l.producer.AsyncClose()
	number := 0
	send := func(n int) {
		for range n {
			l.producer.Input() <- &sarama.ProducerMessage{
				Topic:    l.topic,
				Key:      sarama.StringEncoder(loadKey(number)),
				Value:    sarama.StringEncoder(fmt.Sprintf("%d: %080d", number, 0)),
				Metadata: number,
			}
			number++
		}
		l.last.Store(int64(number))
	}
	for {
		select {
		case n := <-l.bursts:
			send(n)
		case <-ticker.C:
			send(trickle)
		case <-l.finish:
			for len(l.bursts) > 0 {
				send(<-l.bursts)
			}
			return
		}
	}
}

// collect takes every outcome until the producer closes both channels.
func (l *load) collect() {
	var r loadResult
	var waits []settledWait
	var settled int64
	start := time.Now()
	acked := start
	take := func(m *sarama.ProducerMessage, err error) {
		number := m.Metadata.(int)
		for len(r.outcomes) <= number {
			r.outcomes = append(r.outcomes, outcome{})
		}
		o := &r.outcomes[number]
		if o.told && len(r.problems) < 10 {
			r.problems = append(r.problems, fmt.Errorf("message %d has a second outcome, %v after %v", number, err, o.err))
		}
		*o = outcome{told: true, err: err, partition: m.Partition, offset: m.Offset}
		if err == nil {
			now := time.Now()
			if gap := now.Sub(acked); gap >= 10*time.Millisecond {
				r.gaps = append(r.gaps, ackGap{gap, now.Sub(start)})
			}
			acked = now
		} else if len(r.problems) < 10 {
			r.problems = append(r.problems, fmt.Errorf("message %d: %w", number, err))
		}
		settled++
		left := waits[:0]
		for _, w := range waits {
			if w.messages <= settled {
				close(w.done)
			} else {
				left = append(left, w)
			}
		}
		waits = left
	}
	successes, failures := l.producer.Successes(), l.producer.Errors()
	for successes != nil || failures != nil {
		select {
		case m, ok := <-successes:
			if !ok {
				successes = nil
				continue
			}
			take(m, nil)
		case e, ok := <-failures:
			if !ok {
				failures = nil
				continue
			}
			take(e.Msg, e.Err)
		case w := <-l.waits:
			if w.messages <= settled {
				close(w.done)
			} else {
				waits = append(waits, w)
			}
		}
	}
	r.took = time.Since(start)
	l.result <- r
}

// burst sends n messages without waiting for them.
func (l *load) burst(n int) { l.bursts <- n }

// awaitSettled waits until that many messages have their outcome.
func (l *load) awaitSettled(ctx context.Context, t *testing.T, messages int64) {
	t.Helper()
	w := settledWait{messages, make(chan struct{})}
	select {
	case l.waits <- w:
	case <-ctx.Done():
		t.Fatalf("%s: %v", l.name, ctx.Err())
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		t.Fatalf("%s: waiting for the outcome of %d messages: %v", l.name, messages, ctx.Err())
	}
}

// end sends what is missing to a number of messages, closes the producer and returns what it said.
func (l *load) end(ctx context.Context, t *testing.T, total int) loadResult {
	t.Helper()
	if missing := int64(total) - l.last.Load(); missing > 0 {
		l.burst(int(missing))
	}
	close(l.finish)
	select {
	case r := <-l.result:
		if told := int64(len(r.outcomes)); told != l.last.Load() {
			r.problems = append(r.problems, fmt.Errorf("the last of %d messages have no outcome", l.last.Load()-told))
		}
		return r
	case <-ctx.Done():
		t.Fatalf("%s: the producer does not end: %v", l.name, ctx.Err())
		panic("unreachable")
	}
}

func (r *loadResult) acked() (n int) {
	for _, o := range r.outcomes {
		if o.told && o.err == nil {
			n++
		}
	}
	return n
}

func (r *loadResult) failed() (n int) {
	for _, o := range r.outcomes {
		if o.err != nil {
			n++
		}
	}
	return n
}

// mayBeWritten tells whether a message that failed may be in the log.
func mayBeWritten(err error) bool { return errors.Is(err, sluice.ErrOutcomeUnknown) }
