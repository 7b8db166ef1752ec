package dispatch

import (
	"context"
	"runtime"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// maxRun is how many messages the dispatcher takes from Input at once, at most.
const maxRun = 512

// drainBytes is the same in bytes, by the mean size of the last run. What is taken may have to wait for memory, not charged
// yet, while Input's buffer fills again.
const drainBytes = 1 << 20

// batchesBuffered is how many slices fit into InputBatch, at most. What is in them is not charged yet.
const batchesBuffered = 16

// Dispatcher is the goroutine behind the inputs. All messages enter here: it runs the interceptors, refuses what can't be
// sent, charges the memory budget and counts for the flush barriers. No other stage waits for memory.
//
// This file has the inputs and the way to the topics; charge.go has what a message is charged and the wait for memory;
// control.go has flush barriers and the end. Methods run on the dispatcher's goroutine unless they say otherwise.
type Dispatcher struct {
	deps *Deps

	// Input and InputBatch are the user's ends. CloseInputs closes them.
	Input      chan *sarama.ProducerMessage
	InputBatch chan []*sarama.ProducerMessage
	// direct takes records of Produce and of the SyncProducer, which have charged them.
	direct *flow.Mailbox[flow.Record]
	// control takes requests; it is served also while the dispatcher waits for memory.
	control *flow.Mailbox[controlEvent]

	topics     map[string]*topicSlot
	idle       idleTopics                     // forget.go
	last       *topicSlot                     // the last one that was looked up
	stages     sync.WaitGroup                 // topics and partition producers
	refusing   bool                           // Close has begun, and all that came before it is admitted
	txnOpen    bool                           // a transaction is open
	input      chan *sarama.ProducerMessage   // Input; nil after StopInputs
	inputBatch chan []*sarama.ProducerMessage // InputBatch; nil after StopInputs
	atBarrier  bool                           // a request waits for the inputs to be taken in: see mustGoOn
	forcing    bool                           // take them in beyond the budget

	mean     int64 // what a message of the last run was charged, on average
	mayDrain int   // how many of that size make drainBytes, at most maxRun

	msgs  []*sarama.ProducerMessage // scratch: what was drained from Input
	parts []*topicSlot              // scratch: the topics that get a part of a run

	runCache flow.RunCache
}

// topicSlot is a topic, and its part of the run that is being divided.
type topicSlot struct {
	*topic
	part      []flow.Record
	partBytes int64  // the sum of their Size
	putRuns   uint64 // how many runs the topic was given
}

// put gives the topic a run.
func (t *topicSlot) put(run []flow.Record) {
	t.putRuns++
	t.runs.Put(run)
}

// NewDispatcher makes the dispatcher; Run is its goroutine.
func NewDispatcher(deps *Deps) *Dispatcher {
	size := deps.Conf.ChannelBufferSize
	return &Dispatcher{
		deps:       deps,
		Input:      make(chan *sarama.ProducerMessage, size),
		InputBatch: make(chan []*sarama.ProducerMessage, min(size, batchesBuffered)),

		direct:  flow.NewMailbox[flow.Record](),
		control: flow.NewMailbox[controlEvent](),
		topics:  make(map[string]*topicSlot),
		idle: idleTopics{
			requests: flow.NewMailbox[idleRequest](),
			leaving:  make(map[string]bool), kept: make(map[string][]keptSequence), identity: txn.None,
		},
		mayDrain: 1, // until there is a mean
	}
}

// Direct takes records whose Charge and overhead the sender has charged. It returns false if the dispatcher takes no more;
// then the sender must release the charge. Any goroutine may call it.
func (d *Dispatcher) Direct(recs ...flow.Record) bool { return d.direct.Put(recs...) }

// Run is the dispatcher's goroutine. It ends after Leave.
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
				// Other messages are under way. Senders whose outcomes came together send again now: let them put their
				// messages here, to go as one run. The loop of a broker producer does the same.
				runtime.Gosched()
			}
			direct = d.direct.Take(direct)
			d.admitDirect(direct)
			direct = flow.Spare(direct)
		case <-d.idle.requests.Wake():
			d.handleIdle()
		case <-d.control.Wake():
			if d.handleControl() {
				return
			}
		}
	}
}

// drain takes what already waits in Input after the first message.
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

