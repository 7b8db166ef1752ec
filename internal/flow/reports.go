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
	o.reported++
	o.reporting.Store(o.reported)
	o.move()
	o.tell(oc)
	o.reporting.Store(0)
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

// Reporting is the number of the report that runs, or of the callbacks that run for one batch; 0 if none does. It may be
// waiting to send: if nothing else can free memory, what it sends must not wait for any.
func (o *Outcomes) Reporting() uint64 { return o.reporting.Load() }

// Suspect says that a report may be waiting for a place in an input: from the next time that it asks for one, Sending
// tells. To look each time that anybody asks would be slow.
func (o *Outcomes) Suspect(report uint64) { o.suspect.Store(report) }

// Sending is the last report that was suspected, and then asked for an input.
func (o *Outcomes) Sending() uint64 { return o.sending.Load() }

// InputAskedFor is called by everybody who asks for an input, on any goroutine: it costs two loads, unless the report
// that runs is suspected.
func (o *Outcomes) InputAskedFor() {
	if report := o.suspect.Load(); report != 0 && report == o.reporting.Load() {
		o.confirm(report)
	}
}

// confirm looks the caller's goroutine up last: it takes a microsecond.
func (o *Outcomes) confirm(report uint64) {
	if o.sending.Load() != report && o.InCallback() {
		o.sending.Store(report)
		o.move()
	}
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
