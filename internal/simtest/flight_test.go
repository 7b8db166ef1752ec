package simtest

import (
	"encoding/binary"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// flight is what the producer has in flight, as the brokers see it: from a request's arrival until its answer leaves or
// its connection is lost. So it is never more than what the producer has in flight by its own account.
type flight struct {
	*run
	mu   sync.Mutex
	open map[ofClient][]request
	// acked is whom a broker has acknowledged a batch to, of a partition under an identity.
	acked map[acknowledged]bool
}

// ofClient is a partition as one of the run's producers sees it.
type ofClient struct {
	partition
	number int
}

// request names one; correlation ids are a connection's.
type request struct {
	conn *clientConn
	id   uint32
}

type acknowledged struct {
	partition
	addr     string
	producer int64
	epoch    int16
}

func newFlight(r *run) *flight {
	return &flight{run: r, open: map[ofClient][]request{}, acked: map[acknowledged]bool{}}
}

// arrive checks the window, and the gate before it: without idempotence one batch of a partition is in flight, with it
// one until this broker has acknowledged one, then up to five.
func (f *flight) arrive(c *clientConn, frame []byte) {
	if kmsg.Key(binary.BigEndian.Uint16(frame)) != kmsg.Produce || f.sc.acks == 0 {
		return
	}
	kreq, _ := parse(frame)
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.lost.Load() {
		return
	}
	for _, t := range kreq.(*kmsg.ProduceRequest).Topics {
		name := t.Topic
		if kreq.GetVersion() >= 13 {
			name = f.topicName(t.TopicID)
		}
		for _, b := range t.Partitions {
			tp := partition{name, b.Partition}
			n := numbersOf(tp, b.Records)
			at := ofClient{tp, clientOf(frame)}
			f.open[at] = append(f.open[at], request{c, binary.BigEndian.Uint32(frame[4:])})
			window := 1
			if f.acked[acknowledged{tp, c.addr, n.producer, n.epoch}] {
				window = f.sc.window
			}
			if len(f.open[at]) > window {
				f.fail("%v is sent to %s with %d in flight, the window is %d", n, c.addr, len(f.open[at])-1, window)
			}
		}
	}
}

// answered is called before an answer leaves, with what it acknowledges.
func (f *flight) answered(c *clientConn, frame []byte, acked []numbers) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range acked {
		if n.producer >= 0 {
			f.acked[acknowledged{n.partition, c.addr, n.producer, n.epoch}] = true
		}
	}
	f.remove(request{c, binary.BigEndian.Uint32(frame)}, false)
}

// lost is called before the producer can know.
func (f *flight) lost(c *clientConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove(request{conn: c}, true)
}

func (f *flight) remove(r request, all bool) {
	for tp, open := range f.open {
		kept := open[:0]
		for _, o := range open {
			if o.conn != r.conn || !all && o.id != r.id {
				kept = append(kept, o)
			}
		}
		f.open[tp] = kept
	}
}
