package meters

import (
	"sync"

	gometrics "github.com/rcrowley/go-metrics"
)

// gauge is a sum of values that are computed when it is read: one of each producer with the registry.
type gauge struct {
	mu     sync.Mutex
	values map[*Registry]func() int64
}

func newGauge() gometrics.Gauge { return &gauge{values: make(map[*Registry]func() int64)} }

// set sets the value of a producer; nil takes it out.
func (g *gauge) set(of *Registry, value func() int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if value == nil {
		delete(g.values, of)
	} else {
		g.values[of] = value
	}
}

// Value implements gometrics.Gauge.
func (g *gauge) Value() (sum int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, value := range g.values {
		sum += value()
	}
	return sum
}

// Snapshot implements gometrics.Gauge.
func (g *gauge) Snapshot() gometrics.Gauge { return gometrics.GaugeSnapshot(g.Value()) }

// Update implements gometrics.Gauge. It panics, as it does for gometrics.FunctionalGauge.
func (g *gauge) Update(int64) { panic("Update called on a gauge that is computed") }

// Gauge registers a gauge that is computed when it is read. Several producers' are added up. A name that somebody else has
// registered is left alone. value must not use the registry.
func (r *Registry) Gauge(name string, value func() int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gauges[name] = value
	r.setGauge(name, value)
}

func (r *Registry) setGauge(name string, value func() int64) {
	if g, ok := r.getOrRegister(name, newGauge).(*gauge); ok && !r.closed {
		g.set(r, value)
	}
}

// RenewGauges registers the gauges again that somebody has taken out of the registry.
func (r *Registry) RenewGauges() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, value := range r.gauges {
		r.setGauge(name, value)
	}
}
