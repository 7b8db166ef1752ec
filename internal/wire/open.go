package wire

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// openRequest is a request that waits for its answer. Either produce or call is set.
type openRequest struct {
	correlationID int32
	key, version  int16
	sent          time.Time
	produce       *ProduceRequest
	call          *call
}

// openQueue holds the open requests in the order of sending. It is a ring that grows when it is full.
type openQueue struct {
	ring []openRequest // Length 0 or a power of two
	head int
	n    int
}

func (q *openQueue) len() int { return q.n }

func (q *openQueue) push(o openRequest) {
	if q.n == len(q.ring) {
		ring := make([]openRequest, max(8, 2*q.n))
		copied := copy(ring, q.ring[q.head:])
		copy(ring[copied:], q.ring[:q.head])
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = o
	q.n++
}

// first is the oldest. The queue must not be empty.
func (q *openQueue) first() openRequest { return q.ring[q.head] }

// dropLast takes back what was pushed last.
func (q *openQueue) dropLast() {
	q.n--
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = openRequest{}
}

func (q *openQueue) pop() openRequest {
	o := q.ring[q.head]
	q.ring[q.head] = openRequest{}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	return o
}

// checkSize refuses an answer that is longer than its request allows.
func (o *openRequest) checkSize(addr string, size int) error {
	if o.call == nil || o.call.longest == 0 || size <= o.call.longest {
		return nil
	}
	return fmt.Errorf("%w from broker %s: it has %d bytes, and to %s v%d of %d bytes at most %d are read",
		ErrMalformedAnswer, addr, size, kmsg.NameForKey(o.key), o.version, o.call.size, o.call.longest)
}
