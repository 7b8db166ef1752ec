package dispatch

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/produceset"
)

// maxRun bounds how many messages the dispatcher drains from an input before it hands them on.
const maxRun = 512

// drainBytes bounds the same in bytes, by the measure of the last run: what is drained has left Input, whose buffer
// fills again, and may wait for memory uncharged.
const drainBytes = 1 << 20

// batchesBuffered is how many slices wait in InputBatch: what is in them is not charged yet.
const batchesBuffered = 16

// Dispatcher is the goroutine behind the inputs. It is the one place where messages enter: it runs the interceptors,
// refuses what can't be sent, charges the memory budget, and counts for the fences. It alone waits for memory.
type Dispatcher struct {
	env *Env

	// Input and InputBatch are the user's ends. They are never closed: a late sender must not panic.
	Input      chan *sarama.ProducerMessage
	InputBatch chan []*sarama.ProducerMessage
	// direct takes charged records of Produce and of the SyncProducer.
	direct *flow.Mailbox[flow.Record]
	// control takes fences and the end; it passes while the dispatcher waits for memory.
	control *flow.Mailbox[controlEvent]

	topics   map[string]*topic
	last     *topic         // of the last record
	stages   sync.WaitGroup // topics and lanes
	refusing bool           // Close has begun, and what came before it is in
	leaving  bool           // the inputs are being filled with nils
	fencing  bool           // a fence is being drawn: see mustGoOn
	forcing  bool           // it has to be drawn beyond the budget

	mean     int64 // what a message of the last run was charged with
	mayDrain int   // how many of these come to drainBytes, at most maxRun

	msgs []*sarama.ProducerMessage // scratch: a drained run
	recs []flow.Record             // scratch: the same, admitted
}

type controlEvent struct {
	kind  controlKind
	taken chan struct{} // closed when the dispatcher has come to it
	done  chan struct{} // closed when it has come about
}

type controlKind uint8

const (
	controlFence controlKind = iota // seal a fence behind all that the inputs hold
	controlClose                    // the same, and refuse what comes later
	controlLeave                    // fill Input with nils, stop the stages, end
)

// NewDispatcher makes the dispatcher; Run is its goroutine.
func NewDispatcher(env *Env) *Dispatcher {
	size := env.Conf.ChannelBufferSize
	return &Dispatcher{
		env:        env,
		Input:      make(chan *sarama.ProducerMessage, size),
		InputBatch: make(chan []*sarama.ProducerMessage, min(size, batchesBuffered)),
		direct:     flow.NewMailbox[flow.Record](),
		control:    flow.NewMailbox[controlEvent](),
		topics:     make(map[string]*topic),
		mayDrain:   1, // until a run was measured
	}
}

// Direct passes on a record whose charge and overhead its sender has charged. It returns false if the dispatcher has
// left: then the charge is the sender's to release.
func (d *Dispatcher) Direct(recs ...flow.Record) bool { return d.direct.Put(recs...) }

// Fence seals a fence behind everything accepted so far, what both inputs hold included, and returns the channel that
// is closed when it is passed. It waits for the dispatcher until ctx ends. Any goroutine may call it.
func (d *Dispatcher) Fence(ctx context.Context) <-chan struct{} { return d.ask(ctx, controlFence) }

// BeginClose is a fence behind which every message is refused with sarama.ErrShuttingDown.
func (d *Dispatcher) BeginClose() <-chan struct{} { return d.ask(context.Background(), controlClose) }

// Leave makes Input block for ever, as a channel that nobody reads, and ends the dispatcher, the topics and the lanes.
// The channel is closed when they have ended. Nothing accepted may be without a fate.
func (d *Dispatcher) Leave() <-chan struct{} { return d.ask(context.Background(), controlLeave) }

// ask waits until the dispatcher has come to it. The channel is closed when what was asked for has come about; if the
// dispatcher has left, it has.
func (d *Dispatcher) ask(ctx context.Context, kind controlKind) <-chan struct{} {
	ev := controlEvent{kind: kind, taken: make(chan struct{}), done: make(chan struct{})}
	if !d.control.Put(ev) {
		close(ev.done)
		return ev.done
	}
	select {
	case <-ev.taken:
	case <-ctx.Done():
	}
	return ev.done
}

