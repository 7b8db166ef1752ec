package dispatch

import (
	"testing"
	"time"
)

// What may exceed the budget: nothing for a while, then a quarter, and another each time that the time has doubled.
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
		{200 * time.Millisecond, 230, 200 * time.Millisecond},
		{399 * time.Millisecond, 230, time.Millisecond},
		{time.Second, 430, 600 * time.Millisecond},
		{10 * time.Minute, 1330, 8192*100*time.Millisecond - 10*time.Minute},
	} {
		if bytes, again := excess(test.short, limit, before); bytes != test.bytes || again != test.again {
			t.Errorf("after %v: %d bytes, more in %v; want %d, %v", test.short, bytes, again, test.bytes, test.again)
		}
	}
	if bytes, again := excess(1<<62, limit, before); bytes > 20*limit || again <= 0 {
		t.Errorf("after all time: %d bytes, more in %v", bytes, again)
	}
}
