package brokerproducer

import (
	"sync"
	"sync/atomic"
	"time"
)

// topicLimits remembers which topics refused a batch for its size, so that not every full batch is refused first. All
// methods may be called concurrently.
//
// A topic's batches may from then on be half as large as the one that was refused: always more than half of what the topic
// takes. After a while the limit is forgotten, as the topic's configuration may have changed, or another kind of messages
// compresses better. Then one more batch is refused and split.
type topicLimits struct {
	some atomic.Bool // there may be a limit: spares a lock for each batch
	mu   sync.Mutex
	at   map[string]topicLimit
}

type topicLimit struct {
	bytes int   // of a batch, uncompressed
	until int64 // on the producer's clock
}

// limitFor is how long a limit holds.
const limitFor = int64(5 * time.Minute)

// lower notes that a batch of this size was refused.
func (t *topicLimits) lower(topic string, refused int, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit := topicLimit{refused / 2, now + limitFor}
	if old, ok := t.at[topic]; ok && old.until > now {
		limit.bytes = min(limit.bytes, old.bytes)
	}
	if t.at == nil {
		t.at = make(map[string]topicLimit)
	}
	t.at[topic] = limit
	t.some.Store(true)
}

// of is a topic's limit, or 0.
func (t *topicLimits) of(topic string, now int64) int {
	if !t.some.Load() {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	limit, ok := t.at[topic]
	if ok && limit.until <= now {
		delete(t.at, topic)
		t.some.Store(len(t.at) > 0)
		return 0
	}
	return limit.bytes
}
