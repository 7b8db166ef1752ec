package stats

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBounds(t *testing.T) {
	if bounds[0] != 10*time.Microsecond || bounds[Bounds-1] != 1000*time.Second || !slices.IsSorted(bounds[:]) {
		t.Errorf("bounds are %v", bounds)
	}
	for i := 1; i < Bounds; i++ {
		if ratio := float64(bounds[i]) / float64(bounds[i-1]); ratio < 1.24 || ratio > 1.29 {
			t.Errorf("from %v to %v it is a factor of %f", bounds[i-1], bounds[i], ratio)
		}
	}
}

// bucketOf must do what a search in the bounds does.
func TestBucketOf(t *testing.T) {
	check := func(d time.Duration) {
		want, _ := slices.BinarySearch(bounds[:], d)
		if got := bucketOf(d); got != want {
			t.Errorf("%v is in bucket %d, want %d", d, got, want)
		}
	}
	for _, d := range []time.Duration{-1, 0, 1, 1<<63 - 1, 1 << 62, -1 << 63} {
		check(d)
	}
	for _, b := range bounds {
		for d := b - 1; d <= b+1; d++ {
			check(d)
		}
	}
	for bits := range 63 {
		check(1 << bits)
		check(1<<bits - 1)
	}
	for range 10_000 {
		check(time.Duration(rand.Int64() >> rand.IntN(63)))
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	h.Record(3*time.Second, 2)
	h.Record(-time.Second, 1) // a clock that is read too early
	h.Record(time.Hour, 1)
	var s Durations
	h.AddTo(&s)
	h.AddTo(&s)
	if s.Count() != 8 || s.Sum != 2*(2*3*time.Second+time.Hour) || s.Max != time.Hour ||
		s.Buckets[0] != 2 || s.Buckets[bucketOf(3*time.Second)] != 4 || s.Buckets[Buckets-1] != 2 {
		t.Errorf("%d of %v, at most %v: %v", s.Count(), s.Sum, s.Max, s.Buckets)
	}
	var to Histogram
	h.moveTo(&to)
	var left, moved Durations
	h.AddTo(&left)
	to.AddTo(&moved)
	if left != (Durations{}) || moved.Count() != 4 || moved.Sum != s.Sum/2 || moved.Max != s.Max {
		t.Errorf("%+v was left, and %+v moved", left, moved)
	}
}

// A Tally writes what a Histogram would have got.
func TestTally(t *testing.T) {
	var direct, other, tallied, otherTallied Histogram
	var tally Tally
	for range 1000 {
		d := time.Duration(rand.IntN(5)) * time.Millisecond
		a, b := &direct, &tallied
		if rand.IntN(5) == 0 {
			a, b = &other, &otherTallied
		}
		a.Record(d, 1)
		tally.Record(b, d)
	}
	tally.Record(nil, time.Second)
	tally.Flush()
	tally.Flush()
	for _, pair := range [][2]*Histogram{{&direct, &tallied}, {&other, &otherTallied}} {
		var want, got Durations
		pair[0].AddTo(&want)
		pair[1].AddTo(&got)
		if got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond, 1) }); n > 0 {
		t.Errorf("%f allocations", n)
	}
}

func TestHistogramConcurrentSafe(t *testing.T) {
	var h, moved Histogram
	var all sync.WaitGroup
	const writers, each = 8, 1000
	for range writers {
		all.Go(func() {
			for i := range each {
				h.Record(time.Duration(i)*time.Microsecond, 1)
			}
		})
	}
	all.Go(func() {
		for range 100 {
			h.moveTo(&moved)
		}
	})
	all.Wait()
	h.moveTo(&moved)
	var s Durations
	moved.AddTo(&s)
	if s.Count() != writers*each || s.Sum != writers*each*(each-1)/2*time.Microsecond || s.Max != (each-1)*time.Microsecond {
		t.Errorf("%d of %v, at most %v", s.Count(), s.Sum, s.Max)
	}
}

func BenchmarkRecord(b *testing.B) {
	var h Histogram
	for i := 0; b.Loop(); i++ {
		h.Record(time.Duration(i&0xffff)*time.Microsecond, 1)
	}
}

func BenchmarkTally(b *testing.B) {
	var h Histogram
	var tally Tally
	for b.Loop() {
		tally.Record(&h, 5*time.Millisecond)
	}
	tally.Flush()
}
