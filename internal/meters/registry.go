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
// own. One that several producers share stays until the last of them is closed.
//
// All methods may be called concurrently.
type Registry struct {
	gometrics.Registry // the user's

	mu     sync.Mutex
	mine   map[string]struct{}
	closed bool
}

// shared counts the producers that use a metric which one of them registered.
var shared = struct {
	sync.Mutex
	users map[key]int
}{users: make(map[key]int)}

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
	return &Registry{Registry: parent, mine: make(map[string]struct{})}
}

type alone struct{ gometrics.Registry }

// GetOrRegister is the parent's, and remembers what it has registered. After Close it registers nothing and returns nil
// for a metric that is not there.
func (r *Registry) GetOrRegister(name string, metric any) any {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return r.Registry.Get(name)
	}
	if _, known := r.mine[name]; known {
		return r.Registry.GetOrRegister(name, metric)
	}
	shared.Lock()
	defer shared.Unlock()
	k := key{r.Registry, name}
	if shared.users[k] > 0 || r.Registry.Get(name) == nil {
		shared.users[k]++
		r.mine[name] = struct{}{}
	}
	return r.Registry.GetOrRegister(name, metric)
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
	if _, mine := r.mine[name]; !mine {
		return
	}
	delete(r.mine, name)
	k := key{r.Registry, name}
	if shared.users[k]--; shared.users[k] == 0 {
		delete(shared.users, k)
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
