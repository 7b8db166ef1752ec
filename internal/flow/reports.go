package flow

import (
	"bytes"
	"runtime"
	"strconv"
	"sync/atomic"

	"github.com/IBM/sarama"
)

// report runs delivery reports and callbacks: the user's code, on the reports goroutine.
func (o *Outcomes) report(oc *Outcome) {
	if o.reporter.Load() == 0 {
		o.reporter.Store(goroutineID())
	}
	if !oc.filled {
		o.fill(oc)
	}
	o.reporting.Store(true)
	o.move()
	o.tell(oc)
	o.reporting.Store(false)
	o.done(oc)
}

// tell runs the user's code.
func (o *Outcomes) tell(oc *Outcome) {
	if o.cfg.Report == nil {
		o.callBack(oc)
		return
	}
	msgs := make([]*sarama.ProducerMessage, 0, len(oc.Records))
	base := int64(NoOffset)
	for i := range oc.Records {
		if oc.Records[i].Call == nil {
			if len(msgs) == 0 {
				base = oc.offset(i)
			}
			msgs = append(msgs, oc.Records[i].Msg)
		}
	}
	if len(msgs) < len(oc.Records) {
		o.callBack(oc)
	}
	if len(msgs) > 0 {
		Guard(func() {
			o.cfg.Report(Report{Topic: oc.Topic, Partition: oc.Partition, BaseOffset: base, Messages: msgs, Err: oc.Err})
		})
	}
}

// Reporting tells whether a report or a callback runs. It may be waiting to send: if nothing else can free memory,
// what it sends must not wait for any.
func (o *Outcomes) Reporting() bool { return o.reporting.Load() }

// suspicion is about reports: one may be waiting for a place in an input.
type suspicion struct {
	until  atomic.Int64  // on the producer's clock; 0: there is none
	number atomic.Uint64 // how many there were
	known  uint64        // the reports goroutine's: of which it was told
}

// Suspect says that until that time a report that asks for an input is to be told apart from others who do: by
// SuspectAsks. The dispatcher calls it.
func (o *Outcomes) Suspect(until, now int64) {
	if o.suspicion.until.Swap(until) < now {
		o.suspicion.number.Add(1)
	}
}

// Suspicious tells that whoever asks for an input is to call SuspectAsks, which takes a microsecond.
func (o *Outcomes) Suspicious() bool { return o.suspicion.until.Load() != 0 && o.reporting.Load() }

// SuspectAsks tells whether the caller is the reports goroutine, and a report is suspected; and whether that is new to it. A
// report that asks again and again stays suspected for as long as renewed says.
func (o *Outcomes) SuspectAsks(now, renewed int64) (yes, first bool) {
	s := &o.suspicion
	until := s.until.Load()
	if until < now {
		s.until.CompareAndSwap(until, 0) // nobody need look
		return false, false
	}
	if until == 0 || !o.InCallback() {
		return false, false
	}
	if renewed > until && !s.until.CompareAndSwap(until, renewed) {
		return o.SuspectAsks(now, renewed) // it is suspected anew at this moment
	}
	number := s.number.Load()
	first = s.known != number
	s.known = number
	return true, first
}

func (o *Outcomes) callBack(oc *Outcome) {
	for i := range oc.Records {
		if rec := &oc.Records[i]; rec.Call != nil && rec.Call.Done != nil {
			Guard(func() { rec.Call.Done(rec.Msg, oc.Err) })
		}
	}
}

// InCallback tells whether the caller runs on the reports goroutine. What a callback sends must not wait for memory:
// the outcomes that would free it may stand behind that very callback. It is slow, and asked only where the budget is
// used up.
func (o *Outcomes) InCallback() bool {
	id := o.reporter.Load()
	return id != 0 && id == goroutineID()
}

// goroutineID reads the id from the first line of the stack: "goroutine 18 [running]:".
func goroutineID() uint64 {
	var buf [64]byte
	line := buf[:runtime.Stack(buf[:], false)]
	line = bytes.TrimPrefix(line, []byte("goroutine "))
	if i := bytes.IndexByte(line, ' '); i > 0 {
		id, _ := strconv.ParseUint(string(line[:i]), 10, 64)
		return id
	}
	return 0
}
