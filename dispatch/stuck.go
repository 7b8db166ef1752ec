package dispatch

import "time"

// stuckReport tells a report that waits for a place in an input from one that takes its time, as they all may. Nobody can
// see who waits on a channel, so one that has run for long is suspected. While it runs, messages are let in beyond the
// budget: first as many as lie in Input before what it may be sending, then a small part of the budget at a time, ever more
// slowly, as it may not be sending at all: one that hangs for ten minutes lets the budget be exceeded some five times over,
// and not all memory be used up. One that is found to be sending (Outcomes.Sending) has no limit.
//
// These are the rules; the dispatcher's goroutine asks them, and keeps the timer.
type stuckReport struct {
	report    uint64 // that was seen last
	since     int64  // when it was first seen
	next      int64  // when the next part is let in
	allowance int64  // bytes of a part that are not used up; the last record may overdraw it
	suspected bool
	sends     bool // the last one of which that is known sent
}

const (
	// stuckAfter is how long a report may run before it is suspected; stuckSoon where reports are known to send.
	stuckAfter, stuckSoon = 100 * time.Millisecond, time.Millisecond
	// stuckPart is what part of the budget is let in at a time, and stuckPause what part of the time that the report has run,
	// or of stuckAfter, passes before the next.
	stuckPart, stuckPause = 16, 8
)

// sighting is what a report is judged by.
type sighting struct {
	report  uint64 // that runs
	sending uint64 // the last one that was found to send
	full    bool   // an input has no place
	limit   int64  // the budget, in bytes
	before  int64  // bytes that may lie in Input before what the report sends
}

// letIn tells whether need bytes may exceed the budget now; if not, after how long to ask again.
func (s *stuckReport) letIn(now, need int64, seen sighting) (yes bool, again time.Duration) {
	if seen.report != s.report {
		patience := stuckAfter
		if s.sends {
			patience = stuckSoon
		}
		*s = stuckReport{report: seen.report, since: now, next: now + int64(patience), sends: s.sends}
	}
	if !seen.full {
		return false, stuckAfter // whoever sends finds a place; nobody tells when there is none any more
	}
	if seen.sending == seen.report {
		s.sends = true
		return true, 0
	}
	if s.allowance <= 0 && now >= s.next {
		s.allowance = seen.limit / stuckPart
		if s.suspected {
			s.sends = false // it goes on, and has not sent again
		} else {
			s.allowance = max(s.allowance, seen.before)
		}
		s.suspected = true
		s.next = now + max(now-s.since, int64(stuckAfter))/stuckPause
	}
	if s.allowance <= 0 {
		return false, time.Duration(s.next - now)
	}
	s.allowance -= need
	return true, 0
}