// Run ends after Leave.
func (d *Dispatcher) Run() {
	var direct []flow.Record
	for {
		select {
		case msg := <-d.Input:
			d.admit(d.drain(msg))
		case msgs := <-d.InputBatch:
			d.admit(msgs)
		case <-d.direct.Wake():
			direct = d.direct.Take(flow.Spare(direct))
			d.admitDirect(direct)
		case <-d.control.Wake():
			if d.handleControl() {
				return
			}
		}
	}
}

// drain takes what is already waiting behind one received message.
func (d *Dispatcher) drain(first *sarama.ProducerMessage) []*sarama.ProducerMessage {
	d.msgs = append(d.msgs[:0], first)
	for len(d.msgs) < d.mayDrain {
		select {
		case msg := <-d.Input:
			d.msgs = append(d.msgs, msg)
			continue
		default:
		}
		break
	}
	return d.msgs
}

// admit makes records of messages, charges them and hands them on.
func (d *Dispatcher) admit(msgs []*sarama.ProducerMessage) {
	for len(msgs) > 0 {
		run := msgs[:min(len(msgs), maxRun)]
		msgs = msgs[len(run):]
		d.recs = d.recs[:0]
		var need int64
		for _, msg := range run {
			if msg == nil {
				if d.leaving {
					continue // our own
				}
				sarama.Logger.Println("sluice: a nil message was sent, it is ignored")
				continue
			}
			rec := flow.Record{Msg: msg, Partition: -1}
			if cause := d.closedFor(); cause != nil {
				d.refuse(rec, cause)
				continue
			}
			if err := d.check(&rec); err != nil {
				d.refuse(rec, err)
				continue
			}
			need += int64(rec.Charge) + flow.RecordOverhead
			d.recs = append(d.recs, rec)
		}
		if len(d.recs) > 0 {
			d.mean = need / int64(len(d.recs))
			d.mayDrain = int(min(max(drainBytes/d.mean, 1), maxRun))
		}
		if d.take(need) {
			d.route(d.recs)
		} else {
			d.routeAsMemoryAllows(d.recs)
		}
	}
	clear(d.msgs)
	clear(d.recs)
}

// routeAsMemoryAllows hands on what fits before it waits for the rest: what waits behind nothing is never held back.
func (d *Dispatcher) routeAsMemoryAllows(recs []flow.Record) {
	from := 0
	for i := range recs {
		need := int64(recs[i].Charge) + flow.RecordOverhead
		if d.take(need) {
			continue
		}
		d.route(recs[from:i])
		from = i
		d.waitForMemory(need)
	}
	d.route(recs[from:])
}

// take charges need bytes if there is room for them, and for what waits in Input.
func (d *Dispatcher) take(need int64) bool { return d.env.Budget.TryLeaving(need, d.behind(need)) }

// behind is what the messages in Input's buffer come to, by the measure of the last run. Nobody charges them, but they
// are memory all the same; so room is left for them where they are large, up to a quarter of the budget.
func (d *Dispatcher) behind(need int64) int64 {
	if d.mean < produceset.LargeRecord {
		return 0
	}
	limit := d.env.Budget.Limit()
	return max(0, min(int64(len(d.Input))*d.mean/2, limit/4, limit-need))
}

// waitForMemory returns with need bytes charged. Meanwhile linger is ignored everywhere (Shared.Urgent).
func (d *Dispatcher) waitForMemory(need int64) {
	if d.mustGoOn(need) {
		d.env.Budget.Force(need)
		return
	}
	place := d.env.Budget.WaitLeaving(need, d.behind(need))
	d.env.Hurry()
	for {
		select {
		case <-place.Granted():
			return
		case <-d.direct.Wake():
			// These are charged already: what they hold may be the very memory that is waited for.
			d.admitDirect(d.direct.Take(nil))
		case <-d.control.Wake():
			// It is handled when the run that is being admitted has gone.
			defer d.control.Kick()
			d.fencing = true
		case <-d.env.Outcomes.Moved():
		}
		if d.mustGoOn(need) {
			if place.Cancel() {
				d.env.Budget.Force(need)
			}
			return
		}
	}
}

