package main

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestShares(t *testing.T) {
	for _, test := range []struct {
		n, goroutines, unit int
		want                []share
	}{
		{10, 1, 1, []share{{0, 10}}},
		{10, 3, 1, []share{{0, 3}, {3, 6}, {6, 10}}},
		{2, 3, 1, []share{{0, 0}, {0, 1}, {1, 2}}},
		{2000, 2, 500, []share{{0, 1000}, {1000, 2000}}},
		{2499, 3, 500, []share{{0, 500}, {500, 1000}, {1000, 2499}}},
		{499, 2, 500, []share{{0, 0}, {0, 499}}},
	} {
		if got := shares(test.n, test.goroutines, test.unit); !slices.Equal(got, test.want) {
			t.Errorf("shares(%d, %d, %d) = %v, want %v", test.n, test.goroutines, test.unit, got, test.want)
		}
	}
}

func TestSharesAtTheBounds(t *testing.T) {
	list := shares(1_000_000_000, 1000, 500)
	for i, s := range list {
		if s.to-s.from != 1_000_000 || s.from != i*1_000_000 {
			t.Fatalf("share %d is %+v", i, s)
		}
	}
}

func TestShareOut(t *testing.T) {
	for _, goroutines := range []int{1, 3, 50} {
		r := run{settings: settings{Goroutines: goroutines}}
		var mu sync.Mutex
		calls, sent := 0, 0
		err := r.shareOut(1234, 500, func(from, to int) error {
			mu.Lock()
			defer mu.Unlock()
			calls++
			sent += to - from
			if to == 1234 {
				return errors.New("the last share fails")
			}
			return nil
		})
		if calls != goroutines || sent != 1234 {
			t.Errorf("%d goroutines: %d calls sent %d records", goroutines, calls, sent)
		}
		if err == nil || !strings.Contains(err.Error(), "the last share fails") {
			t.Errorf("%d goroutines: shareOut returns %v", goroutines, err)
		}
	}
}
