package brokerproducer

import (
	"time"

	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// What is counted for Stats: once a request, for its topics and its broker. Batches of a topic follow each other in it.
//
// A batch is in flight from the moment at which it is about to be written until its request has ended, or it has its outcome. The
// former is the network goroutine's to tell, the latter the loop's, and they may do so at the same time: hence claim.counted.

// counts is what a batch counts for, once it is sealed.
func (b *Batch) counts() stats.Batch {
	return stats.Batch{Records: int64(b.count), Bytes: int64(b.WireBytes()), Payload: b.Payload()}
}

// countSent counts a request that is about to be written, on the network goroutine.
func (n *network) countSent(w *wire.ProduceRequest, at time.Time) {
	req := w.User.(*request)
	recorder := n.conn.Recorder()
	window := time.Duration(n.Shared.At(at) - req.composedAt)
	all, ofTopic := stats.Sending{Window: window}, stats.Sending{Window: window}
	n.claims.mu.Lock()
	defer n.claims.mu.Unlock()
	req.recorder = recorder
	for i, b := range req.batches {
		b.claim.counted = !b.claim.decided
		ofTopic.Add(b.counts(), b.sentBefore, b.claim.counted)
		b.sentBefore = true
		if topic := b.session.stats; i == len(req.batches)-1 || req.batches[i+1].session.stats != topic {
			topic.Send(&ofTopic)
			all.Merge(&ofTopic)
			ofTopic = stats.Sending{Window: window}
		}
	}
	recorder.Send(&all)
}

// decided says that a batch has its outcome. It returns true if it was in flight until now.
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
	all, ofTopic := stats.Ending{}, stats.Ending{}
	for i, b := range req.batches {
		b.since = l.now
		ofTopic.Add(b.counts(), b.claim.counted)
		b.claim.counted = false
		if topic := b.session.stats; i == len(req.batches)-1 || req.batches[i+1].session.stats != topic {
			topic.End(&ofTopic, req.wire.Latency, answered)
			all.Merge(&ofTopic)
			ofTopic = stats.Ending{}
		}
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