// mustGoOn tells that waiting for memory would be in vain. Every undecided message frees its memory in bounded time. But
// when all are decided, only outcomes that are handed over free any, and those who are to take them may be waiting here:
// for a fence, before they read Successes; or for a place in Input, in a report or a callback. Nor does anything wait in
// a producer that was aborted, or for more than there is.
func (d *Dispatcher) mustGoOn(need int64) bool {
	switch {
	case d.forcing, need > d.env.Budget.Limit(), d.env.Aborted() != nil:
		return true
	case (d.fencing || d.env.Outcomes.Reporting()) && d.env.Fences.Idle():
		d.forcing = d.fencing // the rest of what the fence takes in need not look again
		return true
	}
	return false
}

// closedFor is why nothing is admitted any more: Close has begun, or the producer can't go on.
func (d *Dispatcher) closedFor() error {
	if d.refusing {
		return sarama.ErrShuttingDown
	}
	return d.env.Aborted()
}

// check runs the interceptors and sets what the record's bytes are to be charged with, or tells why it can't be sent.
func (d *Dispatcher) check(rec *flow.Record) error {
	for _, interceptor := range d.env.Conf.Producer.Interceptors {
		intercept(interceptor, rec.Msg)
	}
	return Charge(d.env, rec)
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

// Charge checks a message's topic and size, and sets what its bytes are to be charged with: never less than the share of
// a batch's buffer that they can come to.
func Charge(env *Env, rec *flow.Record) error {
	msg := rec.Msg
	if msg.Topic == "" {
		return fmt.Errorf("sluice: a message without a topic: %w", sarama.ErrInvalidTopic)
	}
	size, err := recordBound(msg)
	if err != nil {
		return err
	}
	if limit := env.Conf.Producer.MaxMessageBytes; size > limit {
		return fmt.Errorf("sluice: a message to topic %q: %w: %w", msg.Topic, sarama.ErrMessageSizeTooLarge,
			sarama.ConfigurationError(fmt.Sprintf("%d bytes are more than Producer.MaxMessageBytes, %d", size, limit)))
	}
	n, limit := chargeFor(size), env.Budget.Limit()
	if n+flow.RecordOverhead > limit {
		n = produceset.BufferBound(size) // it has the memory to itself, if it fits at all
	}
	if n+flow.RecordOverhead > limit || n > math.MaxInt32 {
		return fmt.Errorf("sluice: a message to topic %q of %d bytes does not fit into a buffer memory of %d bytes: %w: %w",
			msg.Topic, size, limit, flow.ErrBufferFull, sarama.ErrMessageSizeTooLarge)
	}
	rec.Charge, rec.Size = int32(n), int32(min(int64(size), n))
	return nil
}

// chargeFor adds the message itself to the buffer, as the producer holds it as long. Of small ones the buffer is rarely
// twice their size, and the rest covers it.
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
			err = fmt.Errorf("sluice: the length of a message to topic %q: its encoder panicked: %v", msg.Topic, p)
		}
	}()
	return produceset.RecordBound(msg), nil
}

// refuse decides the fate of a message that was not admitted. It is charged all the same until its outcome is handed
// over, so that a flood of refusals is bounded too.
func (d *Dispatcher) refuse(rec flow.Record, err error) {
	if size, unknown := recordBound(rec.Msg); unknown == nil {
		rec.Size = int32(min(int64(size), d.env.Budget.Limit()/4))
	}
	rec.Charge = rec.Size
	if need := int64(rec.Charge) + flow.RecordOverhead; !d.env.Budget.Try(need) {
		d.waitForMemory(need)
	}
	d.decide(rec, err)
}

func (d *Dispatcher) decide(rec flow.Record, err error) {
	rec.Fence = d.env.Fences.Accept(1)
	d.env.Outcomes.Accepted(1)
	d.env.Outcomes.Decide(&flow.Outcome{
		Topic: rec.Msg.Topic, Partition: -1, BaseOffset: flow.NoOffset, Err: err, Records: []flow.Record{rec},
	})
}