// admit makes records of messages, charges them and sends them on.
func (d *Dispatcher) admit(msgs []*sarama.ProducerMessage) {
	for len(msgs) > 0 {
		part := msgs[:min(len(msgs), maxRun)]
		msgs = msgs[len(part):]
		run := d.runCache.Get(len(part))
		var need int64
		for _, msg := range part {
			if msg == nil {
				d.deps.Log.Println("sluice: a nil message was sent, it is ignored")
				d.deps.Log.Event(flow.NilMessage, "")
				continue
			}
			rec := flow.Record{Msg: msg, Partition: -1}
			if d.deps.Tracer != nil {
				d.trace(&rec)
			}
			if cause := d.closedFor(); cause != nil {
				d.refuse(rec, cause)
				continue
			}
			if err := d.interceptAndPrice(&rec); err != nil {
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

// trace tells the tracer of a message from the inputs. Those of calls it has heard of by their senders.
func (d *Dispatcher) trace(rec *flow.Record) {
	if end := d.deps.Trace(context.Background(), rec.Msg); end != nil {
		rec.Completion = &flow.Completion{End: end}
	}
}

// closedFor is why nothing is admitted, or nil: Close has begun, the producer was aborted, or a transactional producer has no
// transaction in which messages can be sent.
func (d *Dispatcher) closedFor() error {
	if d.refusing {
		return sarama.ErrShuttingDown
	}
	if err := d.deps.Aborted(); err != nil || !d.deps.Transactional {
		return err
	}
	if !d.txnOpen {
		return flow.Errorf("a message outside a transaction: %w", flow.External(sarama.ErrTransactionNotReady))
	}
	if cause := d.deps.Stopped(); cause != nil {
		return flow.Errorf("%w: %w", flow.External(sarama.ErrTransactionNotReady), cause)
	}
	return nil
}

// refuse lets a message fail that is not admitted. It is charged until its outcome is handed over, so that a flood of
// refusals is bounded too.
func (d *Dispatcher) refuse(rec flow.Record, err error) {
	if size, unknown := recordBound(rec.Msg); unknown == nil {
		rec.Size = int32(min(int64(size), d.deps.Budget.Limit()/4))
	}
	rec.Charge = rec.Size
	if need := int64(rec.Charge) + flow.RecordOverhead; !d.deps.Budget.Try(need) {
		d.waitForMemory(need)
	}
	d.fail(rec, err)
}

// fail decides a charged record that is not sent on.
func (d *Dispatcher) fail(rec flow.Record, err error) {
	n := rec.Count()
	rec.Barrier = d.deps.Barriers.Accept(n)
	of := d.deps.Stats.TopicOrRest(rec.Msg.Topic)
	of.Accepted(int64(n), int64(rec.Size))
	if d.refusing {
		d.deps.Outcomes.AcceptedLate(n)
	} else {
		d.deps.Outcomes.Accepted(n)
	}
	oc := flow.Failure(of, rec.Msg.Topic, -1, []flow.Record{rec}, err)
	oc.Late = d.refusing
	d.deps.Outcomes.Decide(oc)
}

// admitDirect sends on records that their senders have charged.
func (d *Dispatcher) admitDirect(recs []flow.Record) {
	closed := d.closedFor()
	accepted := recs[:0]
	for _, rec := range recs {
		err := closed
		if err == nil && rec.Sealed() != nil && rec.Completion.Stale != nil && rec.Completion.Stale() {
			err = flow.Errorf("the transaction of the record has ended: %w", flow.External(sarama.ErrTransactionNotReady))
		}
		if err == nil && len(d.deps.Conf.Producer.Interceptors) > 0 && rec.Sealed() == nil {
			err = d.interceptCharged(&rec)
		}
		if err != nil {
			d.fail(rec, err)
			continue
		}
		accepted = append(accepted, rec)
	}
	d.route(d.copyRun(accepted))
}

// interceptCharged runs the interceptors on a record that its sender has charged. If they make it larger, the difference
// is charged without waiting: the sender has done its waiting.
func (d *Dispatcher) interceptCharged(rec *flow.Record) error {
	if !rec.BeginRead() {
		return flow.ErrWithdrawn
	}
	defer rec.EndRead(false)
	before := int64(rec.Charge)
	err := d.interceptAndPrice(rec)
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

// route counts and dates a run of charged records, and gives it to their topics. The run is theirs from then on.
func (d *Dispatcher) route(run []flow.Record) {
	if len(run) == 0 {
		d.runCache.Put(run)
		return
	}
	now, count := d.deps.Now(), len(run)
	barrier := d.deps.Barriers.Accept(count)
	t, same := d.topic(run[0].Msg.Topic), true
	var bytes int64
	for i := range run {
		rec := &run[i]
		rec.Barrier = barrier
		if rec.Born == 0 { // else it was accepted as an Appender took its first record
			rec.Born = now
		}
		if rec.Completion != nil {
			count += rec.Count() - 1
		}
		bytes += int64(rec.Size)
		same = same && rec.Msg.Topic == t.name
	}
	if more := count - len(run); more != 0 { // some stand for a batch
		d.deps.Barriers.Accept(more)
	}
	d.deps.Outcomes.Accepted(count)
	if same {
		t.stats.Accepted(int64(count), bytes)
		t.put(run)
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
		t.partBytes += int64(run[i].Size)
	}
	d.runCache.Put(run)
	for i, t := range d.parts {
		t.stats.Accepted(int64(flow.CountOf(t.part)), t.partBytes)
		t.put(t.part)
		t.part, t.partBytes = nil, 0 // the topic's
		d.parts[i] = nil
	}
	d.parts = d.parts[:0]
}

// topic finds a topic, and starts it at its first record.
func (d *Dispatcher) topic(name string) *topicSlot {
	if d.last != nil && d.last.name == name {
		return d.last
	}
	t := d.topics[name]
	if t == nil {
		t = &topicSlot{topic: newTopic(d.deps, name, &d.stages)}
		t.idle = d.idle.requests
		d.topics[name] = t
		d.start(t)
	}
	d.last = t
	return t
}
