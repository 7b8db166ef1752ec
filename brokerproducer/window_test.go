package brokerproducer

import "testing"

// A broker recognises a duplicate of the last five batches only. So a batch that may be written must not have more than four
// behind it, in flight or acknowledged.
func TestWindowCountsWhatWasAcknowledgedBehindTheOldest(t *testing.T) {
	s := &Session{confirmed: true}
	var batches []*Batch
	send := func() {
		b := &Batch{session: s}
		batches = append(batches, b)
		s.flight = append(s.flight, b)
		s.unacked++
	}
	acknowledge := func(b *Batch) {
		s.countAcked(b)
		s.removeFromFlight(b)
		s.unacked--
	}
	for range 4 {
		send()
	}
	if s.windowFull(5) {
		t.Fatal("full with four in flight")
	}
	acknowledge(batches[2])
	acknowledge(batches[3])
	if s.windowFull(5) {
		t.Fatal("full with the oldest, three behind it")
	}
	send()
	if s.unacked != 3 || !s.windowFull(5) {
		t.Fatalf("not full with %d in flight and two acknowledged behind the oldest", s.unacked)
	}
	acknowledge(batches[0])
	if s.windowFull(5) {
		t.Fatal("full after the oldest was acknowledged")
	}
	if batches[1].ackedBehind != 2 || batches[4].ackedBehind != 0 {
		t.Errorf("passed by %d and %d, want 2 and 0", batches[1].ackedBehind, batches[4].ackedBehind)
	}
}
