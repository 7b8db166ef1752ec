// Package stats counts what a producer does, for sluice.Stats and the gauges of the metrics' registry. It promises no
// compatibility.
//
// A recorder is updated once a run, a batch or a request, never once a record, and without a lock. What different goroutines
// write is in different cache lines. What a producer has done in all is the sum over its topics, or its brokers, and over what
// those have left that are forgotten: so nothing is counted twice.
package stats

import (
	"sync"
	"time"
)

// Producer has the recorders of one producer. Its methods may be called concurrently. A nil one has none.
type Producer struct {
	// reading is held while recorders are read for a sum, and while one is folded into rest. It is locked before mu. Nothing that
	// sends waits for it, but a dial, and the end of a topic.
	reading sync.Mutex
	// What is read, kept for the next time.
	readTopics  []*Topic
	readBrokers []*Broker

	mu      sync.Mutex // held for moments; guards the maps
	topics  map[string]*Topic
	leaving map[*Topic]struct{} // forgotten, and not folded yet
	brokers map[brokerKey]*Broker

	rest       *Topic  // what belongs to no topic, or to one that was forgotten
	restBroker *Broker // the same, for brokers
}

type brokerKey struct {
	id   int32
	addr string
}

// New makes the recorders of a producer.
func New() *Producer {
	p := &Producer{
		topics: make(map[string]*Topic), leaving: make(map[*Topic]struct{}), brokers: make(map[brokerKey]*Broker),
	}
	p.rest, p.restBroker = &Topic{of: p}, &Broker{id: -1, of: p}
	return p
}

// Topic is a topic's recorder; it is made if there is none.
func (p *Producer) Topic(name string) *Topic {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[name]
	if t == nil {
		t = &Topic{name: name, of: p}
		p.topics[name] = t
	}
	return t
}

// TopicOrRest is a topic's recorder. If there is none it is the one for what belongs to no topic: a program may send to any
// names, and none of them needs to be a topic's.
func (p *Producer) TopicOrRest(name string) *Topic {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.topics[name]; t != nil {
		return t
	}
	return p.rest
}

// Rest is the recorder for what belongs to no topic.
func (p *Producer) Rest() *Topic {
	if p == nil {
		return nil
	}
	return p.rest
}

// Forget takes a topic out. If one of its name comes again, it gets a new recorder. t may still be written to, even after Fold.
func (p *Producer) Forget(t *Topic) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.topics[t.name] == t {
		delete(p.topics, t.name)
		p.leaving[t] = struct{}{}
	}
}

// Fold moves what a forgotten topic has counted to rest. What is written to t later follows by itself: see settle.
func (p *Producer) Fold(t *Topic) {
	if p != nil {
		t.folded.Store(true)
		p.fold(t)
	}
}

func (p *Producer) fold(t *Topic) {
	p.reading.Lock()
	defer p.reading.Unlock()
	t.moveTo(p.rest)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.leaving, t)
}

// brokerKept is how long a broker is kept that has no connection and is not dialled: it may have left the cluster, or have another
// address now.
const brokerKept = 10 * time.Minute

// Broker is the recorder of a broker that is about to be dialled; it is made if there is none.
func (p *Producer) Broker(id int32, addr string) *Broker {
	if p == nil {
		return nil
	}
	now := time.Now()
	p.mu.Lock()
	key := brokerKey{id, addr}
	b, known := p.brokers[key]
	if !known {
		b = &Broker{id: id, addr: addr, of: p}
		p.brokers[key] = b
	}
	b.usedAt = now
	p.mu.Unlock()
	if !known {
		p.reading.Lock()
		defer p.reading.Unlock()
		p.dropBrokers(now)
	}
	return b
}

func (p *Producer) touch(b *Broker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.usedAt = time.Now()
}

// dropBrokers folds brokers that are no longer used. Called with reading held.
func (p *Producer) dropBrokers(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, b := range p.brokers {
		if b.open.Load() == 0 && now.Sub(b.usedAt) > brokerKept {
			delete(p.brokers, key)
			b.folded.Store(true)
			b.moveTo(p.restBroker)
		}
	}
}

func (p *Producer) foldBroker(b *Broker) {
	p.reading.Lock()
	defer p.reading.Unlock()
	b.moveTo(p.restBroker)
}

// Read calls sizes with how many topics and brokers there are, and then topic and broker with each recorder. listed is false for
// recorders that count in sums only. Each of the three may be nil, and none may call methods of p. No recorder is folded meanwhile.
func (p *Producer) Read(sizes func(topics, brokers int), topic func(t *Topic, listed bool), broker func(b *Broker, listed bool)) {
	p.reading.Lock()
	defer p.reading.Unlock()
	p.dropBrokers(time.Now())
	p.readTopics, p.readBrokers = p.readTopics[:0], p.readBrokers[:0]
	p.mu.Lock()
	for _, t := range p.topics {
		p.readTopics = append(p.readTopics, t)
	}
	topics := len(p.readTopics)
	for t := range p.leaving {
		p.readTopics = append(p.readTopics, t)
	}
	for _, b := range p.brokers {
		p.readBrokers = append(p.readBrokers, b)
	}
	p.mu.Unlock()
	if sizes != nil {
		sizes(topics, len(p.readBrokers))
	}
	if topic != nil {
		for i, t := range p.readTopics {
			topic(t, i < topics)
		}
		topic(p.rest, false)
	}
	if broker != nil {
		for _, b := range p.readBrokers {
			broker(b, true)
		}
		broker(p.restBroker, false)
	}
	clear(p.readTopics) // they may be forgotten before the next time
	clear(p.readBrokers)
}

// Counts are what all topics have counted.
func (p *Producer) Counts() (c Counts) {
	p.Read(nil, func(t *Topic, _ bool) { t.AddTo(&c) }, nil)
	return c
}

// Connections are what all brokers have counted.
func (p *Producer) Connections() (c Connections) {
	p.Read(nil, nil, func(b *Broker, _ bool) { b.AddConnectionsTo(&c) })
	return c
}

// Requests are what all brokers have counted, except their latency.
func (p *Producer) Requests() (r Requests) {
	p.Read(nil, nil, func(b *Broker, _ bool) { b.AddRequestsTo(&r) })
	return r
}
