package flow

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/stats"
)

// NoOffset is the offset if the broker returned none: for acks 0, and for failures.
const NoOffset = -1

// Outcome is what became of a run of records: of a batch, or of records that failed before they were in one. Its maker owns
// it, and the run, until Decide; then the outcome stage does.
type Outcome struct {
	Topic     string
	Partition int32 // -1 if none was chosen
	// BaseOffset is the offset of the first record, or NoOffset. The others follow without a gap.
	BaseOffset int64
	// AppendTime is the broker's timestamp if the topic uses LogAppendTime; else it is zero.
	AppendTime time.Time
	// Err is nil for records that were written.
	Err     error
	Records []Record
	// Count is how many records these stand for; 0: Decide counts them.
	Count int
	// Stats counts them; nil for records that belong to no topic. Bytes are those of the batch as it was written.
	Stats *stats.Topic
	Bytes int64
	// Charged are the sums over the records, if its maker knows them. Otherwise all records are read for them.
	Charged Charged
	// Late says that the records were refused because Close had begun. WaitRead does not wait for these outcomes: senders may
	// go on for ever.
	Late bool

	stages    atomic.Int32 // how many outcome goroutines still hold it
	held      int64        // bytes that stay charged until it is handed over
	decidedAt int64        // on the producer's clock
	filled    bool         // it is written into the messages
}

// Failure is the outcome of records that are given up outside a batch's answer. partition is -1 if none was chosen.
func Failure(of *stats.Topic, topic string, partition int32, recs []Record, err error) *Outcome {
	return &Outcome{Stats: of, Topic: topic, Partition: partition, BaseOffset: NoOffset, Err: err, Records: recs}
}

// Report is what one call of a delivery report gets.
type Report struct {
	Topic      string
	Partition  int32
	BaseOffset int64
	Messages   []*sarama.ProducerMessage
	Err        error
}

// OutcomesConfig says where outcomes go.
type OutcomesConfig struct {
	ReturnSuccesses, ReturnErrors bool
	Report                        func(Report) // nil: none
	BareErrors                    bool         // users get Bare errors
	Failed                        func(error)  // called before an outcome with that error counts; nil: nobody asks
	Traced                        bool         // there is a tracer
	BufferSize                    int          // of the two channels
	Budget                        *Budget
	Barriers                      *Barriers
	Log                           *Log // may be nil
	// Stats may be nil, as may be Now, the producer's clock, and CauseOf, which sorts failures.
	Stats   *stats.Producer
	Now     func() int64
	CauseOf func(error) stats.Cause
}

// Outcomes hands outcomes to the user. Successes, Errors and reports have a goroutine and a mailbox each. So Decide never
// waits for the user, and a channel that nobody reads holds up nothing but itself.
//
// The bytes of a record's buffer are released when its outcome is decided, those of the message and the overhead when its
// outcome is handed over. So unread outcomes count against the budget.
type Outcomes struct {
	cfg       OutcomesConfig
	successes *outlet
	errors    *outlet
	reports   *outlet

	Successes chan *sarama.ProducerMessage
	Errors    chan *sarama.ProducerError

	accepted atomic.Int64  // messages whose outcome is not handed over yet, without the late ones
	late     atomic.Int64  // the same for Late outcomes
	idle     chan struct{} // signalled when one of these two falls to zero
	failures atomic.Int64  // messages that are for Errors, and not in it yet; successes don't touch it

	decided chan struct{} // signalled when an outcome is decided

	// filling is held while messages are written to. Two goroutines may have the same message, if it was sent twice.
	filling sync.Mutex
}

