package txn

import (
	"math"
	"testing"
)

// After 2147483647 comes 0. No number is negative, and none is left out.
func TestAdvance(t *testing.T) {
	for _, line := range []struct {
		first int32
		n     int
		want  int32
	}{
		{0, 0, 0},
		{0, 1, 1},
		{41, 500, 541},
		{math.MaxInt32, 0, math.MaxInt32},
		{math.MaxInt32 - 1, 1, math.MaxInt32},
		{math.MaxInt32, 1, 0},
		{math.MaxInt32, 3, 2},
		{math.MaxInt32 - 9, 100, 90},
		{math.MaxInt32, math.MaxInt32, math.MaxInt32 - 1},
	} {
		if got := Advance(line.first, line.n); got != line.want {
			t.Errorf("%d records after %d: %d, want %d", line.n, line.first, got, line.want)
		}
	}
}

// Batches get consecutive numbers, also across the wrap.
func TestTake(t *testing.T) {
	s := Sequence{Identity: Identity{ID: 7, Epoch: 2}, Next: math.MaxInt32 - 5}
	for _, line := range []struct {
		n           int
		first, next int32
	}{
		{3, math.MaxInt32 - 5, math.MaxInt32 - 2},
		{2, math.MaxInt32 - 2, math.MaxInt32},
		{4, math.MaxInt32, 3},
		{1, 3, 4},
	} {
		if first := s.Take(line.n); first != line.first || s.Next != line.next {
			t.Errorf("%d records: first %d, next %d; want %d and %d", line.n, first, s.Next, line.first, line.next)
		}
	}
	if s.Identity != (Identity{ID: 7, Epoch: 2}) {
		t.Errorf("the identity became %v", s.Identity)
	}
}

func TestKnown(t *testing.T) {
	if None.Known() || !(Identity{}).Known() || !(Identity{ID: 9, Epoch: math.MaxInt16}).Known() {
		t.Error("every identity with an id is known, 0 included")
	}
}
