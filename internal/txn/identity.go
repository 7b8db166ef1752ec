package txn

import "math"

// Identity is a producer id and its epoch.
type Identity struct {
	ID    int64
	Epoch int16
}

// None means that no broker has given an identity, or that the producer is not idempotent.
var None = Identity{ID: -1, Epoch: -1}

// Known tells whether a broker gave the identity.
func (i Identity) Known() bool { return i.ID >= 0 }

// Sequence is one partition's counter under an identity. Next is the number of the next record.
type Sequence struct {
	Identity
	Next int32
}

// Take gives numbers to n records and returns the first. After 2147483647 comes 0.
func (s *Sequence) Take(n int) (first int32) {
	first = s.Next
	s.Next = Advance(first, n)
	return first
}

// Advance is the sequence number n records after first.
func Advance(first int32, n int) int32 { return int32((int64(first) + int64(n)) & math.MaxInt32) }
