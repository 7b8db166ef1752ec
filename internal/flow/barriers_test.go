package flow

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

func passed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// pending is the number of records without a fate.
func pending(f *Barriers) (n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.open {
		n += f.open[i].pending
	}
	return n
}

func passedBarrier(numbers ...uint32) []Record {
	recs := make([]Record, len(numbers))
	for i, n := range numbers {
		recs[i].Barrier = n
	}
	return recs
}

func TestBarrierOfNothingIsPassed(t *testing.T) {
	f := NewBarriers()
	for range 2 {
		if !passed(f.Seal()) {
			t.Error("a barrier of no records is not passed")
		}
	}
}

func TestBarrierWaitsForItsOwn(t *testing.T) {
	f := NewBarriers()
	a := f.Accept(2)
	first := f.Seal()
	b := f.Accept(1)
	second := f.Seal()
	c := f.Accept(5)
	f.Decided(&Outcome{Records: passedBarrier(b)})
	if passed(first) || passed(second) {
		t.Error("a later barrier is not passed before an earlier one")
	}
	f.Decided(&Outcome{Records: passedBarrier(a, c)}, &Outcome{Records: passedBarrier(a)})
	if !passed(first) || !passed(second) {
		t.Error("all records of both barriers are decided")
	}
	if n := pending(f); n != 4 {
		t.Errorf("%d are pending, want 4: of after the barriers", n)
	}
}

// The model is one number a record: which flush barrier it belongs to, by the count of seals before it.
func TestBarriersLikeTheModel(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		f := NewBarriers()
		if seed%2 == 0 {
			f.current = math.MaxUint32 - 3 // numbers wrap on the way
		}
		type accepted struct {
			number uint32
			seals  int
		}
		var open []accepted
		var seals []<-chan struct{}
		for range 300 {
			switch rnd.IntN(5) {
			case 0:
				seals = append(seals, f.Seal())
			case 1, 2:
				n := rnd.IntN(4)
				number := f.Accept(n)
				for range n {
					open = append(open, accepted{number, len(seals)})
				}
			default:
				var recs []Record
				for range min(len(open), rnd.IntN(6)) {
					i := rnd.IntN(len(open))
					recs = append(recs, passedBarrier(open[i].number)...)
					open = append(open[:i], open[i+1:]...)
				}
				f.Decided(&Outcome{Records: recs})
			}
			oldest := len(seals)
			for _, a := range open {
				oldest = min(oldest, a.seals)
			}
			for i, ch := range seals {
				if got, want := passed(ch), i < oldest; got != want {
					t.Fatalf("seed %d: barrier %d of %d passed: %v, want %v (oldest record has %d seals before it)", seed, i, len(seals), got, want, oldest)
				}
			}
			if got := pending(f); got != int64(len(open)) {
				t.Fatalf("seed %d: %d pending, want %d", seed, got, len(open))
			}
		}
	}
}

// One goroutine accepts and seals, as the dispatcher does; others decide.
func TestBarriersConcurrentSafe(t *testing.T) {
	f := NewBarriers()
	work := make(chan []Record, 16)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for recs := range work {
				f.Decided(&Outcome{Records: recs})
			}
		})
	}
	var seals []<-chan struct{}
	for i := range 1000 {
		n := 1 + i%7
		number := f.Accept(n)
		recs := make([]Record, n)
		for j := range recs {
			recs[j].Barrier = number
		}
		work <- recs
		if i%10 == 0 {
			seals = append(seals, f.Seal())
		}
	}
	close(work)
	for _, ch := range seals {
		<-ch
	}
	wg.Wait()
	if pending(f) != 0 || len(f.open) != 1 {
		t.Errorf("%d pending, %d barriers kept", pending(f), len(f.open))
	}
}
