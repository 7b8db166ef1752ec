package flow

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// NoOffset is the offset of a message whose offset Kafka did not tell.
const NoOffset = -1

// Outcome is the fate of a run of records: one batch, or records that were refused before they were in one. Who makes
// it owns it until Decide; then the outcome stage does.
type Outcome struct {
	Topic     string
	Partition int32 // -1 if none was chosen
	// BaseOffset is the first record's offset in the log; the others follow. -1 if it is not known.
	BaseOffset int64
	// AppendTime is the broker's timestamp if the topic uses LogAppendTime, else zero.
	AppendTime time.Time
	// Err is nil for records that were written.
	Err     error
	Records []Record
	// Late says that the records were refused because Close had begun: Close does not wait for their readers in the same
	// way, as their senders may never pause.
	Late bool

	stages atomic.Int32 // how many outcome goroutines still hold it
	held   int64        // what stays charged until it is handed over
	filled bool         // written before it was handed to them
}

// Report is one call of a delivery report.
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
	BareErrors                    bool         // see Bare
	BufferSize                    int          // of the two channels
	Budget                        *Budget
	Barriers                      *Barriers
}

// Outcomes hands fates to the user. Successes, Errors and reports have a goroutine and a mailbox each: nobody who
// decides a fate ever waits for the user, and a channel that is not read holds up nothing but itself.
//
// What is charged for a record's buffer is released when its fate is decided; the message itself and the overhead when
// its outcome is handed over, so that outcomes that nobody reads count against the budget too.
type Outcomes struct {
	cfg       OutcomesConfig
	successes *outlet
	errors    *outlet
	reports   *outlet

	Successes chan *sarama.ProducerMessage
	Errors    chan *sarama.ProducerError

	accepted atomic.Int64  // messages without an outcome that is handed over
	late     atomic.Int64  // the same, of those that were refused because Close had begun
	idle     chan struct{} // signalled when one of them falls to zero

	decided chan struct{} // signalled when a fate is decided

	// writeBack lets one goroutine at a time write into messages: the same message may have been sent twice.
	writeBack sync.Mutex
}

// outlet is one outcome goroutine's mailbox and its end.
type outlet struct {
	box   *Mailbox[*Outcome]
	sent  atomic.Int64  // messages put into its channel, counted once an outcome is there whole
	stop  chan struct{} // closed to finish what is in the mailbox and then end
	ended chan struct{} // closed by the goroutine, last
}

func (out *outlet) close() {
	close(out.stop)
	<-out.ended
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
	start := func(handle func(*Outcome)) *outlet {
		out := &outlet{box: NewMailbox[*Outcome](), stop: make(chan struct{}), ended: make(chan struct{})}
		go func() {
			defer close(out.ended)
			out.run(handle)
		}()
		return out
	}
	o.successes = start(o.succeed)
	o.errors = start(o.fail)
	o.reports = start(o.report)
	return o
}

// CloseReports hands over what reports and callbacks are left and waits for them. They may still send where that is refused
// with an outcome of its own, so the channels must be open until this returns.
func (o *Outcomes) CloseReports() { o.reports.close() }

// Close hands over what is left, closes both channels and waits for the goroutines. Nothing may be decided after it is
// called.
func (o *Outcomes) Close() {
	close(o.successes.stop)
	close(o.errors.stop)
	<-o.successes.ended
	close(o.Successes)
	<-o.errors.ended
	close(o.Errors)
}

func (out *outlet) run(handle func(*Outcome)) {
	var run []*Outcome
	for {
		select {
		case <-out.box.Wake():
		case <-out.stop:
			for run = out.box.Take(run); len(run) > 0; run = out.box.Take(Spare(run)) {
				for _, oc := range run {
					handle(oc)
				}
			}
			return
		}
		run = out.box.Take(run)
		for _, oc := range run {
			handle(oc)
		}
		run = Spare(run)
	}
}

// Accepted counts n messages that entered the pipeline, with their overhead charged.
func (o *Outcomes) Accepted(n int) { o.accepted.Add(int64(n)) }

// AcceptedLate is Accepted for messages whose outcome is Late.
func (o *Outcomes) AcceptedLate(n int) { o.late.Add(int64(n)) }

// Buffered is how many messages are accepted and without an outcome.
func (o *Outcomes) Buffered() int { return int(o.accepted.Load() + o.late.Load()) }

// Unread is how many of these have their fate, and an outcome that is not handed over.
func (o *Outcomes) Unread() int { return max(0, o.Buffered()-int(o.cfg.Barriers.Pending())) }

// WaitRead returns when the user has every outcome that is not late: read from its channel, or its callback or report has
// returned. For that all fates must be decided. One goroutine calls it.
func (o *Outcomes) WaitRead() {
	for o.accepted.Load() > 0 {
		<-o.idle
	}
	successes, errors := o.successes.sent.Load(), o.errors.sent.Load()
	poll(func() bool {
		return o.successes.sent.Load()-int64(len(o.Successes)) >= successes && o.errors.sent.Load()-int64(len(o.Errors)) >= errors
	})
}

// WaitEmpty returns when every outcome is read, late ones included, or when stop tells it to give up. Nothing may be
// accepted meanwhile.
func (o *Outcomes) WaitEmpty(stop func() bool) {
	poll(func() bool {
		return o.late.Load() == 0 && len(o.Successes) == 0 && len(o.Errors) == 0 || stop()
	})
}

// poll returns when done says so. It is for what nobody signals: that a buffered channel was read.
func poll(done func() bool) {
	for pause := 50 * time.Microsecond; !done(); pause = min(2*pause, 20*time.Millisecond) {
		time.Sleep(pause)
	}
}

