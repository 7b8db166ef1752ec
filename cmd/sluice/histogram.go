package main

import (
	"math"
	"math/bits"
	"time"
)

// subBits gives each power of two 64 buckets, so that a quantile is right within 1.6 %.
const subBits = 6

// A histogram counts durations in log-linear buckets of nanoseconds. Minimum, maximum and average are exact. One
// goroutine uses it, or a lock guards it.
type histogram struct {
	buckets [(64 - subBits) << subBits]uint64
	count   uint64
	sum     time.Duration
	max     time.Duration
}

// add counts n observations of d; a negative d, which only a clock that was set back gives, counts as zero.
func (h *histogram) add(d time.Duration, n int) {
	d = max(d, 0)
	h.buckets[bucket(uint64(d))] += uint64(n)
	h.count += uint64(n)
	h.sum += d * time.Duration(n)
	h.max = max(h.max, d)
}

// merge adds the observations of another one.
func (h *histogram) merge(o *histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.count += o.count
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// quantile returns a duration that the share q of the observations does not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	rank := max(uint64(math.Ceil(q*float64(h.count))), 1)
	seen := uint64(0)
	for i, n := range h.buckets {
		if seen += n; seen >= rank {
			return min(time.Duration(upper(i)), h.max)
		}
	}
	return h.max
}

func (h *histogram) average() time.Duration {
	if h.count == 0 {
		return 0
	}
	return h.sum / time.Duration(h.count)
}

// bucket keeps the subBits+1 leading bits of v: below 2^(subBits+1) every value has a bucket of its own.
func bucket(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// upper is the largest value that falls into bucket i.
func upper(i int) uint64 {
	shift := max(i>>subBits-1, 0)
	return uint64(i-shift<<subBits+1)<<shift - 1
}
