package flow

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// The goroutines that hand outcomes to the user: one each for Successes, Errors and reports (reports.go).

// outlet is one outcome goroutine's mailbox and its end.
type outlet struct {
	box   *Mailbox[*Outcome]
	clock func() int64  // the producer's
	now   int64         // what it was lately
	sent  atomic.Int64  // messages put into its channel, counted when all of an outcome are in
	stop  chan struct{} // closed to make the goroutine empty the mailbox and end
	ended chan struct{} // closed by the goroutine when it ends

	watch unreadWatch // the goroutine's
}

func (out *outlet) close() {
	close(out.stop)
	<-out.ended
}

func (out *outlet) run(handle func(*Outcome)) {
	defer out.watch.end()
	var run []*Outcome
	for {
		select {
		case <-out.box.Wake():
		case <-out.watch.timer.C:
			out.watch.look(0)
			continue
		case <-out.stop:
			for run = out.box.Take(run); len(run) > 0; run = out.box.Take(Spare(run)) {
				out.now = out.clock()
				for _, oc := range run {
					handle(oc)
				}
			}
			return
		}
		run = out.box.Take(run)
		out.now = out.clock()
		for _, oc := range run {
			handle(oc)
		}
		run = Spare(run)
	}
}

// handedOver is the time at which an outcome is handed over. atOnce: nothing was waited for, so that the clock need not be read.
func (out *outlet) handedOver(atOnce bool) int64 {
	if !atOnce {
		out.now = out.clock()
	}
	return out.now
}

// succeed hands messages to Successes.
func (o *Outcomes) succeed(oc *Outcome) {
	o.fill(oc)
	room := cap(o.Successes) - len(o.Successes) // nobody else sends
	sent := 0
	for i := range oc.Records {
		if oc.Records[i].FromInput() {
			handOver(&o.successes.watch, o.Successes, oc.Records[i].Msg)
			sent++
		}
	}
	o.successes.sent.Add(int64(sent))
	o.done(oc, o.successes.handedOver(sent <= room))
}

// fail hands failures to Errors. If the user wants neither Errors nor reports, it logs them, as sarama does.
func (o *Outcomes) fail(oc *Outcome) {
	o.fill(oc)
	room := cap(o.Errors) - len(o.Errors)
	sent, failed := 0, 0
	for i := range oc.Records {
		if !oc.Records[i].FromInput() {
			continue
		}
		failure := &sarama.ProducerError{Msg: oc.Records[i].Msg, Err: oc.Err}
		if o.cfg.ReturnErrors {
			handOver(&o.errors.watch, o.Errors, failure)
			o.failures.Add(-1)
			sent++
		} else {
			o.cfg.Log.Println(failure)
			failed++
		}
	}
	o.errors.sent.Add(int64(sent))
	if sent > 0 {
		o.errors.watch.failure = oc.Err
		o.errors.watch.begin(0)
	}
	if failed > 0 {
		o.cfg.Log.Event(MessagesFailed, oc.Topic, slog.String("topic", oc.Topic), slog.Int("partition", int(oc.Partition)),
			slog.Int("messages", failed), Cause(oc.Err))
	}
	o.done(oc, o.errors.handedOver(failed == 0 && sent <= room))
}

// done ends one goroutine's hold on the outcome, at the time now. After the last one, what it held is released.
func (o *Outcomes) done(oc *Outcome, now int64) {
	if oc.stages.Add(-1) > 0 {
		return
	}
	oc.Stats.HandedOver(time.Duration(now - oc.decidedAt))
	o.release(oc)
}

// release gives back what an outcome held.
func (o *Outcomes) release(oc *Outcome) {
	open := &o.accepted
	if oc.Late {
		open = &o.late
	}
	if open.Add(-int64(oc.Count)) == 0 {
		signal(o.idle)
	}
	o.cfg.Budget.Taken(oc.held)
	PutRun(oc.Records)
	oc.Records = nil
}