// Decided is signalled when it may have become true that all fates are decided. For the dispatcher.
func (o *Outcomes) Decided() <-chan struct{} { return o.decided }

// Decide takes the fates of accepted records, exactly once for each, in their order. It never blocks. It returns how
// many of the records have a waiter: their senders may send again now.
func (o *Outcomes) Decide(fates ...*Outcome) (told int) {
	if len(fates) == 0 {
		return 0
	}
	o.cfg.Barriers.Decided(fates...)
	var released, held int64
	var few [3]*Outcome
	successes, errors, reports := few[0:0:1], few[1:1:2], few[2:2:3]
	if len(fates) > 1 {
		successes, reports = make([]*Outcome, 0, len(fates)), make([]*Outcome, 0, len(fates))
	}
	for _, oc := range fates {
		if o.cfg.BareErrors {
			oc.Err = Bare(oc.Err)
		}
		var buffers int64
		buffers, oc.held = Charges(oc.Records)
		released, held = released+buffers, held+oc.held
		channel, waited := o.waiter(oc)
		calls := channel+waited < len(oc.Records)
		told += waited
		wanted := o.cfg.ReturnSuccesses
		if oc.Err != nil {
			wanted = o.cfg.ReturnErrors || o.cfg.Report == nil
		}
		wanted = wanted && channel > 0
		reported := calls || (o.cfg.Report != nil && channel > 0)
		if wanted && reported {
			// Both goroutines hand the same messages over, so they are written before either can.
			o.fill(oc)
			oc.filled = true
		}
		var stages int32
		if reported {
			reports = append(reports, oc)
			stages++
		}
		if wanted {
			stages++
			if oc.Err != nil {
				errors = append(errors, oc)
			} else {
				successes = append(successes, oc)
			}
		}
		oc.stages.Store(stages)
	}
	o.cfg.Budget.Decided(released, held)
	for _, oc := range fates {
		if oc.stages.Load() == 0 {
			o.done(oc)
		}
	}
	o.reports.box.Put(reports...)
	o.successes.box.Put(successes...)
	o.errors.box.Put(errors...)
	select {
	case o.decided <- struct{}{}:
	default:
	}
	return told
}

// waiter tells the senders that wait for an outcome. It returns how many records came through the inputs, and how many
// have a waiter; the others have a callback.
func (o *Outcomes) waiter(oc *Outcome) (channel, waited int) {
	for recs := oc.Records; len(recs) > 0; {
		first, n := &recs[0], 1
		switch {
		case first.Completion == nil:
			channel++
		case first.Completion.Waiter != nil:
			for n < len(recs) && recs[n].Completion == first.Completion {
				n++
			}
			if first.Take() {
				first.Completion.Waiter.Outcome(recs[:n], oc.Partition, oc.offset(len(oc.Records)-len(recs)), oc.AppendTime, oc.Err)
			}
			waited += n
		}
		recs = recs[n:]
	}
	return channel, waited
}

func (oc *Outcome) offset(i int) int64 { return OffsetBehind(oc.BaseOffset, i) }

// OffsetBehind is the offset of the record that stands n behind the one at base; NoOffset if that is not known.
func OffsetBehind(base int64, n int) int64 {
	if base < 0 {
		return NoOffset
	}
	return base + int64(n)
}

// fill writes the outcome into the messages, whose outcome nobody has yet. It writes only what differs: a message that
// was sent twice may be read by a partitioner or an encoder at this moment.
func (o *Outcomes) fill(oc *Outcome) {
	o.writeBack.Lock()
	defer o.writeBack.Unlock()
	for i := range oc.Records {
		rec := &oc.Records[i]
		if rec.Completion != nil && rec.Completion.Waiter != nil {
			continue // the waiter tells its sender, who writes
		}
		Fill(rec.Msg, oc.Partition, oc.offset(i), oc.AppendTime, oc.Err)
	}
}

// Fill writes an outcome into a message, as sarama does: the partition once it is chosen, the offset with success, the
// timestamp only where the log's own was used.
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

func (o *Outcomes) succeed(oc *Outcome) {
	if !oc.filled {
		o.fill(oc)
	}
	sent := 0
	for i := range oc.Records {
		if oc.Records[i].Completion == nil {
			o.Successes <- oc.Records[i].Msg
			sent++
		}
	}
	o.successes.sent.Add(int64(sent))
	o.done(oc)
}

// fail hands failures to Errors. Where the user asks for neither these nor reports, they are logged, as in sarama.
func (o *Outcomes) fail(oc *Outcome) {
	if !oc.filled {
		o.fill(oc)
	}
	sent := 0
	for i := range oc.Records {
		if oc.Records[i].Completion != nil {
			continue
		}
		failure := &sarama.ProducerError{Msg: oc.Records[i].Msg, Err: oc.Err}
		if o.cfg.ReturnErrors {
			o.Errors <- failure
			sent++
		} else {
			sarama.Logger.Println(failure)
		}
	}
	o.errors.sent.Add(int64(sent))
	o.done(oc)
}

// done lets go of the outcome for one goroutine; the last one releases its charge and gives its run back.
func (o *Outcomes) done(oc *Outcome) {
	if oc.stages.Add(-1) > 0 {
		return
	}
	n := len(oc.Records)
	waiting := &o.accepted
	if oc.Late {
		waiting = &o.late
	}
	if waiting.Add(int64(-n)) == 0 {
		select {
		case o.idle <- struct{}{}:
		default:
		}
	}
	o.cfg.Budget.Taken(oc.held)
	PutRun(oc.Records)
	oc.Records = nil
}
