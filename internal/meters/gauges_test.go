package meters

import (
	"testing"

	gometrics "github.com/rcrowley/go-metrics"
)

func seven() int64 { return 7 }

func valueOf(t *testing.T, r gometrics.Registry, name string) int64 {
	t.Helper()
	g, ok := r.Get(name).(gometrics.Gauge)
	if !ok {
		t.Fatalf("%s is a %T", name, r.Get(name))
	}
	if v := g.Value(); g.Snapshot().Value() != v {
		t.Errorf("%s is %d, and its snapshot %d", name, v, g.Snapshot().Value())
	}
	return g.Value()
}

// Producers with one registry share a gauge; each takes its own part out.
func TestGaugesAddUp(t *testing.T) {
	parent := gometrics.NewRegistry()
	first, second := New(parent), New(parent)
	n := int64(1)
	first.Gauge("g", func() int64 { return n })
	second.Gauge("g", seven)
	n = 2
	if v := valueOf(t, parent, "g"); v != 9 {
		t.Errorf("the sum is %d", v)
	}
	first.Close()
	if v := valueOf(t, parent, "g"); v != 7 {
		t.Errorf("%d is left of the second", v)
	}
	first.Gauge("g", seven) // too late
	first.RenewGauges()
	if v := valueOf(t, parent, "g"); v != 7 {
		t.Errorf("%d after a closed one was renewed", v)
	}
	second.Close()
	if parent.Get("g") != nil || len(shared.users) != 0 {
		t.Error("it stays after Close")
	}
}

func TestGaugesLeaveOthersAlone(t *testing.T) {
	parent := gometrics.NewRegistry()
	users := gometrics.GetOrRegisterGauge("g", parent)
	r := New(parent)
	r.Gauge("g", seven)
	r.RenewGauges()
	r.Close()
	if parent.Get("g") != users || users.Value() != 0 {
		t.Error("the user's gauge was touched")
	}
}

// Whatever is taken out of the registry comes back.
func TestGaugesAreRenewed(t *testing.T) {
	parent := gometrics.NewRegistry()
	first, second := New(parent), New(parent)
	first.Gauge("g", seven)
	second.Gauge("g", seven)
	parent.UnregisterAll()
	first.RenewGauges()
	second.RenewGauges()
	second.RenewGauges()
	if v := valueOf(t, parent, "g"); v != 14 {
		t.Errorf("the sum is %d", v)
	}
	first.Close()
	second.Close()
	if parent.Get("g") != nil || len(shared.users) != 0 {
		t.Error("it stays after Close")
	}
}

func TestGaugesCannotBeUpdated(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it was")
		}
	}()
	newGauge().Update(1)
}
