package stats

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// decades of ten buckets each, from least on.
const (
	least   = 10 * time.Microsecond
	decades = 8
)

// steps are the upper bounds of a decade, in hundredths of its first one. They are the numbers of a decade that people know
// (R10 of ISO 3), two of them rounded.
var steps = [...]time.Duration{100, 125, 160, 200, 250, 315, 400, 500, 630, 800}

const (
	// Bounds is how many upper bounds there are: the last one is 1,000 s.
	Bounds = decades*len(steps) + 1
	// Buckets is one more: the last one is for what is above all bounds.
	Buckets = Bounds + 1
)

// bounds are the buckets' upper bounds.
var bounds = func() (all [Bounds]time.Duration) {
	decade := least
	for i := range all {
		all[i] = decade * steps[i%len(steps)] / 100
		if i%len(steps) == len(steps)-1 {
			decade *= 10
		}
	}
	return all
}()

// firstBucket is the lowest bucket of the durations with so many bits.
var firstBucket = func() (first [65]uint8) {
	for n := 1; n < len(first); n++ {
		shortest := time.Duration(1) << (n - 1)
		i := 0
		for n < 64 && i < Bounds && bounds[i] < shortest {
			i++
		}
		first[n] = uint8(i)
	}
	return first
}()

// Bound is the upper bound of bucket i, which is not the last one.
func Bound(i int) time.Duration { return bounds[i] }

// bucketOf is the bucket of a duration. Of one number of bits there are four at most.
func bucketOf(d time.Duration) int {
	if d <= least {
		return 0
	}
	i := int(firstBucket[bits.Len64(uint64(d))])
	for i < Bounds && d > bounds[i] {
		i++
	}
	return i
}

// Histogram counts durations. Any goroutine may call its methods. The zero value is empty.
type Histogram struct {
	buckets [Buckets]atomic.Int64
	sum     atomic.Int64
	longest atomic.Int64
}

// Record counts n times the duration d.
func (h *Histogram) Record(d time.Duration, n int64) {
	d = max(d, 0)
	h.add(bucketOf(d), n, d*time.Duration(n), d)
}

func (h *Histogram) add(bucket int, n int64, sum, longest time.Duration) {
	h.buckets[bucket].Add(n)
	h.sum.Add(int64(sum))
	raise(&h.longest, int64(longest))
}

// raise makes a at least v.
func raise(a *atomic.Int64, v int64) {
	for {
		old := a.Load()
		if v <= old || a.CompareAndSwap(old, v) {
			return
		}
	}
}

// Sum is the sum of all durations.
func (h *Histogram) Sum() time.Duration { return time.Duration(h.sum.Load()) }

// AddTo adds what is counted to a sum.
func (h *Histogram) AddTo(s *Durations) {
	for i := range h.buckets {
		s.Buckets[i] += h.buckets[i].Load()
	}
	s.Sum += time.Duration(h.sum.Load())
	s.Max = max(s.Max, time.Duration(h.longest.Load()))
}

// moveTo moves what is counted to another histogram.
func (h *Histogram) moveTo(to *Histogram) {
	for i := range h.buckets {
		if n := h.buckets[i].Swap(0); n != 0 {
			to.buckets[i].Add(n)
		}
	}
	to.sum.Add(h.sum.Swap(0))
	raise(&to.longest, h.longest.Swap(0))
}

// Durations are what histograms have counted, added up.
type Durations struct {
	Buckets  [Buckets]int64
	Sum, Max time.Duration
}

// Count is how many durations there are.
func (s *Durations) Count() (n int64) {
	for _, of := range s.Buckets {
		n += of
	}
	return n
}

// Tally collects durations that follow each other and go to the same bucket, so that the histogram is written to once for all
// of them. One goroutine uses it, and ends with Flush.
type Tally struct {
	of           *Histogram
	bucket       int
	n            int64
	sum, longest time.Duration
}

// Record counts a duration for h. A nil h counts nothing.
func (t *Tally) Record(h *Histogram, d time.Duration) {
	d = max(d, 0)
	bucket := bucketOf(d)
	if h != t.of || bucket != t.bucket {
		t.Flush()
		t.of, t.bucket = h, bucket
	}
	t.n++
	t.sum += d
	t.longest = max(t.longest, d)
}

// Flush writes what was collected.
func (t *Tally) Flush() {
	if t.of != nil && t.n > 0 {
		t.of.add(t.bucket, t.n, t.sum, t.longest)
	}
	*t = Tally{}
}
