// Package meters makes a producer's metrics in the user's registry and takes them out again. It promises no
// compatibility.
package meters

import (
	"reflect"
	"sync"

	gometrics "github.com/rcrowley/go-metrics"
)

// Registry is the user's registry as one producer sees it. Close takes out what the producer has registered, and stops
// its meters: go-metrics would tick them for ever. A metric that was there before stays, whether sarama's or the user's
// own, and so does one that a sarama client has put in the place of ours, which its brokers take out when they are closed.
// One that several producers share stays until the last of them is closed.
//
// All methods may be called concurrently.
type Registry struct {
	gometrics.Registry // the user's

	mu     sync.Mutex
	mine   map[string]*use
	gauges map[string]func() int64
	closed bool
}

// shared has the metrics that a producer registered, and others may use too.
var shared = struct {
	sync.Mutex
	users map[key]*use
}{users: make(map[key]*use)}

type use struct {
	producers int
	metric    any // as the user's registry returns it
}

// replaced tells whether the registry has another metric of that name by now.
func (u *use) replaced(now any) bool {
	return now != nil && u.metric != nil && reflect.TypeOf(now).Comparable() && now != u.metric
}

type key struct {
	registry gometrics.Registry
	name     string
}

// New wraps a registry.
func New(parent gometrics.Registry) *Registry {
	if !reflect.ValueOf(parent).Comparable() {
		// It can't be a map's key, so this producer counts as its only user.
		parent = &alone{parent}
	}
	return &Registry{Registry: parent, mine: make(map[string]*use), gauges: make(map[string]func() int64)}
}

type alone struct{ gometrics.Registry }

// GetOrRegister is the parent's, and remembers what it has registered. After Close it registers nothing and returns nil
// for a metric that is not there.
func (r *Registry) GetOrRegister(name string, metric any) any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.getOrRegister(name, metric)
}

// getOrRegister is called with mu held.
func (r *Registry) getOrRegister(name string, metric any) any {
	if r.closed {
		return r.Registry.Get(name)
	}
	shared.Lock()
	defer shared.Unlock()
	k := key{r.Registry, name}
	now := r.Registry.Get(name)
	u := shared.users[k]
	if u != nil && u.replaced(now) {
		delete(shared.users, k)
		u = nil
	}
	if u == nil {
		if now != nil {
			return r.Registry.GetOrRegister(name, metric) // somebody else's
		}
		u = &use{}
		shared.users[k] = u
	}
	if r.mine[name] != u {
		u.producers++
		r.mine[name] = u
	}
	metric = r.Registry.GetOrRegister(name, metric)
	u.metric = r.Registry.Get(name)
	return metric
}

// Forget is Close for the metrics of these names only. They may be registered again.
func (r *Registry) Forget(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	shared.Lock()
	defer shared.Unlock()
	for _, name := range names {
		r.takeOut(name)
	}
}

// takeOut takes out a metric that this producer has registered, unless another one uses it. Called with both locks held.
func (r *Registry) takeOut(name string) {
	u := r.mine[name]
	if u == nil {
		return
	}
	delete(r.mine, name)
	if g, ok := u.metric.(*gauge); ok {
		g.set(r, nil)
	}
	if u.producers--; u.producers > 0 {
		return
	}
	if k := (key{r.Registry, name}); shared.users[k] == u {
		delete(shared.users, k)
	}
	if !u.replaced(r.Registry.Get(name)) {
		r.Registry.Unregister(name) // stops it, if it is a meter
	}
}

// Close takes out the metrics that no other producer uses. Whoever still has one may go on using it, to no effect.
func (r *Registry) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	shared.Lock()
	defer shared.Unlock()
	for name := range r.mine {
		r.takeOut(name)
	}
}
