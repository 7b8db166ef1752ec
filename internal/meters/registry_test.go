package meters

import (
	"sync"
	"testing"

	gometrics "github.com/rcrowley/go-metrics"
)

func counter() gometrics.Counter { return gometrics.NewCounter() }

func TestRegistry(t *testing.T) {
	parent := gometrics.NewRegistry()
	users := gometrics.GetOrRegisterCounter("of-the-user", parent)
	first, second := New(parent), New(parent)
	for _, r := range []*Registry{first, second} {
		for range 2 {
			if gometrics.GetOrRegisterCounter("of-the-user", r) != users {
				t.Error("another metric under the user's name")
			}
			gometrics.GetOrRegisterCounter("shared", r).Inc(1)
		}
	}
	gometrics.GetOrRegisterCounter("of-the-first", first)
	if n := parent.Get("shared").(gometrics.Counter).Count(); n != 4 {
		t.Errorf("counted %d", n)
	}
	first.Close()
	first.Close()
	if parent.Get("of-the-first") != nil || parent.Get("shared") == nil || parent.Get("of-the-user") == nil {
		t.Error("the first Close must take out the first producer's own metric, and no other")
	}
	second.Close()
	if parent.Get("shared") != nil || parent.Get("of-the-user") == nil {
		t.Error("the last Close must leave the user's metric alone")
	}
	if len(shared.users) != 0 {
		t.Errorf("%d shared metrics are left", len(shared.users))
	}
}

func TestRegistryConcurrentSafe(t *testing.T) {
	parent := gometrics.NewRegistry()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				r := New(parent)
				r.GetOrRegister("a", counter)
				r.GetOrRegister("b", counter)
				r.Close()
			}
		})
	}
	all.Wait()
	parent.Each(func(name string, _ any) { t.Errorf("%s is left", name) })
}

// unhashable can't be a map's key.
type unhashable struct {
	gometrics.Registry
	_ []string
}

func TestUnhashableRegistry(t *testing.T) {
	parent := gometrics.NewRegistry()
	r := New(unhashable{Registry: parent})
	gometrics.GetOrRegisterCounter("a", r).Inc(1)
	if n := parent.Get("a").(gometrics.Counter).Count(); n != 1 {
		t.Errorf("counted %d", n)
	}
	r.Close()
	if parent.Get("a") != nil {
		t.Error("stays after Close")
	}
}

// After Close nothing is registered: nobody would take it out.
func TestNothingIsRegisteredAfterClose(t *testing.T) {
	parent := gometrics.NewRegistry()
	r := New(parent)
	r.Close()
	if m := r.GetOrRegister("a", counter); m != nil || parent.Get("a") != nil {
		t.Errorf("registered %v", m)
	}
}

// Forget is Close for some names: another producer's, and the user's, stay.
func TestForget(t *testing.T) {
	parent := gometrics.NewRegistry()
	gometrics.GetOrRegisterCounter("of-the-user", parent)
	first, second := New(parent), New(parent)
	for _, r := range []*Registry{first, second} {
		r.GetOrRegister("of-the-user", counter)
		r.GetOrRegister("shared", counter)
	}
	first.GetOrRegister("own", counter)
	for range 2 {
		first.Forget("own", "shared", "of-the-user", "unknown")
		if parent.Get("own") != nil || parent.Get("shared") == nil || parent.Get("of-the-user") == nil {
			t.Error("only what nobody else has is taken out")
		}
	}
	first.GetOrRegister("own", counter)
	second.Close()
	if parent.Get("own") == nil || parent.Get("shared") != nil {
		t.Error("what was registered again stays, what nobody has any more goes")
	}
	first.Close()
	first.Forget("own")
	if parent.Get("own") != nil || len(shared.users) != 0 {
		t.Errorf("%d shared metrics are left", len(shared.users))
	}
}

// A sarama client takes the producer's metrics out when one of its brokers is closed, and its next broker registers its
// own. The producer's Close leaves those alone, since the client would not notice that they are gone.
func TestMetricsInPlaceOfOursStay(t *testing.T) {
	parent := gometrics.NewRegistry()
	first, second := New(parent), New(parent)
	ours := first.GetOrRegister("m", counter)
	second.GetOrRegister("m", counter)
	parent.Unregister("m")
	theirs := gometrics.GetOrRegisterCounter("m", parent)
	if got := first.GetOrRegister("m", counter); got != theirs || got == ours {
		t.Error("not the one that is registered")
	}
	first.Close()
	second.Close() // it has not looked again
	if parent.Get("m") != theirs || len(shared.users) != 0 {
		t.Errorf("the client's metric is gone; %d are shared", len(shared.users))
	}
	// What is taken out and comes back is ours again.
	third := New(parent)
	third.GetOrRegister("n", counter)
	parent.Unregister("n")
	third.GetOrRegister("n", counter)
	third.Close()
	if parent.Get("n") != nil || len(shared.users) != 0 {
		t.Error("it stays after Close")
	}
}
