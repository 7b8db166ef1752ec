package flow

import "sync"

// RunCache keeps runs of the smallest class for one goroutine. With a thousand partitions there is a run for every few
// records, and a sync.Pool would cost more than the rest of the work on it.
//
// One goroutine takes runs and another gives them back. So surplus runs move through a pool, in blocks of 16.
//
// A cache holds up to 32 runs, 20 KiB, for as long as its goroutine lives. The zero value is empty.
type RunCache struct{ free [][]Record }

const blockSize = 16

// block is what moves through the pool at once.
type block [blockSize][]Record

var (
	fullBlocks  sync.Pool
	emptyBlocks = sync.Pool{New: func() any { return new(block) }}
)

// openBlock takes a full block from the pool, if there is any, and returns its runs.
func openBlock() (content block, ok bool) {
	b, ok := fullBlocks.Get().(*block)
	if ok {
		content = *b
		*b = block{}
		emptyBlocks.Put(b)
	}
	return content, ok
}

// Get is GetRun.
func (c *RunCache) Get(n int) []Record {
	if n > 1<<minRunBits {
		return GetRun(n)
	}
	if len(c.free) == 0 {
		b, ok := openBlock()
		if !ok {
			return GetRun(n)
		}
		c.free = append(c.free, b[:]...)
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
		b := emptyBlocks.Get().(*block)
		copy(b[:], c.free[blockSize:])
		clear(c.free[blockSize:])
		c.free = c.free[:blockSize]
		fullBlocks.Put(b)
	}
	clear(run)
	c.free = append(c.free, run[:0])
}
