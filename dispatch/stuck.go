package dispatch

import (
	"context"
	"math/bits"
	"time"

	"github.com/IBM/sarama"
)

// A report, or a callback, may be waiting for a place in an input, while memory is used up that only its end can free.
// Nobody can see who waits on a channel, and most reports that run for long wait for something else. So there are two
// rules, while memory is short because of reports: while the dispatcher waits, all fates are decided, and a report runs.
//
// The reports goroutine is given inputs of its own when it asks for one: what comes there is let in at once, and nobody
// else's messages with it.
//
// It may have asked before, or have the channel from somewhere, or wait for another goroutine that sends. So when memory has
// been short for long, messages are let in beyond the budget, whoever sent them: those that are before what the report may
// be sending, then ever fewer. excess has that rule. All reports share it, so that however many there are, and however long
// they take, memory is never far beyond the budget.

const (
	// stuckAfter is how long memory must be short, and the step in which more is let in at first.
	stuckAfter = 100 * time.Millisecond
	// stuckSteps is how many such steps there are; from then on there is one each time that the time has doubled.
	stuckSteps = 10
	// stuckPart is what part of the budget is let in with a step.
	stuckPart = 4
)

// excess is how many bytes may be let in, all together, when memory has been short for that long, and after how long there
// will be more. before is what may lie in the inputs before what a report sends.
func excess(short time.Duration, limit, before int64) (bytes int64, again time.Duration) {
	if short < stuckAfter {
		return 0, stuckAfter - short
	}
	steps, next := int64(short/stuckAfter), short-short%stuckAfter+stuckAfter
	if doubled := bits.Len64(uint64(steps / stuckSteps)); doubled > 0 {
		steps, next = stuckSteps+int64(doubled)-1, stuckSteps*stuckAfter<<doubled
	}
	return before + steps*(limit/stuckPart), next - short
}

// letReportIn tells whether need bytes may exceed the budget because of a report that runs while all fates are decided. If
// not, and one runs, the look timer fires in time to ask again.
func (d *Dispatcher) letReportIn(need int64) bool {
	if !d.env.Outcomes.Reporting() {
		return false // the next one makes itself known
	}
	now := d.env.Now()
	if !d.short {
		d.short, d.shortSince, d.letIn = true, now, 0
		d.suspectReports()
	}
	limit := d.env.Budget.Limit()
	before := min(int64(cap(d.Input)+1)*d.mean, max(limit, drainBytes))
	bytes, again := excess(time.Duration(now-d.shortSince), limit, before)
	if d.letIn+need <= bytes {
		d.letIn += need
		return true
	}
	d.look.Reset(again)
	return false
}

// suspectReports gives the reports goroutine inputs of its own when it asks.
func (d *Dispatcher) suspectReports() {
	d.fromReport, d.batchFromReport = d.FromReport, d.BatchFromReport
	d.env.Outcomes.Suspect(true)
}

// memoryIsFree ends what letReportIn has begun: there was memory within the budget.
func (d *Dispatcher) memoryIsFree() {
	if !d.short {
		return
	}
	d.short = false
	if !d.refusing {
		d.env.Outcomes.Suspect(false)
	}
}

// ReportAsks tells whether the caller, who asks for an input, is the reports goroutine and is to have one of its own, for one
// send. Anybody may call it, for each message.
func (d *Dispatcher) ReportAsks() bool { return d.env.Outcomes.Suspicious() && d.suspectAsks() }

// suspectAsks is ReportAsks while reports are suspected. What the reports goroutine has sent through the common inputs before
// is taken in first, so that its order holds.
func (d *Dispatcher) suspectAsks() bool {
	yes, first := d.env.Outcomes.SuspectAsks()
	if !yes {
		return false
	}
	if first {
		d.reportAsks.Store(true)
		d.ask(context.Background(), controlTakeIn)
	}
	d.mayPass.Store(true)
	d.env.Outcomes.Move()
	return true
}

// fromReports are the inputs of the reports goroutine, for a dispatcher that waits for memory: nil, if none was asked for.
// Somebody may have kept them, whose messages wait like all others.
func (d *Dispatcher) fromReports() (chan *sarama.ProducerMessage, chan []*sarama.ProducerMessage) {
	if !d.mayPass.Load() {
		return nil, nil
	}
	return d.fromReport, d.batchFromReport
}

// admitFromReport lets messages in that came through a report's own input: at once, if it was asked for.
func (d *Dispatcher) admitFromReport(msgs ...*sarama.ProducerMessage) {
	before := d.forcing
	if d.mayPass.CompareAndSwap(true, false) {
		d.forcing = true
	}
	d.admit(msgs)
	d.forcing = before
}
