package flow

import "sync"

// Barriers count the records that are accepted and have no outcome yet. With them Flush and Close wait for the records that
// came before, while other senders go on.
//
// Every record is counted by the barrier that is current when it is accepted. A flush seals the current barrier, and
// later records are counted by the next one. A barrier is passed when it is sealed, its count is zero, and all earlier
// barriers are passed.
type Barriers struct {
	mu      sync.Mutex
	open    []barrier // those that are not passed, never empty; all but the last one, the current, are sealed
	current uint32    // number of the last one
}

type barrier struct {
	pending int64
	passed  chan struct{} // nil until sealed
}

// NewBarriers starts with one barrier, not sealed.
func NewBarriers() *Barriers { return &Barriers{open: make([]barrier, 1)} }

// Accept counts n records and returns the number of their barrier. Only the dispatcher calls Accept and SealInto, so that
// it is clear which records were accepted before a flush.
func (b *Barriers) Accept(n int) uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[len(b.open)-1].pending += int64(n)
	return b.current
}

// Seal seals the current barrier. The channel is closed when every record accepted so far has its outcome.
func (b *Barriers) Seal() <-chan struct{} {
	passed := make(chan struct{})
	b.SealInto(passed)
	return passed
}

// SealInto is Seal with the caller's channel.
func (b *Barriers) SealInto(passed chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[len(b.open)-1].passed = passed
	b.open = append(b.open, barrier{})
	b.current++
	b.pop()
}

// Decided takes the records of outcomes off their barriers. It must be called once for each.
func (b *Barriers) Decided(outcomes ...*Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, oc := range outcomes {
		for recs := oc.Records; len(recs) > 0; {
			n, count := 0, 0
			for n < len(recs) && recs[n].Barrier == recs[0].Barrier {
				count++
				if recs[n].Completion != nil {
					count += recs[n].Count() - 1
				}
				n++
			}
			if count > 0 { // else it is a Probe, and its barrier may be passed
				// Barrier numbers may wrap around; the difference is right all the same.
				b.open[len(b.open)-1-int(b.current-recs[0].Barrier)].pending -= int64(count)
			}
			recs = recs[n:]
		}
	}
	b.pop()
}

// pop closes the barriers that are passed. It needs mu.
func (b *Barriers) pop() {
	for b.open[0].passed != nil && b.open[0].pending == 0 {
		close(b.open[0].passed)
		b.open = b.open[1:]
	}
}

// Idle tells whether every accepted record has its outcome.
func (b *Barriers) Idle() bool { return b.Pending() == 0 }

// Pending is how many accepted records have no outcome yet.
func (b *Barriers) Pending() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.open {
		n += b.open[i].pending
	}
	return n
}
