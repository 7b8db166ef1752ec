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

// pending is the number of records without an outcome.
func pending(b *Barriers) (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.open {
		n += b.open[i].pending
	}
	return n
}

func countedBy(numbers ...uint32) []Record {
	recs := make([]Record, len(numbers))
	for i, n := range numbers {
		recs[i].Barrier = n
	}
	return recs
}

func TestBarrierOfNothingIsPassed(t *testing.T) {
	b := NewBarriers()
	for range 2 {
		if !passed(b.Seal()) {
			t.Error("a barrier of no records is not passed")
		}
	}
}

func TestBarrierWaitsForItsOwn(t *testing.T) {
	b := NewBarriers()
	x := b.Accept(2)
	first := b.Seal()
	y := b.Accept(1)
	second := b.Seal()
	z := b.Accept(5)
	b.Decided(&Outcome{Records: countedBy(y)})
	if passed(first) || passed(second) {
		t.Error("a later barrier is not passed before an earlier one")
	}
	b.Decided(&Outcome{Records: countedBy(x, z)}, &Outcome{Records: countedBy(x)})
	if !passed(first) || !passed(second) {
		t.Error("all records of both barriers are decided")
	}
	if n := pending(b); n != 4 {
		t.Errorf("%d are pending, want the 4 that came after the barriers", n)
	}
}

// The model keeps for each record how many seals came before it. A barrier is passed when no open record is older.
func TestBarriersLikeTheModel(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		b := NewBarriers()
		if seed%2 == 0 {
			b.current = math.MaxUint32 - 3 // numbers wrap on the way
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
				seals = append(seals, b.Seal())
			case 1, 2:
				n := rnd.IntN(4)
				number := b.Accept(n)
				for range n {
					open = append(open, accepted{number, len(seals)})
				}
			default:
				var recs []Record
				for range min(len(open), rnd.IntN(6)) {
					i := rnd.IntN(len(open))
					recs = append(recs, countedBy(open[i].number)...)
					open = append(open[:i], open[i+1:]...)
				}
				b.Decided(&Outcome{Records: recs})
			}
			oldest := len(seals)
			for _, a := range open {
				oldest = min(oldest, a.seals)
			}
			for i, ch := range seals {
				if got, want := passed(ch), i < oldest; got != want {
					t.Fatalf("seed %d: barrier %d of %d passed: %v, want %v (oldest record has %d seals before it)",
						seed, i, len(seals), got, want, oldest)
				}
			}
			if got := pending(b); got != int64(len(open)) {
				t.Fatalf("seed %d: %d pending, want %d", seed, got, len(open))
			}
		}
	}
}

// One goroutine accepts and seals, as the dispatcher does; others decide.
func TestBarriersConcurrentSafe(t *testing.T) {
	b := NewBarriers()
	work := make(chan []Record, 16)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for recs := range work {
				b.Decided(&Outcome{Records: recs})
			}
		})
	}
	var seals []<-chan struct{}
	for i := range 1000 {
		n := 1 + i%7
		number := b.Accept(n)
		recs := make([]Record, n)
		for j := range recs {
			recs[j].Barrier = number
		}
		work <- recs
		if i%10 == 0 {
			seals = append(seals, b.Seal())
		}
	}
	close(work)
	for _, ch := range seals {
		<-ch
	}
	wg.Wait()
	if pending(b) != 0 || len(b.open) != 1 {
		t.Errorf("%d pending, %d barriers kept", pending(b), len(b.open))
	}
}
