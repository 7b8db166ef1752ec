package brokerproducer

import (
	"iter"
	"time"

	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// What is counted for Stats: once a request, for its topics and its broker.
//
// A batch is in flight from just before it is written until its request has ended, or the batch has its outcome. The network goroutine
// counts the one, the loop the other, maybe at the same time: hence claim.counted, under the lock of the claims until the request has
// ended.

// byTopic yields the batches of each topic: in a request they follow each other.
func byTopic(batches []*Batch) iter.Seq2[*stats.Topic, []*Batch] {
	return func(yield func(*stats.Topic, []*Batch) bool) {
		for len(batches) > 0 {
			topic, n := batches[0].session.stats, 1
			for n < len(batches) && batches[n].session.stats == topic {
				n++
			}
			if !yield(topic, batches[:n]) {
				return
			}
			batches = batches[n:]
		}
	}
}

// counts is what a batch counts for, once it is sealed.
func (b *Batch) counts() stats.Batch {
	return stats.Batch{Records: int64(b.count), Bytes: int64(b.WireBytes()), Payload: b.Payload()}
}

// countSent counts a request that is about to be written, on the network goroutine.
func (n *network) countSent(w *wire.ProduceRequest, at time.Time) {
	req := w.User.(*request)
	recorder := n.conn.Recorder()
	window := time.Duration(n.Shared.At(at) - req.composedAt)
	all := stats.Sending{Window: window}
	n.claims.mu.Lock()
	defer n.claims.mu.Unlock()
	req.recorder = recorder
	for topic, batches := range byTopic(req.batches) {
		of := stats.Sending{Window: window}
		for _, b := range batches {
			b.claim.counted = !b.claim.decided
			of.Add(b.counts(), b.sentBefore, b.claim.counted)
			b.sentBefore = true
		}
		topic.Send(&of)
		all.Merge(&of)
	}
	recorder.Send(&all)
}

// decided notes that a batch has its outcome. It returns true if it was in flight until now.
func (c *claims) decided(b *Batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	counted := b.claim.counted
	b.claim.counted, b.claim.decided = false, true
	return counted
}

// countDecided counts a batch that has its outcome, on the loop's goroutine.
func (l *loop) countDecided(b *Batch) {
	if l.claims.decided(b) {
		b.session.stats.Leave(b.counts())
		b.req.recorder.Leave(b.counts())
	}
}

// countEnded counts a request that has ended, on the loop's goroutine.
func (l *loop) countEnded(req *request) {
	answered := req.err == nil && !req.fatal && req.wire.Acks != 0
	var all stats.Ending
	for topic, batches := range byTopic(req.batches) {
		var of stats.Ending
		for _, b := range batches {
			b.since = l.now
			of.Add(b.counts(), b.claim.counted)
			b.claim.counted = false
		}
		topic.End(&of, req.wire.Latency, answered)
		all.Merge(&of)
	}
	req.recorder.End(&all, req.wire.Latency, answered)
}

// countSplit counts a batch that was divided.
func (l *loop) countSplit(s *Session) {
	s.stats.Split()
	if conn := l.link.Load(); conn != nil {
		conn.Recorder().Split()
	}
}
