package main

import (
	"cmp"
	"sync"
)

// share is the records of one goroutine: those from the first up to, and without, the second.
type share struct{ from, to int }

// shares cuts n records for a number of goroutines. Each share is whole units but for the last, which has the
// remainder too; where there are fewer units than goroutines, some shares are empty.
func shares(n, goroutines, unit int) []share {
	units := n / unit
	list := make([]share, goroutines)
	for i := range list {
		list[i] = share{units * i / goroutines * unit, units * (i + 1) / goroutines * unit}
	}
	list[goroutines-1].to = n
	return list
}

// shareOut gives each of the run's goroutines its share of n records, waits for all of them, and returns a failure if
// there is one. A run with one goroutine has the caller's, which sends as it would without any of this.
func (r run) shareOut(n, unit int, send func(from, to int) error) error {
	if r.Goroutines == 1 {
		return send(0, n)
	}
	failed := make([]error, r.Goroutines)
	var wg sync.WaitGroup
	for i, s := range shares(n, r.Goroutines, unit) {
		wg.Go(func() { failed[i] = send(s.from, s.to) })
	}
	wg.Wait()
	return cmp.Or(failed...) // one is enough: they mostly fail for the same reason
}
