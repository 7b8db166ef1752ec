package brokerproducer

import "testing"

// Where a batch is, as the loop asks for it in order to end it; and that one it has ended is not written.
func TestClaims(t *testing.T) {
	var c claims
	req := &request{}
	first, second := &Batch{req: req}, &Batch{req: req}
	req.batches = []*Batch{first, second}
	want := func(b *Batch, want whereabouts) {
		t.Helper()
		if got := c.end(b); got != want {
			t.Errorf("it is %d, want %d", got, want)
		}
	}
	want(first, unwritten)
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
	want(second, unwritten)
	c.sever(nil, nil) // of nothing
}
