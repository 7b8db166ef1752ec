package brokerproducer

import (
	"context"
	"errors"
	"testing"

	"github.com/sluice-kafka/sluice/internal/wire"
)

// Where a batch is, as the loop asks for it in order to end it; and that one it has ended is not written.
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
	c.beginWrite(req, nil)
	if first.claim.claimed || !second.claim.claimed {
		t.Error("what was ended is claimed, or what was not is not")
	}
	want(second, beingWritten)
	c.beginWrite(&request{}, nil)
	want(second, written) // another request is being written
	c.endWrite()
	want(second, written)
	c.endWrite(req.batches...)
	c.beginWrite(req, nil)
	if second.claim.claimed {
		t.Error("it is tried again, though it was to end as it was tried before")
	}
	c.endWrite(req.batches...)
	want(second, notWritten)
	c.sever(nil, nil) // of nothing
}

// A recall reaches the request that it is for, wherever that is, and no other; and what is written stays written.
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
		if err := c.beginWrite(req, &wire.Conn{}); err != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
	begin(req, false)
	healthy := c.wait
	write(nil)
	c.endWrite()
	begin(other, false)
	if c.wait != healthy {
		t.Error("a request that nobody recalled costs a context")
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
