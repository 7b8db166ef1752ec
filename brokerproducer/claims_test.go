package brokerproducer

import (
	"context"
	"errors"
	"testing"

	"github.com/sluice-kafka/sluice/internal/wire"
)

// The loop learns how far a batch is when it ends it, and a batch that it has ended is not written.
func TestClaims(t *testing.T) {
	var c claims
	req := &request{}
	first, second := &Batch{req: req}, &Batch{req: req}
	req.batches = []*Batch{first, second}
	want := func(b *Batch, want writeState) {
		t.Helper()
		if got := c.end(b); got != want {
			t.Errorf("it is %d, want %d", got, want)
		}
	}
	want(first, notWritten)
	c.beginWrite(req, nil, func() {})
	if first.claim.claimed || !second.claim.claimed {
		t.Error("the ended batch is claimed, or the other one is not")
	}
	want(second, beingWritten)
	c.beginWrite(&request{}, nil, func() {})
	want(second, written) // another request is being written
	c.endWrite()
	want(second, written)
	c.endWrite(req.batches...)
	c.beginWrite(req, nil, func() {})
	if second.claim.claimed {
		t.Error("it is tried again, though the loop ended it during the first try")
	}
	c.endWrite(req.batches...)
	want(second, notWritten)
	c.sever(nil, nil) // nothing is being written
}

// A recall reaches its own request, before its turn and while it waits, and no other. What is written stays written.
func TestRecall(t *testing.T) {
	var c claims
	req, other := &request{}, &request{}
	b := &Batch{req: req}
	begin := func(req *request, recalled bool) {
		t.Helper()
		ctx := c.beginWait(t.Context(), req)
		if got := errors.Is(context.Cause(ctx), errRecalled); got != recalled {
			t.Errorf("recalled %t, want %t", got, recalled)
		}
	}
	write := func(want error) {
		t.Helper()
		if err := c.beginWrite(req, &wire.Conn{}, func() {}); err != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
	begin(req, false)
	healthy := c.wait
	write(nil)
	c.endWrite()
	begin(other, false)
	if c.wait != healthy {
		t.Error("a new context, though nothing was recalled")
	}
	c.recall(b) // it is not the one that waits
	if c.wait.Err() != nil {
		t.Error("another request is recalled")
	}
	begin(req, true) // recalled before its turn
	write(errRecalled)

	req.recalled = false
	begin(req, false)
	c.recall(b) // while it waits
	if c.wait.Err() == nil {
		t.Error("it waits on")
	}
	write(errRecalled)

	req.recalled = false
	begin(req, false)
	write(nil)
	c.recall(b) // while it is written
	if c.wait.Err() != nil {
		t.Error("it is recalled while it is written")
	}
	c.endWrite(b) // it came to nothing
	begin(req, true)
	begin(other, false)
}