// admitDirect hands on records that their senders have charged.
func (d *Dispatcher) admitDirect(recs []flow.Record) {
	accepted := recs[:0]
	for _, rec := range recs {
		err := d.closedFor()
		if err == nil && len(d.env.Conf.Producer.Interceptors) > 0 {
			err = d.recheck(&rec)
		}
		if err != nil {
			d.decide(rec, err)
			continue
		}
		accepted = append(accepted, rec)
	}
	d.route(accepted)
}

// recheck runs the interceptors on a record that its sender has charged. They may have made it larger; there is nobody
// left to wait for the difference.
func (d *Dispatcher) recheck(rec *flow.Record) error {
	if !rec.Borrow() {
		return sarama.ErrShuttingDown // only for the accounts: it was withdrawn, and gets no outcome
	}
	defer rec.Return(false)
	before := int64(rec.Charge)
	err := d.check(rec)
	if more := int64(rec.Charge) - before; more > 0 {
		d.env.Budget.Force(more)
	} else {
		d.env.Budget.Release(-more)
	}
	return err
}

// route stamps charged records and gives them to their topics.
func (d *Dispatcher) route(recs []flow.Record) {
	if len(recs) == 0 {
		return
	}
	fence := d.env.Fences.Accept(len(recs))
	d.env.Outcomes.Accepted(len(recs))
	now := d.env.Now()
	from := 0
	for i := range recs {
		recs[i].Fence, recs[i].Born = fence, now
		if t := d.topic(recs[i].Msg.Topic); t != d.last {
			d.last.send(recs[from:i])
			d.last, from = t, i
		}
	}
	d.last.send(recs[from:])
}

func (d *Dispatcher) topic(name string) *topic {
	if d.last != nil && d.last.name == name {
		return d.last
	}
	t := d.topics[name]
	if t == nil {
		t = newTopic(d.env, name, &d.stages)
		d.topics[name] = t
		d.stages.Go(t.run)
	}
	return t
}

// handleControl answers fences, and returns true when the dispatcher is to end.
func (d *Dispatcher) handleControl() (leave bool) {
	for _, ev := range d.control.Take(nil) {
		switch ev.kind {
		case controlLeave:
			d.leave()
			close(ev.taken)
			go func() {
				d.stages.Wait()
				close(ev.done)
			}()
			leave = true
		default:
			if !leave { // else the inputs hold nothing but our own nils, which must stay there
				d.takeIn()
			}
			if ev.kind == controlClose {
				d.refusing = true
			}
			d.env.Fences.SealInto(ev.done)
			close(ev.taken)
		}
	}
	d.fencing, d.forcing = false, false
	return leave
}

// takeIn admits what both inputs and the mailbox hold at this moment.
func (d *Dispatcher) takeIn() {
	d.fencing = true
	for range len(d.InputBatch) {
		d.admit(<-d.InputBatch)
	}
	for n := len(d.Input); n > 0; n -= len(d.msgs) {
		d.msgs = d.msgs[:0]
		for range min(n, maxRun) {
			d.msgs = append(d.msgs, <-d.Input)
		}
		d.admit(d.msgs)
	}
	d.admitDirect(d.direct.Take(nil))
}

// leave makes both inputs block their senders for ever: their buffers end up full of nils, so that nothing that was
// sent lies in them. What a late sender put there meanwhile is refused.
func (d *Dispatcher) leave() {
	d.leaving = true
	d.direct.Close()
	d.admitDirect(d.direct.Take(nil))
	fill(d.Input, func(msg *sarama.ProducerMessage) {
		d.msgs = append(d.msgs[:0], msg)
		d.admit(d.msgs)
	})
	fill(d.InputBatch, d.admit)
	for _, t := range d.topics {
		t.events.Put(topicEvent{stop: true})
	}
	d.control.Close()
	for _, ev := range d.control.Take(nil) {
		d.env.Fences.SealInto(ev.done)
		close(ev.taken)
	}
}

// fill empties a channel that others may be sending to and fills its buffer with zero values, in one go without
// anything of theirs between.
func fill[T any](ch chan T, refuse func(T)) {
	var zero T
	for {
		for more := true; more; {
			select {
			case v := <-ch:
				refuse(v)
			default:
				more = false
			}
		}
		n := 0
		for more := true; more && n < cap(ch); {
			select {
			case ch <- zero:
				n++
			default:
				more = false
			}
		}
		if n == cap(ch) {
			return
		}
	}
}
