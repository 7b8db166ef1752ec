package dispatch

import (
	"runtime"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// maxRun bounds how many messages the dispatcher drains from an input before it hands them on.
const maxRun = 512

// drainBytes bounds the same in bytes, by the measure of the last run: what is drained has left Input, whose buffer
// fills again, and may wait for memory uncharged.
const drainBytes = 1 << 20

// batchesBuffered is how many slices wait in InputBatch: what is in them is not charged yet.
const batchesBuffered = 16

// Dispatcher is the goroutine behind the inputs. It is the one place where messages enter: it runs the interceptors,
// refuses what can't be sent, charges the memory budget, and counts for the barriers. It alone waits for memory.
//
// This file is the goroutine: inputs, admission, routing. What a message is charged with, and the waiting for it, is in
// charge.go; barriers and the end are in control.go. All of it runs on the goroutine but the methods that say otherwise.
type Dispatcher struct {
	deps *Deps

	// Input and InputBatch are the user's ends. CloseInputs closes them.
	Input      chan *sarama.ProducerMessage
	InputBatch chan []*sarama.ProducerMessage
	// direct takes charged records of Produce and of the SyncProducer.
	direct *flow.Mailbox[flow.Record]
	// control takes barriers and the end; it passes while the dispatcher waits for memory.
	control *flow.Mailbox[controlEvent]

	topics     map[string]*topicSlot
	last       *topicSlot                     // of the last record
	stages     sync.WaitGroup                 // topics and partition producers
	refusing   bool                           // Close has begun, and what came before it is in
	input      chan *sarama.ProducerMessage   // Input; nil once nothing more is taken from it
	inputBatch chan []*sarama.ProducerMessage // InputBatch, likewise
	atBarrier  bool                           // a flush barrier is being drawn: see mustGoOn
	forcing    bool                           // it has to be drawn beyond the budget

	mean     int64 // what a message of the last run was charged with
	mayDrain int   // how many of these come to drainBytes, at most maxRun

	msgs  []*sarama.ProducerMessage // scratch: a drained run
	parts []*topicSlot              // scratch: those that get a part of it

	runCache flow.RunCache
}

// topicSlot is a topic with its part of the run that is being divided.
type topicSlot struct {
	*topic
	part []flow.Record
}

// NewDispatcher makes the dispatcher; Run is its goroutine.
func NewDispatcher(deps *Deps) *Dispatcher {
	size := deps.Conf.ChannelBufferSize
	return &Dispatcher{
		deps:       deps,
		Input:      make(chan *sarama.ProducerMessage, size),
		InputBatch: make(chan []*sarama.ProducerMessage, min(size, batchesBuffered)),

		direct:   flow.NewMailbox[flow.Record](),
		control:  flow.NewMailbox[controlEvent](),
		topics:   make(map[string]*topicSlot),
		mayDrain: 1, // until a run was measured
	}
}

// Direct passes on a record whose charge and overhead its sender has charged. It returns false if the dispatcher has
// left: then the charge is the sender's to release.
func (d *Dispatcher) Direct(recs ...flow.Record) bool { return d.direct.Put(recs...) }

// Run ends after Leave.
func (d *Dispatcher) Run() {
	d.input, d.inputBatch = d.Input, d.InputBatch
	var direct []flow.Record
	for {
		select {
		case msg := <-d.input:
			d.admit(d.drain(msg))
			clear(d.msgs)
		case msgs := <-d.inputBatch:
			d.admit(msgs)
		case <-d.direct.Wake():
			if d.deps.Outcomes.Buffered() > 1 {
				// Others are under way: those senders that were told together put theirs here first, to go as one run. The
				// loop of a broker does the same.
				runtime.Gosched()
			}
			direct = d.direct.Take(direct)
			d.admitDirect(direct)
			direct = flow.Spare(direct)
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
		part := msgs[:min(len(msgs), maxRun)]
		msgs = msgs[len(part):]
		run := d.runCache.Get(len(part))
		var need int64
		for _, msg := range part {
			if msg == nil {
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
			run = append(run, rec)
		}
		if len(run) > 0 {
			d.mean = need / int64(len(run))
			d.mayDrain = int(min(max(drainBytes/d.mean, 1), maxRun))
		}
		if d.take(need) {
			d.route(run)
		} else {
			d.routeAsMemoryAllows(run)
		}
	}
}

// closedFor is why nothing is admitted any more: Close has begun, or the producer can't go on.
func (d *Dispatcher) closedFor() error {
	if d.refusing {
		return sarama.ErrShuttingDown
	}
	return d.deps.Aborted()
}

// refuse decides the fate of a message that was not admitted. It is charged all the same until its outcome is handed
// over, so that a flood of refusals is bounded too.
func (d *Dispatcher) refuse(rec flow.Record, err error) {
	if size, unknown := recordBound(rec.Msg); unknown == nil {
		rec.Size = int32(min(int64(size), d.deps.Budget.Limit()/4))
	}
	rec.Charge = rec.Size
	if need := int64(rec.Charge) + flow.RecordOverhead; !d.deps.Budget.Try(need) {
		d.waitForMemory(need)
	}
	d.decide(rec, err)
}

func (d *Dispatcher) decide(rec flow.Record, err error) {
	rec.Barrier = d.deps.Barriers.Accept(1)
	if d.refusing {
		d.deps.Outcomes.AcceptedLate(1)
	} else {
		d.deps.Outcomes.Accepted(1)
	}
	d.deps.Outcomes.Decide(&flow.Outcome{
		Topic: rec.Msg.Topic, Partition: -1, BaseOffset: flow.NoOffset, Err: err, Records: []flow.Record{rec}, Late: d.refusing,
	})
}

// admitDirect hands on records that their senders have charged.
func (d *Dispatcher) admitDirect(recs []flow.Record) {
	closed := d.closedFor()
	accepted := recs[:0]
	for _, rec := range recs {
		err := closed
		if err == nil && len(d.deps.Conf.Producer.Interceptors) > 0 {
			err = d.recheck(&rec)
		}
		if err != nil {
			d.decide(rec, err)
			continue
		}
		accepted = append(accepted, rec)
	}
	d.route(d.copyRun(accepted))
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
		d.deps.Budget.Force(more)
	} else {
		d.deps.Budget.Release(-more)
	}
	return err
}

func (d *Dispatcher) copyRun(recs []flow.Record) []flow.Record {
	return append(d.runCache.Get(len(recs)), recs...)
}

// route stamps a run of charged records and passes it on. The run is route's.
func (d *Dispatcher) route(run []flow.Record) {
	if len(run) == 0 {
		d.runCache.Put(run)
		return
	}
	barrier := d.deps.Barriers.Accept(len(run))
	d.deps.Outcomes.Accepted(len(run))
	now := d.deps.Now()
	t, same := d.topic(run[0].Msg.Topic), true
	for i := range run {
		rec := &run[i]
		rec.Barrier, rec.Born = barrier, now
		same = same && rec.Msg.Topic == t.name
	}
	if same {
		t.runs.Put(run)
		return
	}
	d.scatter(run)
}

// scatter gives each topic its part of a run.
func (d *Dispatcher) scatter(run []flow.Record) {
	for i := range run {
		t := d.topic(run[i].Msg.Topic)
		if t.part == nil {
			d.parts = append(d.parts, t)
			t.part = d.runCache.Get(1)
		}
		t.part = append(flow.Grow(t.part), run[i])
	}
	d.runCache.Put(run)
	for i, t := range d.parts {
		t.runs.Put(t.part)
		t.part = nil // the topic's
		d.parts[i] = nil
	}
	d.parts = d.parts[:0]
}

// topic finds a topic's stage, and starts it at the first record.
func (d *Dispatcher) topic(name string) *topicSlot {
	if d.last != nil && d.last.name == name {
		return d.last
	}
	t := d.topics[name]
	if t == nil {
		t = &topicSlot{topic: newTopic(d.deps, name, &d.stages)}
		d.topics[name] = t
		d.stages.Go(t.run)
	}
	d.last = t
	return t
}
