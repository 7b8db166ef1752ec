package flow

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestActivities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Activities
		want := func(key, text string) {
			t.Helper()
			if err := d.Now(key); text == "" && err != nil || text != "" && (err == nil || err.Error() != text) {
				t.Errorf("%s: %v, want %q", key, err, text)
			}
		}
		want("a", "")
		first := d.Begin("a", "dialling a", nil)
		time.Sleep(1234567 * time.Microsecond)
		second := d.Begin("a", "asking a", nil)
		want("a", "dialling a for 1.2s")
		want("b", "")
		first.Next("TLS handshake with a", nil)
		time.Sleep(1234 * time.Microsecond)
		want("a", "TLS handshake with a for 1ms")
		first.End()
		want("a", "asking a for 1ms")
		var better error
		second.Next("asking a again", func() error { return better })
		want("a", "asking a again for 0s")
		better = errors.New("reading")
		want("a", "reading")
		second.End()
		second.End()
		want("a", "")

		var none *Activities
		a := none.Begin("", "something", nil)
		a.Next("something else", nil)
		a.End()
		if err := none.Now(""); err != nil {
			t.Error(err)
		}
	})
}
