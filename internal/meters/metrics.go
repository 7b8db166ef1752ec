package meters

import (
	"reflect"

	gometrics "github.com/rcrowley/go-metrics"
)

// Meter returns the meter of that name in r, and registers it first if r has none. If r is nil, or the name belongs to a
// metric of another kind, the meter counts nothing.
func Meter(r gometrics.Registry, name string) gometrics.Meter {
	return registered[gometrics.Meter](r, name, gometrics.NewMeter, gometrics.NilMeter{})
}

// Histogram is like Meter. A new histogram has sarama's reservoir: 1028 samples, weighted to the last five minutes.
func Histogram(r gometrics.Registry, name string) gometrics.Histogram {
	return registered[gometrics.Histogram](r, name, func() gometrics.Histogram {
		return gometrics.NewHistogram(gometrics.NewExpDecaySample(1028, 0.015))
	}, gometrics.NilHistogram{})
}

// Counter is like Meter.
func Counter(r gometrics.Registry, name string) gometrics.Counter {
	return registered[gometrics.Counter](r, name, gometrics.NewCounter, gometrics.NilCounter{})
}

func registered[M any](r gometrics.Registry, name string, create func() M, none M) M {
	if r == nil {
		return none
	}
	if m, ok := r.GetOrRegister(name, create).(M); ok {
		return m
	}
	return none
}

// Registered tells whether r still has metric, which Meter, Histogram or Counter returned for that name. For a metric that
// counts nothing, because the name belongs to another kind, it tells whether r has any metric of that name.
func Registered(r gometrics.Registry, name string, metric any) bool {
	if r == nil {
		return false
	}
	now := r.Get(name)
	if now == nil {
		return false
	}
	switch metric.(type) {
	case gometrics.NilMeter, gometrics.NilHistogram, gometrics.NilCounter:
		return true
	}
	return !reflect.TypeOf(now).Comparable() || now == metric
}
