package brokerproducer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// network is the goroutine behind the bridge. It alone dials, and it alone waits for the socket and for the window of
// open requests; while it does, the set on the loop's side keeps growing.
type network struct {
	*Producer
	conn *wire.Conn
}

func newNetwork(p *Producer) *network { return &network{Producer: p} }

// run ends when the loop closes the bridge. Every request that it takes is answered, here or by the connection's
// reader.
func (n *network) run() {
	defer n.hangUp()
	done := n.ctx.Done()
	for {
		select {
		case req, ok := <-n.bridge:
			if !ok {
				return
			}
			n.send(req)
			n.mailbox.Put(item{kind: itemFree})
		case <-done:
			n.hangUp() // what is open fails now
			done = nil
		}
	}
}

func (n *network) hangUp() {
	if n.conn != nil {
		n.conn.Close()
		n.conn = nil
	}
}

// send makes a request of the set and writes it.
func (n *network) send(req *request) {
	n.sealAll(req.batches)
	n.setApart(req, &request{fatal: true}, func(b *Batch) bool { return b.sealError != nil })
	n.metrics.sending(req)
	// A connection that was lost with nothing open costs a dial and nothing else, so there are two tries.
	for try := 1; ; try++ {
		ctx := n.claims.beginWait(n.ctx, req)
		fresh, err := n.connect(ctx)
		if err != nil {
			n.refuse(req, err)
			return
		}
		n.prepare(req)
		if err = n.conn.Produce(ctx, &req.wire); err == nil {
			n.claims.endWrite()
			return
		}
		n.unnumber(req.batches)
		n.claims.endWrite(req.batches...)
		if errors.Is(err, errEnded) {
			return // no batch is left: each is answered
		}
		if fresh || try == 2 || ctx.Err() != nil {
			n.refuse(req, fmt.Errorf("%v: %w", n.Producer, err))
			return
		}
	}
}

// setApart takes the batches that which names out of a request, and answers them as another.
func (n *network) setApart(req, other *request, which func(*Batch) bool) {
	req.batches = slices.DeleteFunc(req.batches, func(b *Batch) bool {
		if !which(b) {
			return false
		}
		other.batches = append(other.batches, b)
		return true
	})
	if len(other.batches) > 0 {
		n.mailbox.Put(item{kind: itemAnswer, req: other})
	}
}

// refuse answers a request of which nothing was written.
func (n *network) refuse(req *request, err error) {
	req.err, req.written = err, false
	n.mailbox.Put(item{kind: itemAnswer, req: req})
}

// connect makes sure that there is a connection, and tells whether it is a new one. One that is replaced while it lives has
// its open requests answered first: they would be lost with it, and what goes over the new one may not overtake them.
func (n *network) connect(ctx context.Context) (fresh bool, err error) {
	if n.conn != nil {
		if !n.stale() {
			return false, nil
		}
		if err := n.conn.Drain(ctx); err != nil && ctx.Err() != nil {
			return false, err
		}
		n.hangUp()
	}
	conn, err := n.Dialer.Dial(ctx, n.id, n.addr)
	if err != nil {
		return false, fmt.Errorf("%v: %w", n.Producer, err)
	}
	n.conn = conn
	return true, nil
}

// stale tells whether the connection is dead, or its session about to end (KIP-368).
func (n *network) stale() bool {
	select {
	case <-n.conn.Done():
		if n.conf.Producer.RequiredAcks == sarama.NoResponse {
			// Nothing is ever open here, so this is the only sign that the leader may have moved.
			n.mailbox.Put(item{kind: itemConnLost, err: fmt.Errorf("%v: %w", n.Producer, n.conn.Err())})
		}
		return true
	default:
	}
	expires := n.conn.Expires()
	return !expires.IsZero() && !expires.After(time.Now())
}

// prepare makes the request but for its partitions, which fillIn adds at the last moment.
func (n *network) prepare(req *request) {
	req.wire = wire.ProduceRequest{
		Acks:       int16(n.conf.Producer.RequiredAcks),
		Timeout:    n.conf.Producer.Timeout,
		Partitions: req.wire.Partitions[:0],
		Answers:    req.wire.Answers[:0],
		Nodes:      req.wire.Nodes[:0],
		OnTurn:     n.fillIn,
		Done:       n.done,
		User:       req,
	}
}

// fillIn claims the batches and puts them into a request that is about to be written.
func (n *network) fillIn(w *wire.ProduceRequest) error {
	req := w.User.(*request)
	if err := n.claimAndNumber(req); err != nil {
		return err
	}
	if len(req.batches) == 0 {
		return errEnded
	}
	for _, b := range req.batches {
		first, rest := b.Frame()
		w.Partitions = append(w.Partitions, wire.ProducePartition{
			Topic: b.Topic, TopicID: b.TopicID, Partition: b.Partition, Frame: first, Rest: rest,
		})
	}
	return nil
}

// claimAndNumber leaves out what the loop has ended meanwhile, because it took too long to get so far.
func (n *network) claimAndNumber(req *request) error {
	if err := n.claims.beginWrite(req, n.conn); err != nil {
		return err
	}
	n.setApart(req, &request{err: errEnded}, func(b *Batch) bool { return !b.claim.claimed })
	n.number(req.batches)
	return nil
}

// number gives sequence numbers to the batches that have none, now that they are about to be written: what never leaves
// holds no numbers. A batch that has one keeps it, and is sent again byte by byte.
func (n *network) number(batches []*Batch) {
	if n.Identity == nil {
		return
	}
	for _, b := range batches {
		if b.Numbered {
			b.fresh = false
			continue
		}
		seq := &b.session.sequence
		if seq.Identity != b.under {
			*seq = txn.Sequence{Identity: b.under}
		}
		b.SetIdentity(seq.ID, seq.Epoch, seq.Take(b.count), false)
		b.Numbered, b.fresh = true, true
	}
}

// unnumber takes the numbers back that number has just given, as not a byte was written. They are each partition producer's last.
func (n *network) unnumber(batches []*Batch) {
	for _, b := range batches {
		if b.fresh {
			_, _, b.session.sequence.Next = b.Batch.Identity()
			b.Numbered, b.fresh = false, false
		}
	}
}

// done is called once for each request that the connection took, on one of its goroutines.
func (n *network) done(w *wire.ProduceRequest, err error) {
	req := w.User.(*request)
	if err != nil {
		req.err, req.written = fmt.Errorf("%v: %w", n.Producer, err), w.Written
	}
	n.mailbox.Put(item{kind: itemAnswer, req: req})
}

// sealAll compresses the batches, several at a time: that is the one thing here that takes long.
func (n *network) sealAll(batches []*Batch) {
	workers := min(len(batches), runtime.GOMAXPROCS(0))
	if n.Set.Codec == sarama.CompressionNone || workers < 2 {
		for _, b := range batches {
			b.sealError = b.Seal()
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(batches)); i = next.Add(1) - 1 {
				batches[i].sealError = batches[i].Seal()
			}
		})
	}
	wg.Wait()
}
