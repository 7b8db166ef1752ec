package main

import (
	"fmt"
	"math/rand/v2"
)

// payload is the values and the topics that records take in turn. The values are made before anything is measured, so
// that what a record costs its user is the message, not the value.
type payload struct {
	values [][]byte
	topics []string
	keys   [][]byte // nil: records have none
}

// distinct is how many values take turns: few enough to stay out of the way of the caches.
const distinct = 2048

// distinctBytes is how much the values come to where they are compressed: so much that no batch of any client has one
// twice. Some codecs look back over the whole batch, and a client that fills larger ones would get the second for free.
const distinctBytes = 16 << 20

// newPayload makes the values: the same for every client, because the seed is fixed.
func newPayload(kind string, size int, compressed bool, topics []string) *payload {
	rng := rand.New(rand.NewPCG(1, 2))
	n := max(1, min(distinct, (8<<20)/max(size, 1)))
	if compressed {
		n = max(1, distinctBytes/max(size, 1))
	}
	p := &payload{values: make([][]byte, n), topics: topics}
	for i := range p.values {
		value := make([]byte, size)
		switch kind {
		case "random":
			for j := range value {
				value[j] = byte(rng.Uint32())
			}
		case "json":
			fillJSON(value, rng, i)
		}
		p.values[i] = value
	}
	return p
}

// fillJSON fills a value with objects such as services log, cut at its end: fields that repeat, values that do not.
func fillJSON(value []byte, rng *rand.Rand, i int) {
	for at := 0; at < len(value); {
		at += copy(value[at:], fmt.Sprintf(
			`{"id":%d,"user":"u%06d","event":"%s","amount":%d.%02d,"session":"%016x","ok":%t}`,
			1_000_000+i, rng.IntN(1_000_000), []string{"view", "click", "order", "refund"}[rng.IntN(4)],
			rng.IntN(1000), rng.IntN(100), rng.Uint64(), rng.IntN(10) > 0))
	}
}

// value is that of the i-th record.
func (p *payload) value(i int) []byte { return p.values[i%len(p.values)] }

// topic is that of the i-th record.
func (p *payload) topic(i int) string { return p.topics[i%len(p.topics)] }

// key is that of the i-th record, or nil.
func (p *payload) key(i int) []byte {
	if p.keys == nil {
		return nil
	}
	return p.keys[i%len(p.keys)]
}

// makeKeys makes n different keys.
func (p *payload) makeKeys(n int) {
	for i := range n {
		p.keys = append(p.keys, fmt.Appendf(nil, "key-%07d", i))
	}
}
