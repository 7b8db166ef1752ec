package flow

import "sync"

// Fences count records between acceptance and fate, so that Flush and Close can wait for their own records and not for
// the count to fall to zero: other senders may go on.
//
// Every record is counted by the fence that was current at its acceptance. A flush seals the current fence: later
// records belong to the next one. A fence is passed when it is sealed, its count is zero, and all earlier ones are
// passed.
type Fences struct {
	mu      sync.Mutex
	open    []fence // never empty; the last one is current, the others are sealed
	current uint32  // number of the last one
}

type fence struct {
	pending int64
	passed  chan struct{} // nil until sealed
}

// NewFences starts with one unsealed fence.
func NewFences() *Fences { return &Fences{open: make([]fence, 1)} }

// Accept counts n records and returns the number of the fence that counts them. Only the dispatcher calls it, and Seal:
// that is what gives "accepted before the call" a meaning.
func (f *Fences) Accept(n int) uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[len(f.open)-1].pending += int64(n)
	return f.current
}

// Seal closes the current fence and returns a channel that is closed when every record accepted so far has its fate.
func (f *Fences) Seal() <-chan struct{} {
	passed := make(chan struct{})
	f.SealInto(passed)
	return passed
}

// SealInto is Seal with the channel that is to be closed.
func (f *Fences) SealInto(passed chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[len(f.open)-1].passed = passed
	f.open = append(f.open, fence{})
	f.current++
	f.pop()
}

// Decided takes the records of fates off their fences, once each.
func (f *Fences) Decided(fates ...*Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, oc := range fates {
		for recs := oc.Records; len(recs) > 0; {
			n := 1
			for n < len(recs) && recs[n].Fence == recs[0].Fence {
				n++
			}
			// Numbers may wrap; their distance does not.
			f.open[len(f.open)-1-int(f.current-recs[0].Fence)].pending -= int64(n)
			recs = recs[n:]
		}
	}
	f.pop()
}

func (f *Fences) pop() {
	for f.open[0].passed != nil && f.open[0].pending == 0 {
		close(f.open[0].passed)
		f.open = f.open[1:]
	}
}

// Idle tells whether every accepted record has its fate: no memory will be freed by any.
func (f *Fences) Idle() bool { return f.Pending() == 0 }

// Pending is how many accepted records have no fate yet.
func (f *Fences) Pending() (n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.open {
		n += f.open[i].pending
	}
	return n
}
