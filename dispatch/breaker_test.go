package dispatch

import (
	"errors"
	"testing"
	"time"

	"github.com/eapache/go-resiliency/breaker"
)

func TestLookupBreaker(t *testing.T) {
	second := int64(time.Second)
	down := errors.New("down")
	var b lookupBreaker
	at := second
	fail := func(after int64, open bool) {
		t.Helper()
		at += after
		if err := b.check(at); err != nil {
			t.Fatalf("open before the failure at %v: %v", time.Duration(at), err)
		}
		b.failed(at, down)
		err := b.check(at)
		if open != errors.Is(err, breaker.ErrBreakerOpen) || open != errors.Is(err, down) {
			t.Fatalf("after the failure at %v: %v, want open %v", time.Duration(at), err, open)
		}
	}
	fail(0, false)
	fail(second, false)
	fail(11*second, false) // the two before are too old to count
	fail(second, false)
	fail(second, true)
	at += 10*second - 1
	if b.check(at) == nil {
		t.Error("a look-up may pass before the pause is over")
	}
	fail(1, true) // one look-up may pass, and opens it again
	fail(10*second, true)
}
