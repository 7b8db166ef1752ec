package main

import (
	"errors"
	"fmt"
	"sync"

	"github.com/sluice-kafka/sluice"
)

const (
	// shownPerCause is how many errors of one cause are shown in full. The rest is counted.
	shownPerCause = 3
	// maxCauses bounds the causes that are told apart, should an error's text never repeat.
	maxCauses = 16
)

// faults shows errors as they occur, and counts those that repeat a cause. All methods may be called concurrently.
type faults struct {
	con *console

	mu     sync.Mutex
	order  []string // causes as they first occurred
	counts map[string]int64
}

func newFaults(con *console) *faults { return &faults{con: con, counts: map[string]int64{}} }

// add takes one error in; where says which message it was, and is only called if the error is shown.
func (f *faults) add(where func() string, err error) {
	f.addRun(1, func(int) string { return where() }, err)
}

// addRun takes in an error that n messages share; where says which message the i-th was.
func (f *faults) addRun(n int, where func(i int) string, err error) {
	cause := readable(rootCause(err))
	if errors.Is(err, sluice.ErrOutcomeUnknown) {
		cause = readable(sluice.ErrOutcomeUnknown) + ": " + cause // such a message may have been written
	}
	f.mu.Lock()
	if _, known := f.counts[cause]; !known {
		if len(f.order) >= maxCauses {
			cause = "other causes"
		}
		if f.counts[cause] == 0 {
			f.order = append(f.order, cause)
		}
	}
	show := max(min(shownPerCause-f.counts[cause], int64(n)), 0)
	f.counts[cause] += int64(n)
	f.mu.Unlock()
	for i := range int(show) {
		f.con.errorf("%s: %s", where(i), explained(err))
	}
}

// summarize tells how many errors of each cause were not shown.
func (f *faults) summarize() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, cause := range f.order {
		if more := f.counts[cause] - shownPerCause; more > 0 {
			f.con.errorf("and %d more: %s", more, cause)
		}
	}
}

// rootCause follows what an error wraps to the end; of several wrapped errors, the last, which by custom is the cause.
func rootCause(err error) error {
	for {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			inner := joined.Unwrap()
			if len(inner) == 0 || inner[len(inner)-1] == nil {
				return err
			}
			err = inner[len(inner)-1]
			continue
		}
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// units are decimal, as disks and networks count.
func humanBytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		if v /= 1000; v < 999.95 {
			return fmt.Sprintf("%.1f %s", v, unit)
		}
	}
	return fmt.Sprintf("%.1f PB", v/1000)
}
