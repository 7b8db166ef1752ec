package sluice

import "testing"

// The more batches are open, the smaller are the next ones: together they hold a quarter of the memory at most.
func TestOpenBatchesShareTheMemory(t *testing.T) {
	for _, test := range []struct {
		memory int64
		open   int64
		want   int
	}{
		{32 << 20, 0, 8 << 20},
		{32 << 20, 3, 2 << 20},
		{32 << 20, 31, 256 << 10},
		{32 << 20, 1000, 16 << 10},
		{1024, 0, 16 << 10}, // a record may be as large as the memory
	} {
		var s appenders
		s.open.Store(test.open)
		if got := s.mostBytes(test.memory); got != test.want {
			t.Errorf("%d of %d open: %d bytes", test.open, test.memory, got)
		}
	}
}
