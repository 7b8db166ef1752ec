package dispatch

import (
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Failures: back-off, look-ups of the leader, and how many rounds of these there are.

// backOff counts a failure, gives up what has had its rounds, and begins the pause before the next try. unsent says that
// nothing could be sent: a dial or a look-up failed.
func (r *rules) backOff(cause error, unsent bool, now int64) {
	r.countFailure(cause, unsent)
	r.failing(cause)
	if unsent && r.lookUpErr != nil && !errors.Is(cause, r.lookUpErr) {
		cause = r.lookUpErr // it says why there was no better broker to dial
	}
	r.giveUpTried(cause, r.leaderAt)
	if !r.holds() {
		r.failures, r.unsent = 0, 0
	}
	pause := r.pause
	if n := r.retries(); n > 0 {
		pause = r.backoff(n)
	}
	r.state = stateBackoff
	r.hinted = false
	r.wakeAt = now + int64(pause)
	r.refreshNumber = 0
}

// pauseShortly begins the pause before a batch is sent again that came before the last transaction was ended at its partition
// (KIP-890). That takes milliseconds mostly, and is no failure.
func (r *rules) pauseShortly(cause error, now int64) {
	const first, longest = 2 * time.Millisecond, 20 * time.Millisecond
	r.cause = cause
	r.state, r.hinted, r.refreshNumber = stateBackoff, false, 0
	r.wakeAt = now + int64(flow.Doubled(first, r.soon, longest))
	r.soon++
}

func (r *rules) countFailure(cause error, unsent bool) {
	r.failures++
	r.unsent++
	if !unsent {
		r.unsent = 0
	}
	r.cause = cause
}

// giveUpTried gives up what has had all its rounds, which is what was accepted before the last one ended. A round is a
// pause, a look-up and a dial. The first failure comes before the first round, so n failures are n-1 rounds. Once Close
// has begun everything has the same rounds.
func (r *rules) giveUpTried(cause error, roundEnded int64) {
	switch {
	case r.closing() && r.failures > r.retryMax:
		r.failHeld(cause)
	case r.bounded && r.unsent-1 > r.retryMax:
		r.failBefore(roundEnded, cause)
	}
}

// retries is the number of the next retry. It is 0 if nothing that is held was tried yet.
func (r *rules) retries() int {
	n := r.unsent
	if len(r.batches) > 0 {
		n = max(n, r.batches[0].Attempts)
	}
	return n
}

func (r *rules) lookup() {
	r.state = stateLookup
	r.refreshNumber = r.askForLeader()
}

// askForLeader asks for a look-up, and returns its refresh number.
func (r *rules) askForLeader() uint64 {
	acked := r.acked
	r.acked = false
	return r.refresh(acked, r.holds())
}

// onLeader handles news of the leader: a look-up ended at the time at, or a produce answer named the leader. It answers all
// refreshes up to the number answers. l is the leader as known now; err is why nothing newer is known. A look-up that began
// before r asked ends the wait only if it names another leader.
func (r *rules) onLeader(l leader, answers uint64, err error, at, now int64) {
	r.leaderAt, r.lookUpErr = at, err
	moved := !l.same(r.leader)
	r.leader = l
	awaited := r.refreshNumber <= answers
	if awaited {
		r.refreshNumber = 0
	}
	switch r.state {
	case stateOpen, stateVerifying:
		if moved {
			r.cause = nil // of sessions before this one
			r.end()       // its result brings back what was not sent; then onSessionEnded goes on at the new leader
		}
	case stateBackoff:
		if moved && l.known {
			r.resume(now) // the old leader was the problem
		}
	case stateLookup:
		switch {
		case l.known && (awaited || moved):
			r.leaderless = 0
			r.resume(now)
		case awaited:
			r.noLeader(err, now)
		}
	}
}

// noLeader handles that the awaited look-up found no leader.
func (r *rules) noLeader(err error, now int64) {
	if err == nil {
		err = flow.External(sarama.ErrLeaderNotAvailable)
		if r.bounded && r.leaderless < r.lookUpRetries {
			r.leaderless++
			r.lookup() // at once: the look-up service paces its rounds itself
			return
		}
	}
	r.leaderless = 0
	err = fmt.Errorf("no leader: %w", err)
	if !r.bounded && flow.LoginRefused(err) {
		r.failHeld(err) // refused credentials: no retry helps
		r.resume(now)
		return
	}
	r.backOff(err, true, now)
}

// onTick handles what has become due.
func (r *rules) onTick(now int64) {
	r.expire(now)
	if r.state != stateBackoff || now < r.wakeAt {
		return
	}
	switch {
	case r.refreshNumber > 0:
		r.state = stateLookup
	case r.hinted:
		r.hinted = false
		r.lookup()
	case !r.leader.known && r.holds():
		r.lookup()
	default:
		r.resume(now)
	}
}

// wake is when onTick must be called next; 0 is never.
func (r *rules) wake() int64 {
	var at int64
	if r.state == stateBackoff {
		at = r.wakeAt
	}
	earlier := func(t int64) {
		if at == 0 || t < at {
			at = t
		}
	}
	if len(r.batches) > 0 {
		earlier(r.batches[0].Deadline)
	} else if len(r.records) > 0 {
		earlier(r.records[0].Born + int64(r.timeout))
	}
	return at
}
