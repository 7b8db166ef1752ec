// Package meters keeps track of the metrics of one producer in the user's registry. It promises no compatibility.
package meters

import (
	"reflect"
	"sync"

	gometrics "github.com/rcrowley/go-metrics"
)

// Registry is the user's registry, as one producer sees it: what the producer registers is taken out again by Close,
// which also stops the meters, that go-metrics would tick for ever. A metric that was there before, of sarama or of the
// user's own, stays; one that several producers share stays until the last of them is closed.
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
		// It can't be a map's key, so other producers with it aren't recognised: this one counts as the only user.
		parent = &alone{parent}
	}
	return &Registry{Registry: parent, mine: make(map[string]struct{})}
}

type alone struct{ gometrics.Registry }

// GetOrRegister is the parent's, and remembers what it has registered. After Close nothing is registered: it returns nil
// for what is not there.
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

// Close takes out what nobody else uses. Metrics that are used afterwards count into nothing.
func (r *Registry) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	shared.Lock()
	defer shared.Unlock()
	for name := range r.mine {
		k := key{r.Registry, name}
		if shared.users[k]--; shared.users[k] == 0 {
			delete(shared.users, k)
			r.Registry.Unregister(name) // stops it, if it is a meter
		}
	}
	clear(r.mine)
}
