package simtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

type saramaMessage = sarama.ProducerMessage

// sent is one message and what became of it. Its outcome fields are guarded by run.mu.
type sent struct {
	msg      *sarama.ProducerMessage
	value    string // of msg until its outcome: then the sender has it back, and writes over it
	stream   string // messages of one stream keep their order
	number   int    // in its stream
	topic    string
	wanted   int32 // partition, if the partitioner is the manual one
	at       time.Time
	how      string // input, batch, produce, sync
	tried    bool   // it was offered
	taken    bool   // it may have been accepted
	accepted bool   // it was: the send has returned
	refused  error  // the call's own error: it was not accepted
	inTxn           // in runs with transactions

	outcomes []outcome // of the channels, callbacks, calls
	reports  []outcome // of delivery reports
}

type outcome struct {
	partition int32
	offset    int64
	err       error
	at        time.Time
}

func (m *sent) String() string { return fmt.Sprintf("%s#%d", m.stream, m.number) }

func (o outcome) String() string {
	if o.err != nil {
		return fmt.Sprintf("failed: %v", o.err)
	}
	return fmt.Sprintf("partition %d offset %d", o.partition, o.offset)
}

// newMessage makes a message whose value names it.
func (r *run) newMessage(sender, number int, how string) *sent {
	m := &sent{stream: fmt.Sprintf("%s%d", how, sender), number: number, how: how}
	draw := rand.New(rand.NewPCG(r.seed, uint64(sender)<<32|uint64(number)|7<<60))
	m.topic = r.sc.topicNames()[draw.IntN(r.sc.topics)]
	m.wanted = draw.Int32N(r.sc.partitions)
	m.msg = &sarama.ProducerMessage{Topic: m.topic, Partition: m.wanted, Metadata: m, Offset: -77}
	name := m.String() + " "
	m.value = name + strings.Repeat("x", draw.IntN(r.sc.maxValue))
	if r.sc.largeValues && draw.IntN(2) == 0 {
		m.value += strings.Repeat("y", 8<<10+draw.IntN(100_000))
		if r.sc.frameLimit > 0 && draw.IntN(20) == 0 {
			m.value += strings.Repeat("z", draw.IntN(300_000))
		}
	}
	m.msg.Value = sarama.ByteEncoder(m.value)
	if draw.IntN(3) > 0 {
		m.msg.Key = sarama.StringEncoder(fmt.Sprint("key", draw.IntN(5)))
	}
	r.mu.Lock()
	r.messages = append(r.messages, m)
	r.mu.Unlock()
	return m
}

// sender is a goroutine that sends in one way, or in several, each a stream.
func (r *run) sender(id int) {
	draw := rand.New(rand.NewPCG(r.seed, uint64(id)|3<<60))
	how := pick(draw, "input", "input", "batch", "produce", "mixed")
	if r.sync != nil {
		how = pick(draw, "sync", "syncs", "mixed syncs")
	}
	numbers := map[string]int{}
	next := func(how string) *sent {
		numbers[how]++
		return r.newMessage(id, numbers[how], how)
	}
	for left := r.sc.messages; left > 0; {
		way := how
		switch how {
		case "mixed":
			way = pick(draw, "input", "batch", "produce")
		case "mixed syncs":
			way = pick(draw, "sync", "syncs")
		}
		n := 1
		if way == "batch" || way == "syncs" {
			n = min(left, 1+draw.IntN(20))
		}
		if way == "syncs" {
			// Both kinds of calls of one goroutine are one stream.
			r.sendMany(draw, n, func() *sent { return next("sync") })
		} else if way == "batch" {
			r.sendBatch(n, next)
		} else {
			r.sendOne(draw, next(way))
		}
		left -= n
		select {
		case <-r.stop:
			return
		default:
		}
		if r.sc.pause > 0 && draw.IntN(3) == 0 {
			time.Sleep(time.Duration(draw.Int64N(int64(r.sc.pause)) * 2))
		}
	}
}

