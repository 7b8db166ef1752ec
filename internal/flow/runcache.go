package flow

import "sync"

// RunCache keeps runs of the smallest class for one goroutine: with a thousand partitions there is a run for every few
// records, and what is done with it costs less than a sync.Pool. Those who take and those who give back are different
// goroutines; so what is too much for one goes to the pool by the block, and comes from there so. It holds up to 32
// runs, 20 KiB, for as long as its goroutine lives. The zero value is empty.
type RunCache struct{ free [][]Record }

const blockSize = 16

type block [blockSize][]Record

var (
	fullBlocks  sync.Pool
	emptyBlocks = sync.Pool{New: func() any { return new(block) }}
)

// openBlock returns the runs of a full block, if there is any.
func openBlock() (content block, ok bool) {
	m, ok := fullBlocks.Get().(*block)
	if ok {
		content = *m
		*m = block{}
		emptyBlocks.Put(m)
	}
	return content, ok
}

// Get is GetRun.
func (c *RunCache) Get(n int) []Record {
	if n > 1<<minRunBits {
		return GetRun(n)
	}
	if len(c.free) == 0 {
		m, ok := openBlock()
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
	if len(c.free) == 2*blockSize {
		m := emptyBlocks.Get().(*block)
		copy(m[:], c.free[blockSize:])
		clear(c.free[blockSize:])
		c.free = c.free[:blockSize]
		fullBlocks.Put(m)
	}
	clear(run)
	c.free = append(c.free, run[:0])
}
