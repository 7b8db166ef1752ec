package flow

import "sync"

// RunCache keeps runs of the smallest class for one goroutine: with a thousand partitions there is a run for every few
// records, and what is done with it costs less than a sync.Pool. Those who take and those who give back are different
// goroutines; so what is too much for one goes to the pool by the magazine, and comes from there so. It holds up to 32
// runs, 20 KiB, for as long as its goroutine lives. The zero value is empty.
type RunCache struct{ free [][]Record }

const magazineSize = 16

type magazine [magazineSize][]Record

var (
	fullMagazines  sync.Pool
	emptyMagazines = sync.Pool{New: func() any { return new(magazine) }}
)

// openMagazine returns the runs of a full magazine, if there is any.
func openMagazine() (content magazine, ok bool) {
	m, ok := fullMagazines.Get().(*magazine)
	if ok {
		content = *m
		*m = magazine{}
		emptyMagazines.Put(m)
	}
	return content, ok
}

// Get is GetRun.
func (c *RunCache) Get(n int) []Record {
	if n > 1<<minRunBits {
		return GetRun(n)
	}
	if len(c.free) == 0 {
		m, ok := openMagazine()
		if !ok {
			return GetRun(n)
		}
		c.free = append(c.free, m[:]...)
	}
	last := len(c.free) - 1
	run := c.free[last]
	c.free[last] = nil
	c.free = c.free[:last]
	return run
}

// Put is PutRun.
func (c *RunCache) Put(run []Record) {
	if cap(run) != 1<<minRunBits {
		PutRun(run)
		return
	}
	if len(c.free) == 2*magazineSize {
		m := emptyMagazines.Get().(*magazine)
		copy(m[:], c.free[magazineSize:])
		clear(c.free[magazineSize:])
		c.free = c.free[:magazineSize]
		fullMagazines.Put(m)
	}
	clear(run)
	c.free = append(c.free, run[:0])
}
