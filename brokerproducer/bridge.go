package brokerproducer

import (
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// request is a produce request on its way over the bridge and back. The loop composes it, the network goroutine owns it
// until it has ended, then the loop has it again.
type request struct {
	batches []*Batch // at most one of a partition, sorted by topic
	records int
	bytes   int

	wire       wire.ProduceRequest
	sizeNumber int   // sizes.number when it was composed
	composedAt int64 // on the producer's clock
	// recorder is the broker's, once it is being written. Under claims.mu until it has ended.
	recorder *stats.Broker

	// err is why there are no answers. written: the connection had taken all of it. cutOff: the connection had begun to, and
	// was lost; a broker can't act on a part.
	err     error
	written bool
	cutOff  bool
	// recalled: it has to come back unless it is written already. Under claims.mu.
	recalled bool
	// fatal: no batch of it can be sent, each for its own sealError.
	fatal bool
}

// requestsKept is how many ended requests a loop keeps for reuse. They never shrink, and with thousands of partitions each
// is a MiB.
const requestsKept = 4

func (l *loop) newRequest() *request {
	last := len(l.spare) - 1
	if last < 0 {
		return &request{}
	}
	req := l.spare[last]
	l.spare = l.spare[:last]
	return req
}

// recycle takes an ended request back. Nobody else may hold it.
func (l *loop) recycle(req *request) {
	if len(l.spare) == requestsKept {
		return
	}
	w := &req.wire
	clear(req.batches)
	clear(w.Partitions)
	clear(w.Answers)
	clear(w.Nodes)
	*req = request{
		batches: req.batches[:0],
		wire:    wire.ProduceRequest{Partitions: w.Partitions[:0], Answers: w.Answers[:0], Nodes: w.Nodes[:0]},
	}
	l.spare = append(l.spare, req)
}

// RequestSlack is the part of sarama.MaxRequestSize, 100 MiB, that is left free: plenty for a request's header, and for
// batches that a codec makes larger.
const RequestSlack = 64 << 10

// Where the user sets a bound, which may be small, the room is counted exactly.
const (
	headerBytes = 128 // a request's header, without the client id
	batchBytes  = 512 // around a batch's records: the topic's name (249 bytes at most), the partition's header, the batch's
)

// RoomForBatch is the largest Producer.MaxMessageBytes with which a request of n bytes has room for any batch.
func RoomForBatch(n int, conf *sarama.Config) int {
	return n - headerBytes - len(conf.ClientID) - batchBytes
}

// maxRequestBytes is what the batches of one request may hold.
func (l *loop) maxRequestBytes() int {
	most := int(sarama.MaxRequestSize) - RequestSlack
	if l.MaxRequestBytes > 0 {
		most = min(most, l.MaxRequestBytes-headerBytes-len(l.conf.ClientID))
	}
	return most
}

// bytesInRequest is what a batch adds to a request: what is written of one that is sealed, else at most that.
func (b *Batch) bytesInRequest() int {
	size := b.Bytes()
	if sealed := b.WireBytes(); sealed > 0 {
		size = sealed
	}
	return size + len(b.Topic) + 32
}

// compose takes one batch of each due session, as many as a request may hold. The others stay due, and come first the next
// time.
func (l *loop) compose() *request {
	req := l.newRequest()
	req.sizeNumber, req.composedAt = l.sizes.number, l.now
	var waited stats.Tally
	maxBytes := l.sizes.bound(l.maxRequestBytes())
	maxRecords := l.conf.Producer.Flush.MaxMessages
	rest := l.due[:0]
	full := false
	for _, s := range l.due {
		if s.queued != due {
			continue // it has left the list, or an earlier entry has sent it
		}
		if full {
			rest = append(rest, s)
			continue
		}
		b := l.splitTooLarge(s, s.peek(), maxBytes)
		tooLarge := req.bytes+b.bytesInRequest() > maxBytes || maxRecords > 0 && req.records+b.Len() > maxRecords
		if tooLarge && len(req.batches) > 0 {
			full = true
			rest = append(rest, s)
			continue
		}
		s.next()
		l.identify(s, b)
		waited.Record(s.stats.Queue(), time.Duration(l.now-b.since))
		b.count = b.Len()
		s.hint, s.hintRecords = b.Copied(), b.count
		b.claim, b.justNumbered = claim{}, false
		b.req, b.late = req, false
		s.flight = append(s.flight, b)
		s.unacked++
		s.queued = notQueued
		req.batches = append(req.batches, b)
		req.records += b.Len()
		req.bytes += b.bytesInRequest()
	}
	waited.Flush()
	clear(l.due[len(rest):])
	l.due = rest
	for _, b := range req.batches {
		if b.session.sendable() {
			l.requeue(b.session) // behind those that had no room
		}
	}
	req.groupTopics()
	return req
}

// splitTooLarge splits the batch that a session sends next until it is within the bound of a request, as after
// MESSAGE_TOO_LARGE, and returns the first part. One that may have been written must stay as it is: it is sent alone.
func (l *loop) splitTooLarge(s *Session, b *Batch, maxBytes int) *Batch {
	for b.bytesInRequest() > maxBytes && b.Len() > 1 && !b.Unsure {
		size, records := b.bytesInRequest(), b.Len()
		halves, err := l.halve(b)
		if err != nil {
			return b // whole, then
		}
		l.countSplit(s)
		l.logSplit(s, records, size, errRequestBound)
		s.takeHead(b)
		s.ready = slices.Insert(s.ready, 0, halves...)
		b = halves[0]
	}
	return b
}

// longIdle is how long a session stays confirmed without an acknowledgement: a broker forgets a producer id that it has not
// seen for a day (producer.id.expiration.ms).
const longIdle = int64(time.Hour)

// identify says under which identity a batch is numbered when it is written. A partition takes another identity only when
// no numbered batch of it is in flight.
func (l *loop) identify(s *Session, b *Batch) {
	if l.Identity == nil || b.Numbered {
		return
	}
	if len(s.flight) == 0 {
		if now := l.Identity(); now.Known() && now != s.identity {
			s.identity, s.confirmed = now, false
		}
		if l.now-s.confirmedAt > longIdle {
			s.confirmed = false
		}
	}
	b.identity = s.identity
}

// groupTopics sorts the batches by topic: a broker ignores a topic's second entry in a request.
func (r *request) groupTopics() {
	byTopic := func(a, b *Batch) int { return strings.Compare(a.Topic, b.Topic) }
	if !slices.IsSortedFunc(r.batches, byTopic) {
		slices.SortFunc(r.batches, byTopic)
	}
}
