package produceset

import "sync"

// Set is a produce set on its way over the bridge: batches that go into one request, at most one of a partition, in the
// order they were added in. Whoever received it owns it and its batches. It is not safe for concurrent use.
type Set struct {
	Batches []*Batch
	// Bytes and Records are sums over the batches as they were added: uncompressed bytes with headers, and records.
	Bytes, Records int
}

var sets = sync.Pool{New: func() any { return new(Set) }}

// NewSet returns an empty set from a pool.
func NewSet() *Set { return sets.Get().(*Set) }

// Add appends a batch, which gets no further records. That no other of its partition is in the set is the caller's to see
// to.
func (s *Set) Add(b *Batch) {
	s.Batches = append(s.Batches, b)
	s.Bytes += b.Bytes()
	s.Records += b.Len()
}

// Reset empties the set. The batches are not released: they belong to whoever took them.
func (s *Set) Reset() {
	clear(s.Batches)
	*s = Set{Batches: s.Batches[:0]}
}

// Release empties the set and gives it back to its pool. The batches are not released.
func (s *Set) Release() {
	s.Reset()
	sets.Put(s)
}