// NewOutcomes starts the outcome goroutines. Close ends them.
func NewOutcomes(cfg OutcomesConfig) *Outcomes {
	o := &Outcomes{
		cfg:       cfg,
		idle:      make(chan struct{}, 1),
		decided:   make(chan struct{}, 1),
		Successes: make(chan *sarama.ProducerMessage, cfg.BufferSize),
		Errors:    make(chan *sarama.ProducerError, cfg.BufferSize),
	}
	if cfg.Now == nil {
		o.cfg.Now = func() int64 { return 0 }
	}
	start := func(handle func(*Outcome), name string, unread func() int) *outlet {
		out := &outlet{clock: o.cfg.Now, box: NewMailbox[*Outcome](), stop: make(chan struct{}), ended: make(chan struct{})}
		out.watch = unreadWatch{outcomes: o, name: name, unread: unread, timer: StoppedTimer()}
		go func() {
			defer close(out.ended)
			out.run(handle)
		}()
		return out
	}
	o.successes = start(o.succeed, "Successes", func() int { return len(o.Successes) })
	o.errors = start(o.fail, "Errors", func() int { return len(o.Errors) })
	o.reports = start(o.report, "", nil)
	return o
}

// CloseReports runs the reports and callbacks that are left, and waits for them. They may still try to send, and the
// refusals go to the channels. So call Close only after this has returned.
func (o *Outcomes) CloseReports() { o.reports.close() }

// Close hands over the outcomes that are left, closes both channels and waits for the goroutines. Decide must not be
// called any more.
func (o *Outcomes) Close() {
	close(o.successes.stop)
	close(o.errors.stop)
	<-o.successes.ended
	close(o.Successes)
	<-o.errors.ended
	close(o.Errors)
}

// Accepted counts n messages that entered the pipeline, with their overhead charged.
func (o *Outcomes) Accepted(n int) { o.accepted.Add(int64(n)) }

// AcceptedLate is Accepted for messages whose outcome will be Late.
func (o *Outcomes) AcceptedLate(n int) { o.late.Add(int64(n)) }

// Buffered is how many accepted messages have no outcome yet, or one that is not handed over.
func (o *Outcomes) Buffered() int { return int(o.accepted.Load() + o.late.Load()) }

// InChannels is how many messages are in Successes and Errors, or wait for room in Errors: nobody has read them yet.
func (o *Outcomes) InChannels() int { return len(o.Successes) + o.UnreadErrors() }

// UnreadErrors is how many failures are in Errors, or wait for room there. One that is being put in may count twice.
func (o *Outcomes) UnreadErrors() int { return int(o.failures.Load()) + len(o.Errors) }

// Unread is how many messages have an outcome that is not handed over.
func (o *Outcomes) Unread() int { return max(0, o.Buffered()-int(o.cfg.Barriers.Pending())) }

// UnreadAt says where outcomes are not taken: at the channels that are full, or else by reports and callbacks.
func (o *Outcomes) UnreadAt() string {
	successes, errors := len(o.Successes) == cap(o.Successes), len(o.Errors) == cap(o.Errors)
	switch {
	case cap(o.Errors) == 0:
		return "Successes, Errors, reports or callbacks" // an unbuffered channel does not tell
	case successes && errors:
		return "Successes and Errors"
	case successes:
		return "Successes"
	case errors:
		return "Errors"
	}
	return "reports and callbacks"
}

// WaitRead returns when the user has every outcome that is not Late: it is read from its channel, or its callback or report
// has returned. Only one goroutine may call it.
func (o *Outcomes) WaitRead() {
	for o.accepted.Load() > 0 {
		<-o.idle
	}
	successes, errors := o.successes.sent.Load(), o.errors.sent.Load()
	poll(func() bool {
		return o.successes.sent.Load()-int64(len(o.Successes)) >= successes && o.errors.sent.Load()-int64(len(o.Errors)) >= errors
	})
}

// WaitEmpty returns when every outcome is read, Late ones included, or when stop returns true. Nothing may be accepted
// meanwhile.
func (o *Outcomes) WaitEmpty(stop func() bool) {
	poll(func() bool {
		return o.late.Load() == 0 && len(o.Successes) == 0 && len(o.Errors) == 0 || stop()
	})
}

// poll returns when done returns true. It is for what nobody signals, such as a read from a buffered channel.
func poll(done func() bool) {
	for pause := 50 * time.Microsecond; !done(); pause = min(2*pause, 20*time.Millisecond) {
		time.Sleep(pause)
	}
}

