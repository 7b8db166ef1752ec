package flow

import (
	"log/slog"
	"time"
)

// unreadWatch watches whether the user reads one of the output channels, for the log. It belongs to the channel's outcome goroutine.
//
// Failures that nobody reads are always logged, Successes only if the channel is full: a program may well read them in the end.
type unreadWatch struct {
	outcomes *Outcomes
	name     string
	unread   func() int // in the channel

	timer   *time.Timer // runs while something may be unread: then it looks every longUnread
	armed   bool
	put     int     // into the channel, ever
	taken   int     // of these, when the timer was armed
	failure error   // the last one; of Errors
	trouble Trouble // nobody reads
}

// longUnread is how long nobody must read before OutcomesUnread is logged.
const longUnread = 10 * time.Second

// handOver puts an outcome into its channel, and waits for the user if that is full.
func handOver[T any](w *unreadWatch, channel chan<- T, outcome T) {
	if w.outcomes.cfg.Log == nil {
		channel <- outcome
		return
	}
	w.put++
	select {
	case channel <- outcome:
		return
	default:
	}
	w.begin(1)
	for {
		select {
		case channel <- outcome:
			return
		case <-w.timer.C:
			w.look(1)
		}
	}
}

// begin begins to look whether somebody reads. held is what the goroutine has in its hand, as the channel is full.
func (w *unreadWatch) begin(held int) {
	if !w.armed && w.outcomes.cfg.Log != nil {
		w.arm(w.unread() + held)
	}
}

func (w *unreadWatch) arm(unread int) {
	w.armed, w.taken = true, w.put-unread
	w.timer.Reset(longUnread)
}

// look logs that nothing was read for longUnread, and looks again later while something is unread.
func (w *unreadWatch) look(held int) {
	unread := w.unread() + held
	at := slog.String("unread_at", w.name)
	switch {
	case unread == 0, w.put-unread > w.taken:
		w.trouble.Over(at)
	case held > 0 || w.failure != nil:
		w.trouble.Again(w.outcomes.cfg.Log, OutcomesUnread, w.name, at, slog.Int("unread", w.unread()+w.outcomes.Unread()),
			slog.Int64("unread_bytes", w.outcomes.cfg.Budget.unread.Load()), Cause(w.failure))
	}
	if unread == 0 {
		w.armed, w.failure = false, nil
		return
	}
	w.arm(unread)
}

// end is called when the goroutine ends.
func (w *unreadWatch) end() {
	w.timer.Stop()
	w.trouble.Leave()
}
