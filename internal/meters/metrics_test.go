package meters

import (
	"testing"

	gometrics "github.com/rcrowley/go-metrics"
)

func TestMetricsAreShared(t *testing.T) {
	r := gometrics.NewRegistry()
	if Meter(r, "m") != Meter(r, "m") || Histogram(r, "h") != Histogram(r, "h") || Counter(r, "c") != Counter(r, "c") {
		t.Error("two metrics under one name")
	}
}

// A nil registry and a name that belongs to another kind of metric give one that counts nothing.
func TestNilMetrics(t *testing.T) {
	r := gometrics.NewRegistry()
	gometrics.GetOrRegisterGauge("taken", r)
	for _, registry := range []gometrics.Registry{nil, r} {
		_, meter := Meter(registry, "taken").(gometrics.NilMeter)
		_, histogram := Histogram(registry, "taken").(gometrics.NilHistogram)
		_, counter := Counter(registry, "taken").(gometrics.NilCounter)
		if !meter || !histogram || !counter {
			t.Errorf("registry %v: nil meter %t, nil histogram %t, nil counter %t", registry, meter, histogram, counter)
		}
	}
}

// uncomparable is a meter that can't be compared.
type uncomparable struct {
	gometrics.NilMeter
	_ []int
}

func TestRegistered(t *testing.T) {
	r := gometrics.NewRegistry()
	m := Meter(r, "m")
	if !Registered(r, "m", m) || Registered(r, "n", m) || Registered(nil, "m", m) {
		t.Error("registered is what the registry has under that name")
	}
	r.Unregister("m")
	if Registered(r, "m", m) {
		t.Error("registered after it was taken out")
	}
	Meter(r, "m")
	if Registered(r, "m", m) || !Registered(r, "m", gometrics.NilMeter{}) {
		t.Error("another meter of that name")
	}
	if err := r.Register("odd", uncomparable{}); err != nil {
		t.Fatal(err)
	}
	if !Registered(r, "odd", uncomparable{}) {
		t.Error("a meter that can't be compared counts as registered")
	}
}