// Decided is signalled when an outcome was decided. The dispatcher waits on it.
func (o *Outcomes) Decided() <-chan struct{} { return o.decided }

// Decide takes the outcomes of accepted records, exactly once for each record, in order. It never blocks. It returns how
// many records have a Waiter: their senders may send again now.
func (o *Outcomes) Decide(outcomes ...*Outcome) (waiters int) {
	if len(outcomes) == 0 {
		return 0
	}
	released, held := o.count(outcomes)
	if o.cfg.Failed != nil {
		for _, oc := range outcomes {
			if oc.Err != nil {
				o.cfg.Failed(oc.Err)
			}
		}
	}
	if o.cfg.Traced {
		for _, oc := range outcomes {
			o.endTraces(oc)
		}
	}
	o.cfg.Barriers.Decided(outcomes...)
	var room [3]*Outcome // enough for a single outcome, without an allocation
	to := destinations{successes: room[0:0:1], errors: room[1:1:2], reports: room[2:2:3]}
	if len(outcomes) > 1 {
		to.successes, to.reports = make([]*Outcome, 0, len(outcomes)), make([]*Outcome, 0, len(outcomes))
	}
	for _, oc := range outcomes {
		if o.cfg.BareErrors {
			oc.Err = Bare(oc.Err)
		}
		by := o.notifyWaiters(oc)
		waiters += by.waiters
		to = o.route(oc, by, to)
	}
	o.cfg.Budget.Decided(released, held)
	o.handOn(outcomes, to)
	return waiters
}

// count counts outcomes, before anybody can know of them, and dates them. It returns what they are charged.
func (o *Outcomes) count(outcomes []*Outcome) (released, held int64) {
	now := o.cfg.Now()
	var topic *stats.Topic // of the outcomes that are summed up
	var acked stats.Amount
	var ackedPayload int64
	for _, oc := range outcomes {
		oc.decidedAt = now
		if oc.Stats == nil {
			oc.Stats = o.cfg.Stats.Rest()
		}
		sums := oc.Charged
		if !sums.Known {
			sums = ChargedTo(oc.Records)
		}
		if oc.Count == 0 {
			oc.Count = CountOf(oc.Records)
		}
		records, payload := int64(oc.Count), sums.Size
		oc.held = payload + int64(len(oc.Records))*RecordOverhead
		released, held = released+sums.Charge-sums.Size, held+oc.held
		if oc.Err != nil {
			oc.Stats.Failed(stats.Amount{Records: records, Bytes: payload}, o.causeOf(oc.Err), errors.Is(oc.Err, ErrOutcomeUnknown))
			continue
		}
		if oc.Stats != topic && acked.Records > 0 {
			topic.Acknowledged(acked, ackedPayload)
			acked, ackedPayload = stats.Amount{}, 0
		}
		topic = oc.Stats
		acked.Records += records
		acked.Bytes += oc.Bytes
		ackedPayload += payload
	}
	if acked.Records > 0 {
		topic.Acknowledged(acked, ackedPayload)
	}
	return released, held
}

func (o *Outcomes) causeOf(err error) stats.Cause {
	if o.cfg.CauseOf == nil {
		return stats.Other
	}
	return o.cfg.CauseOf(err)
}

// destinations collects the outcomes of one Decide for each goroutine, so that its mailbox is locked once.
type destinations struct{ successes, errors, reports []*Outcome }

// byWay counts the records of an outcome by the way they came in.
type byWay struct{ inputs, waiters, callbacks int }

// endTraces tells the tracer an outcome, before a Flush or a sender hears of it. If a sender has withdrawn its message, it has told
// the tracer itself.
func (o *Outcomes) endTraces(oc *Outcome) {
	for i := range oc.Records {
		rec := &oc.Records[i]
		if rec.Completion != nil && rec.EndWithdrawal() {
			rec.Completion.EndTrace(o.cfg.Log, oc.Topic, oc.Partition, oc.offset(i), oc.Err)
		}
	}
}

