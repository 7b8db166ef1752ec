package flow

import (
	"log/slog"
	"maps"
	"time"
)

// repeats limits how often an event with the same key is logged: the first time, then after 1 s, doubling to 10 min, with how many
// there were and for how long. After a minute without one, the next counts as the first. So an event that goes on for an hour has
// about fifteen records, whatever its rate.
//
// An event has entries for up to mostKeys keys; all other keys share one more. So neither the memory nor the number of records grows
// with the number of partitions or brokers.
type repeats struct {
	since, last, logged time.Time
	times               int
	pause               time.Duration

	sharers int  // Troubles that it counts for now
	open    bool // a record of it has no BackToNormal yet
}

const (
	firstRepeat   = time.Second
	longestRepeat = 10 * time.Minute
	quietEnough   = time.Minute
	mostKeys      = 16
	otherKeys     = "\x00others"
)

// repeatsOf returns the entry of a key. It needs mu.
func (l *Log) repeatsOf(e *Event, key string, now time.Time) *repeats {
	all := l.repeats[e]
	if all == nil {
		all = make(map[string]*repeats)
		l.repeats[e] = all
	}
	r := all[key]
	if r == nil && len(all) >= mostKeys {
		maps.DeleteFunc(all, func(_ string, r *repeats) bool { return r.sharers == 0 && now.Sub(r.last) > quietEnough })
		if len(all) >= mostKeys {
			key = otherKeys
			r = all[key]
		}
	}
	if r == nil {
		r = &repeats{}
		all[key] = r
	}
	return r
}

// begin starts counting again from 0. If it was quiet for long enough, the next event is logged in any case.
func (r *repeats) begin(now time.Time) {
	if r.times = 0; now.Sub(r.last) > quietEnough {
		r.pause = 0
	}
}

// due counts an event and returns whether it is to be logged.
func (r *repeats) due(now time.Time) bool {
	if r.sharers == 0 && now.Sub(r.last) > quietEnough {
		r.begin(now)
	}
	if r.times == 0 {
		r.since = now
	}
	r.times++
	r.last = now
	if r.pause > 0 && now.Sub(r.logged) < r.pause {
		return false
	}
	r.logged = now
	r.pause = min(max(2*r.pause, firstRepeat), longestRepeat)
	return true
}

// attrs say how many there were, from the second on.
func (r *repeats) attrs(now time.Time) []slog.Attr {
	if r.times == 1 {
		return nil
	}
	return []slog.Attr{slog.Int("times", r.times), slog.Duration("for", Short(now.Sub(r.since)))}
}

// Trouble is a state that lasts until it is over, such as a partition that can't be written to. Troubles with the same key, such as
// a broker that is down, share their records. One goroutine at a time may use it. The zero value is no trouble.
type Trouble struct {
	Of string // what its records count, such as "partitions"; empty: nothing

	log   *Log
	r     *repeats
	since time.Time
	times int
}

// Again logs e, the reason of the trouble, each time that it is met; how often is limited as for Log.Event. key is what the trouble
// has in common with others.
func (t *Trouble) Again(l *Log, e *Event, key string, attrs ...slog.Attr) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if t.times++; t.times == 1 {
		t.since = now
	}
	t.log = l
	if r := l.repeatsOf(e, key, now); r != t.r {
		if was := t.r; t.leave() && was.open {
			was.open, r.open = false, true // it ends where the partition is now
		}
		r.sharers++
		if t.r = r; r.sharers == 1 {
			r.begin(now)
		}
	}
	if r := t.r; r.due(now) {
		r.open = true
		if t.Of != "" {
			attrs = append(attrs, slog.Int(t.Of, r.sharers))
		}
		l.put(e, now, append(attrs, r.attrs(now)...))
	}
}

// leave takes it out of the entry that it shares, and returns whether it was the last one there. It needs mu.
func (t *Trouble) leave() (last bool) {
	if t.r == nil {
		return false
	}
	t.r.sharers--
	last = t.r.sharers == 0
	if last && t.r.last.Sub(t.r.since) > quietEnough {
		t.r.pause = min(t.r.pause, quietEnough) // the next trouble is logged within a minute, unless they come and go
	}
	t.r = nil
	return last
}

// Over ends the trouble. The last one of those that share records logs BackToNormal.
func (t *Trouble) Over(attrs ...slog.Attr) {
	if t.log == nil {
		return
	}
	l, r := t.log, t.r
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if t.leave() && r.open {
		r.open = false
		attrs = append(attrs, slog.Duration("took", Short(now.Sub(t.since))))
		if t.Of != "" {
			attrs = append(attrs, slog.Int("retries", t.times))
		}
		l.put(BackToNormal, now, attrs)
	}
	*t = Trouble{Of: t.Of}
}

// Leave ends the trouble without a record: nobody tries any more.
func (t *Trouble) Leave() {
	if t.log == nil {
		return
	}
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	if r := t.r; t.leave() {
		r.open = false
	}
	*t = Trouble{Of: t.Of}
}
