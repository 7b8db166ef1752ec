package flow

import (
	"log/slog"
	"time"
)

// reader watches whether the user reads one of the output channels, for the log. It belongs to the channel's outcome goroutine.
//
// Failures that nobody reads are told of. Of Successes only a full channel is: a program may well read them in the end.
type reader struct {
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

// longUnread is how long nobody must read before the log is told.
const longUnread = 10 * time.Second

// handOver puts an outcome into its channel, and waits for the user if that is full.
func handOver[T any](r *reader, channel chan<- T, outcome T) {
	r.put++
	select {
	case channel <- outcome:
		return
	default:
	}
	r.watch(1)
	for {
		select {
		case channel <- outcome:
			return
		case <-r.timer.C:
			r.look(1)
		}
	}
}

// watch begins to look whether somebody reads. held is what the goroutine has in its hand, as the channel is full.
func (r *reader) watch(held int) {
	if !r.armed && r.outcomes.cfg.Log != nil {
		r.arm(r.unread() + held)
	}
}

func (r *reader) arm(unread int) {
	r.armed, r.taken = true, r.put-unread
	r.timer.Reset(longUnread)
}

// look tells the log if nothing was read for longUnread, and goes on while something is unread.
func (r *reader) look(held int) {
	unread := r.unread() + held
	at := slog.String("unread_at", r.name)
	switch {
	case unread == 0, r.put-unread > r.taken:
		r.trouble.Over(at)
	case held > 0 || r.failure != nil:
		r.trouble.Again(r.outcomes.cfg.Log, OutcomesUnread, r.name, at, slog.Int("unread", r.unread()+r.outcomes.Unread()),
			slog.Int64("unread_bytes", r.outcomes.cfg.Budget.unread.Load()), Cause(r.failure))
	}
	if unread == 0 {
		r.armed, r.failure = false, nil
		return
	}
	r.arm(unread)
}

// end is called when the goroutine ends.
func (r *reader) end() {
	r.timer.Stop()
	r.trouble.Leave()
}
