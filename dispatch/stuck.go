package dispatch

import (
	"context"
	"math/bits"
	"time"

	"github.com/IBM/sarama"
)

// A report, or a callback, may be waiting for a place in an input, while memory is used up that only its end can free.
// Nobody can see who waits on a channel, and most reports that run for long wait for something else. So there are two
// rules.
//
// Once memory has been short for a while because of reports, messages are let in beyond the budget, whoever sent them: those
// that are before what the report may be sending, then ever fewer. excess has that rule. All slow reports share it, so that
// however many there are, and however long they take, memory is never far beyond the budget.
//
// From then on the reports goroutine is given inputs of its own when it asks for one (Outcomes.SuspectAsks): what comes
// there is let in at once, and nobody else's messages with it.

const (
	// stuckAfter is how long memory must be short because of reports.
	stuckAfter = 100 * time.Millisecond
	// stuckPart is what part of the budget is let in then, and again each time that the time has doubled.
	stuckPart = 4
	// suspectFor is how long the reports goroutine keeps its own inputs after memory was free again, or after it last asked.
	suspectFor = time.Second
)

// excess is how many bytes may be let in beyond a budget of limit when memory has been short for that long, and after how
// long there will be more. before is what may lie in the inputs before what a report sends.
func excess(short time.Duration, limit, before int64) (bytes int64, again time.Duration) {
	doubled := bits.Len64(uint64(short / stuckAfter))
	if doubled > 0 {
		bytes = before + int64(doubled)*(limit/stuckPart)
	}
	return bytes, stuckAfter<<doubled - short
}

// letReportIn tells whether need bytes may exceed the budget because of a report that runs while all fates are decided. If
// not, and one runs, the look timer fires in time to ask again.
func (d *Dispatcher) letReportIn(need int64) bool {
	if !d.env.Outcomes.Reporting() {
		return false // the next one makes itself known
	}
	now := d.env.Now()
	if !d.short {
		d.short, d.shortSince = true, now
	}
	limit := d.env.Budget.Limit()
	before := min(int64(cap(d.Input)+d.mayDrain)*d.mean, max(limit, drainBytes))
	bytes, again := excess(time.Duration(now-d.shortSince), limit, before)
	if bytes > 0 {
		d.suspect(forever)
	}
	if d.env.Budget.Used()+need <= limit+bytes {
		return true
	}
	d.look.Reset(again)
	return false
}

const forever = 1<<63 - 1

// suspect gives the reports goroutine inputs of its own until that time.
func (d *Dispatcher) suspect(until int64) {
	d.suspects = until == forever
	if !d.reports {
		d.fromReport, d.batchFromReport = d.FromReport, d.BatchFromReport
	}
	d.env.Outcomes.Suspect(until, d.env.Now())
}

// memoryIsFree ends what letReportIn has begun: there was memory within the budget.
func (d *Dispatcher) memoryIsFree() {
	d.short = false
	if d.suspects {
		d.suspect(d.env.Now() + int64(suspectFor))
	}
}

// admitFromReport lets messages in that came through a report's own input. While a report runs they do not wait; but it may
// have ended by now, and whoever kept its input may send at any time: then they wait like all others, until memory is free
// or the next report runs. What comes behind them meanwhile stays outside, so that they are not overtaken.
func (d *Dispatcher) admitFromReport(msgs ...*sarama.ProducerMessage) {
	d.fromReport, d.batchFromReport, d.reports = nil, nil, true
	d.admit(msgs)
	d.fromReport, d.batchFromReport, d.reports = d.FromReport, d.BatchFromReport, false
}

// ReportAsks tells whether the caller is the reports goroutine, and is to have an input of its own. What it has sent through
// the common ones before is taken in first, so that its order holds.
func (d *Dispatcher) ReportAsks() bool {
	now := d.env.Now()
	yes, first := d.env.Outcomes.SuspectAsks(now, now+int64(suspectFor))
	if first {
		d.Fence(context.Background())
	}
	return yes
}
