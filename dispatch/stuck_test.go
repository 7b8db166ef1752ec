package dispatch

import (
	"testing"
	"time"
)

// What may exceed the budget: nothing for a while, then a quarter a step, and from the tenth step on another each time that
// the time has doubled.
func TestExcess(t *testing.T) {
	const limit, before = 400, 30
	for _, test := range []struct {
		short time.Duration
		bytes int64
		again time.Duration
	}{
		{0, 0, 100 * time.Millisecond},
		{99 * time.Millisecond, 0, time.Millisecond},
		{100 * time.Millisecond, 130, 100 * time.Millisecond},
		{199 * time.Millisecond, 130, time.Millisecond},
		{200 * time.Millisecond, 230, 100 * time.Millisecond},
		{999 * time.Millisecond, 930, time.Millisecond},
		{time.Second, 1030, time.Second},
		{1999 * time.Millisecond, 1030, time.Millisecond},
		{2 * time.Second, 1130, 2 * time.Second},
		{10 * time.Minute, 1930, 1024*time.Second - 10*time.Minute},
	} {
		if bytes, again := excess(test.short, limit, before); bytes != test.bytes || again != test.again {
			t.Errorf("after %v: %d bytes, more in %v; want %d, %v", test.short, bytes, again, test.bytes, test.again)
		}
	}
	if bytes, again := excess(1<<62, limit, before); bytes > 13*limit || again <= 0 {
		t.Errorf("after all time: %d bytes, more in %v", bytes, again)
	}
}