func (r *run) offer(ms ...*sent) (after bool) {
	select {
	case <-r.closed:
		after = true
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range ms {
		m.tried, m.at = true, time.Now()
		// It may have its outcome before the send returns, so it counts as taken until it is known not to be.
		m.taken = true
	}
	return after
}

func (r *run) take(after bool, ms ...*sent) {
	if after {
		r.fail("%v was taken by a closed producer", ms[0])
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range ms {
		m.accepted = true
	}
}

func (r *run) refuse(err error, ms ...*sent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range ms {
		m.taken, m.refused = false, err
	}
}

var (
	errStopped = errors.New("simtest: the sender was stopped")
	errClosed  = errors.New("simtest: the input is closed")
)

func (r *run) sendBatch(n int, next func(string) *sent) {
	ms, msgs := make([]*sent, n), make([]*sarama.ProducerMessage, n)
	for i := range ms {
		ms[i] = next("batch")
		msgs[i] = ms[i].msg
	}
	after := r.offer(ms...)
	if err := trySend(r, r.async.InputBatch(), msgs); err != nil {
		r.refuse(err, ms...)
	} else {
		r.take(after, ms...)
	}
}

// trySend sends to an input, which panics once the producer has closed it.
func trySend[T any](r *run, in chan<- T, v T) (err error) {
	r.inSend.RLock()
	defer r.inSend.RUnlock()
	defer func() {
		if p := recover(); p != nil {
			err = errClosed
		}
	}()
	select {
	case <-r.quiet:
		return errStopped
	default:
	}
	select {
	case in <- v:
		return nil
	case <-r.quiet:
		return errStopped
	}
}

// quieten ends the sends to the inputs, and no others.
func (r *run) quieten() {
	close(r.quiet)
	r.inSend.Lock()
	defer r.inSend.Unlock()
}

func (r *run) sendOne(draw *rand.Rand, m *sent) {
	after := r.offer(m)
	switch m.how {
	case "input":
		if err := trySend(r, r.async.Input(), m.msg); err != nil {
			r.refuse(err, m)
		} else {
			r.take(after, m)
		}
	case "produce":
		ctx, cancel := r.context(draw)
		defer cancel()
		err := r.async.Produce(ctx, m.msg, func(msg *sarama.ProducerMessage, err error) {
			if msg != m.msg {
				r.fail("%v: the callback got another message", m)
			}
			r.outcome(m, msg, err)
		})
		if err != nil {
			r.refuse(err, m)
		} else {
			r.take(after, m)
		}
	case "sync":
		ctx, cancel := r.context(draw)
		defer cancel()
		p, offset, err := r.sync.SendMessageContext(ctx, m.msg)
		r.tell(m, outcome{p, offset, err, time.Now()})
	}
}

func (r *run) sendMany(draw *rand.Rand, n int, next func() *sent) {
	ms, msgs := make([]*sent, n), make([]*sarama.ProducerMessage, n)
	for i := range ms {
		ms[i] = next()
		msgs[i] = ms[i].msg
	}
	r.offer(ms...)
	ctx, cancel := r.context(draw)
	defer cancel()
	err := r.sync.SendMessagesContext(ctx, msgs)
	failed := map[*sarama.ProducerMessage]error{}
	var errs sarama.ProducerErrors
	if errors.As(err, &errs) {
		for _, e := range errs {
			failed[e.Msg] = e.Err
		}
	} else if err != nil {
		r.fail("SendMessages: %v", err)
	}
	for i, m := range ms {
		r.tell(m, outcome{msgs[i].Partition, msgs[i].Offset, failed[msgs[i]], time.Now()})
	}
}

// context is mostly patient.
func (r *run) context(draw *rand.Rand) (context.Context, context.CancelFunc) {
	if draw.IntN(5) == 0 {
		return context.WithTimeout(context.Background(), time.Duration(draw.Int64N(int64(r.sc.readTimeout*2))))
	}
	ctx, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, func() {})
	return ctx, func() { stop(); cancel() }
}

// outcome is a message's outcome as the message tells it.
func (r *run) outcome(m *sent, msg *sarama.ProducerMessage, err error) {
	r.tell(m, outcome{msg.Partition, msg.Offset, err, time.Now()})
}

func (r *run) tell(m *sent, o outcome) {
	r.trace("%v: %v", m, o)
	r.mu.Lock()
	m.outcomes = append(m.outcomes, o)
	clear(m.msg.Value.(sarama.ByteEncoder))
	r.mu.Unlock()
}

func (r *run) reported(report sluice.DeliveryReport) {
	now := time.Now()
	r.mu.Lock()
	for i, msg := range report.Messages {
		m := msg.Metadata.(*sent)
		m.reports = append(m.reports, outcome{msg.Partition, msg.Offset, report.Err, now})
		if i == 0 && report.Err == nil && report.BaseOffset != msg.Offset && r.failures == nil {
			defer r.fail("%v: the report says offset %d, the message %d", m, report.BaseOffset, msg.Offset)
		}
	}
	r.mu.Unlock()
	r.trace("report: %d messages of %s/%d from %v: %v", len(report.Messages), report.Topic, report.Partition, report.Messages[0].Metadata, report.Err)
}

func (r *run) readSuccesses() {
	draw := rand.New(rand.NewPCG(r.seed, 4))
	for msg := range r.async.Successes() {
		r.outcome(msg.Metadata.(*sent), msg, nil)
		r.readSlowly(draw)
	}
}

func (r *run) readErrors() {
	draw := rand.New(rand.NewPCG(r.seed, 5))
	for e := range r.async.Errors() {
		r.outcome(e.Msg.Metadata.(*sent), e.Msg, e.Err)
		r.readSlowly(draw)
	}
}

func (r *run) readSlowly(draw *rand.Rand) {
	if r.sc.slowReaders && draw.IntN(20) == 0 {
		time.Sleep(time.Duration(draw.Int64N(int64(r.sc.length / 10))))
	}
}

// closedWith takes the outcomes that Close returns.
func (r *run) closedWith(err error) {
	if err == nil {
		return
	}
	var errs sarama.ProducerErrors
	if !errors.As(err, &errs) {
		r.fail("Close: %v", err)
	}
	for _, e := range errs {
		r.outcome(e.Msg.Metadata.(*sent), e.Msg, e.Err)
	}
}
