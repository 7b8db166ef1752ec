package flow

import "sync"

// Barriers count records between acceptance and fate, so that Flush and Close can wait for their own records and not for
// the count to fall to zero: other senders may go on.
//
// Every record is counted by the flush barrier that was current at its acceptance. A flush seals the current flush barrier: later
// records belong to the next one. A flush barrier is passed when it is sealed, its count is zero, and all earlier ones are
// passed.
type Barriers struct {
	mu      sync.Mutex
	open    []barrier // never empty; the last one is current, the others are sealed
	current uint32    // number of the last one
}

type barrier struct {
	pending int64
	passed  chan struct{} // nil until sealed
}

// NewBarriers starts with one unsealed flush barrier.
func NewBarriers() *Barriers { return &Barriers{open: make([]barrier, 1)} }

// Accept counts n records and returns the number of the flush barrier that counts them. Only the dispatcher calls it, and Seal:
// that is what gives "accepted before the call" a meaning.
func (f *Barriers) Accept(n int) uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[len(f.open)-1].pending += int64(n)
	return f.current
}

// Seal closes the current flush barrier and returns a channel that is closed when every record accepted so far has its fate.
func (f *Barriers) Seal() <-chan struct{} {
	passed := make(chan struct{})
	f.SealInto(passed)
	return passed
}

// SealInto is Seal with the channel that is to be closed.
func (f *Barriers) SealInto(passed chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[len(f.open)-1].passed = passed
	f.open = append(f.open, barrier{})
	f.current++
	f.pop()
}

// Decided takes the records of fates off their barriers, once each.
func (f *Barriers) Decided(fates ...*Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, oc := range fates {
		for recs := oc.Records; len(recs) > 0; {
			n := 1
			for n < len(recs) && recs[n].Barrier == recs[0].Barrier {
				n++
			}
			// Numbers may wrap; their distance does not.
			f.open[len(f.open)-1-int(f.current-recs[0].Barrier)].pending -= int64(n)
			recs = recs[n:]
		}
	}
	f.pop()
}

func (f *Barriers) pop() {
	for f.open[0].passed != nil && f.open[0].pending == 0 {
		close(f.open[0].passed)
		f.open = f.open[1:]
	}
}

// Idle tells whether every accepted record has its fate: no memory will be freed by any.
func (f *Barriers) Idle() bool { return f.Pending() == 0 }

// Pending is how many accepted records have no fate yet.
func (f *Barriers) Pending() (n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.open {
		n += f.open[i].pending
	}
	return n
}
