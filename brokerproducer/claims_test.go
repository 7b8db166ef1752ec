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
	want(first, atHome)
	c.take(req, nil)
	if first.claimed || !second.claimed {
		t.Error("what was ended is claimed, or what was not is not")
	}
	want(second, beingTaken)
	c.giveBack(req)
	c.take(req, nil)
	want(second, beingTaken)
	want(first, atHome)
	c.take(&request{}, nil)
	want(second, away) // another request is being written
	c.written()
	want(second, away)
	c.giveBack(req)
	want(second, atHome)
	c.sever(nil) // of nothing
}
