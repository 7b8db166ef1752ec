package main

import (
	"context"
	"math"
	"time"
)

// A pacer spreads records evenly: the i-th is due at i/rate seconds after the start, and what is late is due at once, so
// that a stall is caught up with. One goroutine uses it.
type pacer struct {
	rate  float64 // records a second; 0 is as fast as possible
	start time.Time
	timer *time.Timer
}

func newPacer(rate float64) *pacer {
	p := &pacer{rate: rate, start: time.Now(), timer: time.NewTimer(0)}
	<-p.timer.C
	return p
}

// wait returns how many records, from 1 to most, are to be sent now after sent of them, or 0 if ctx ended first.
func (p *pacer) wait(ctx context.Context, sent int64, most int) int {
	if ctx.Err() != nil {
		return 0
	}
	if p.rate <= 0 {
		return most
	}
	for {
		now := time.Since(p.start)
		if n := due(now, p.rate) - sent; n > 0 {
			return int(min(n, int64(most)))
		}
		p.timer.Reset(max(dueAt(sent, p.rate)-now, time.Microsecond))
		select {
		case <-p.timer.C:
		case <-ctx.Done():
			return 0
		}
	}
}

// due is the number of records that are due after elapsed; the first is due at once.
func due(elapsed time.Duration, rate float64) int64 {
	return int64(math.Floor(elapsed.Seconds()*rate)) + 1
}

// dueAt is when record i, from 0, is due.
func dueAt(i int64, rate float64) time.Duration {
	return time.Duration(math.Ceil(float64(i) / rate * float64(time.Second)))
}
