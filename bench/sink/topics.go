package sink

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
)

// topic is a topic that a client has named. next holds a counter a partition: the offset of its next record.
type topic struct {
	name string
	id   [16]byte
	next []atomic.Int64
}

// topics is the set of topics named so far. A topic exists from the first time that it is named.
type topics struct {
	partitions int

	mu    sync.RWMutex
	names map[string]*topic
	ids   map[[16]byte]*topic
}

func newTopics(partitions int) topics {
	return topics{partitions: partitions, names: make(map[string]*topic), ids: make(map[[16]byte]*topic)}
}

// byName returns a topic, making it if needed.
func (t *topics) byName(name string) *topic {
	t.mu.RLock()
	found := t.names[name]
	t.mu.RUnlock()
	if found != nil {
		return found
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if found = t.names[name]; found == nil {
		// The id follows from the name, so that a client that meets the next sink finds what it remembers.
		sum := sha256.Sum256([]byte(name))
		found = &topic{name: name, id: [16]byte(sum[:16]), next: make([]atomic.Int64, t.partitions)}
		t.names[name], t.ids[found.id] = found, found
	}
	return found
}

// byBytes is byName for a name that is not a string yet; a topic that is known costs no allocation.
func (t *topics) byBytes(name []byte) *topic {
	t.mu.RLock()
	found := t.names[string(name)]
	t.mu.RUnlock()
	if found != nil {
		return found
	}
	return t.byName(string(name))
}

// byID returns the topic with an id, or nil.
func (t *topics) byID(id [16]byte) *topic {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.ids[id]
}

// all returns every topic named so far.
func (t *topics) all() []*topic {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*topic, 0, len(t.names))
	for _, topic := range t.names {
		all = append(all, topic)
	}
	return all
}
