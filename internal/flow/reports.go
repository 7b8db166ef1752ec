package flow

import (
	"bytes"
	"runtime"
	"strconv"

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
	o.Move()
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

// Suspect says that reports that ask for an input are to be told apart from others who do, or not any more: by SuspectAsks.
// The dispatcher calls it.
func (o *Outcomes) Suspect(yes bool) {
	if !yes {
		o.suspicion.Store(0)
		return
	}
	o.suspicions++
	o.suspicion.Store(o.suspicions)
}

// Suspicious tells that whoever asks for an input is to call SuspectAsks, which takes a microsecond.
func (o *Outcomes) Suspicious() bool { return o.suspicion.Load() != 0 && o.reporting.Load() }

// SuspectAsks tells whether the caller is the reports goroutine, and reports are suspected; and whether that is new to it.
func (o *Outcomes) SuspectAsks() (yes, first bool) {
	suspicion := o.suspicion.Load()
	if suspicion == 0 || !o.InCallback() {
		return false, false
	}
	first = o.known != suspicion
	o.known = suspicion
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
