package main

import (
	"runtime"
	"testing"
)

// TestHeldMemory: what is held counts, what is garbage does not.
func TestHeldMemory(t *testing.T) {
	const size = 64 << 20
	before := heldMemory()
	kept := make([]byte, size)
	if grown := heldMemory() - before; grown < size*3/4 {
		t.Errorf("%d bytes more are held, of %d that were made", grown, size)
	}
	runtime.KeepAlive(kept)
	if grown := heldMemory() - before; grown > size/4 {
		t.Errorf("%d bytes are held, and %d are garbage", grown, size)
	}
}
