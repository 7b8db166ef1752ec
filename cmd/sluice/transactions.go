package main

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// transactions puts a perf load into transactions, one after the other. A nil one does nothing. One goroutine uses it.
type transactions struct {
	sender   sender
	duration time.Duration
	stats    *stats

	open  bool
	begun time.Time // of the open one
}

// begin begins a transaction if none is open. It is called before each hand-over, so that none is ever empty.
func (t *transactions) begin() error {
	if t == nil || t.open {
		return nil
	}
	if err := t.sender.begin(); err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	t.open, t.begun = true, time.Now()
	return nil
}

// sent is called after each hand-over. It commits the transaction if its duration is over.
func (t *transactions) sent(ctx context.Context) error {
	if t == nil || time.Since(t.begun) < t.duration {
		return nil
	}
	return t.end(ctx)
}

// end commits the open transaction, if there is one. If that fails it is aborted, counted and told; the error is for a
// producer that can't begin another one.
func (t *transactions) end(ctx context.Context) error {
	if t == nil || !t.open {
		return nil
	}
	t.open = false
	start := time.Now()
	err := t.sender.commit(ctx)
	if err == nil {
		t.stats.committed(time.Since(start))
		return nil
	}
	t.stats.lost(err)
	if aborted := t.sender.abort(ctx); !t.sender.ready() {
		return fmt.Errorf("no other transaction can begin: %w", cmp.Or(aborted, err))
	}
	return nil
}