// notifyWaiters hands the outcome to the senders that wait for it, and counts the others.
func (o *Outcomes) notifyWaiters(oc *Outcome) (by byWay) {
	for recs := oc.Records; len(recs) > 0; {
		completion, n := recs[0].Completion, 1
		switch {
		case completion == nil:
			by.inputs++
		case completion.Waiter != nil:
			for n < len(recs) && recs[n].Completion == completion {
				n++
			}
			by.waiters += n
			if recs[0].EndWithdrawal() {
				first := len(oc.Records) - len(recs)
				completion.Waiter.Outcome(recs[:n], oc.Partition, oc.offset(first), oc.AppendTime, oc.Err)
			}
		case completion.Done != nil:
			by.callbacks++
		default: // of a tracer
			by.inputs++
		}
		recs = recs[n:]
	}
	return by
}

// route adds the outcome to its destinations. These are passed by value so that they stay on the stack.
func (o *Outcomes) route(oc *Outcome, by byWay, to destinations) destinations {
	inChannel := by.inputs > 0 && o.wanted(oc.Err)
	inReport := by.callbacks > 0 || by.inputs > 0 && o.cfg.Report != nil
	if inChannel && inReport {
		// Both goroutines hand the same messages over. So they must be filled before either can.
		o.fill(oc)
	}
	var stages int32
	if inReport {
		stages++
		to.reports = append(to.reports, oc)
	}
	switch {
	case !inChannel:
	case oc.Err != nil:
		stages++
		to.errors = append(to.errors, oc)
		if o.cfg.ReturnErrors {
			o.failures.Add(int64(by.inputs))
		}
	default:
		stages++
		to.successes = append(to.successes, oc)
	}
	oc.stages.Store(stages)
	return to
}

// wanted tells whether an outcome with that error goes to Successes, to Errors, or to the log in place of Errors.
func (o *Outcomes) wanted(err error) bool {
	if err != nil {
		return o.cfg.ReturnErrors || o.cfg.Report == nil
	}
	return o.cfg.ReturnSuccesses
}

// handOn gives the outcomes to their goroutines, and ends those that go to none.
func (o *Outcomes) handOn(outcomes []*Outcome, to destinations) {
	for _, oc := range outcomes {
		if oc.stages.Load() == 0 {
			o.release(oc)
		}
	}
	o.reports.box.Put(to.reports...)
	o.successes.box.Put(to.successes...)
	o.errors.box.Put(to.errors...)
	signal(o.decided)
}

func (oc *Outcome) offset(i int) int64 { return OffsetBehind(oc.BaseOffset, i) }

// OffsetBehind is the offset of the record n places after the one at base. It is NoOffset if base is.
func OffsetBehind(base int64, n int) int64 {
	if base < 0 {
		return NoOffset
	}
	return base + int64(n)
}

// fill writes the outcome into its messages, once, before anybody gets them. A Waiter's sender writes into its message
// itself.
func (o *Outcomes) fill(oc *Outcome) {
	if oc.filled {
		return
	}
	oc.filled = true
	o.filling.Lock()
	defer o.filling.Unlock()
	for i := range oc.Records {
		rec := &oc.Records[i]
		if rec.Completion != nil && rec.Completion.Waiter != nil {
			continue
		}
		Fill(rec.Msg, oc.Partition, oc.offset(i), oc.AppendTime, oc.Err)
	}
}

// Fill writes an outcome into a message, as sarama does: the partition if one was chosen, the offset if it succeeded, the
// timestamp if the broker set it. It writes the partition only if it differs: if the same message was sent twice, a
// partitioner or an encoder may be reading it now.
func Fill(msg *sarama.ProducerMessage, partition int32, offset int64, timestamp time.Time, err error) {
	if partition >= 0 && msg.Partition != partition {
		msg.Partition = partition
	}
	if err != nil {
		return
	}
	msg.Offset = offset
	if !timestamp.IsZero() {
		msg.Timestamp = timestamp
	}
}
