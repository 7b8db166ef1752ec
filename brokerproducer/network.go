package brokerproducer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// network is the goroutine behind the bridge. It dials, compresses, and waits for the socket and for the window of open
// requests. While it does, the loop goes on filling batches.
type network struct {
	*Producer
	conn  *wire.Conn
	fresh bool // conn was made for the request that is under way
	next  wire.Successor[*wire.Conn]
}

func newNetwork(p *Producer) *network {
	return &network{Producer: p, next: wire.Successor[*wire.Conn]{Log: p.Shared.Log}}
}

// run ends when the loop closes the bridge. Every request that it takes is answered, here or by the connection's reader.
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
			n.mailbox.Put(item{kind: itemBridgeFree})
		case <-done:
			n.hangUp() // open requests fail now
			done = nil
		}
	}
}

func (n *network) hangUp() {
	n.next.Stop()
	n.closeConn()
}

func (n *network) closeConn() {
	if n.conn != nil {
		n.conn.Close()
		n.conn = nil
		n.link.Store(nil)
	}
}

// send compresses and writes a request.
func (n *network) send(req *request) {
	n.sealAll(req.batches)
	n.takeOut(req, &request{fatal: true}, func(b *Batch) bool { return b.sealError != nil })
	if len(req.batches) == 0 {
		return // nothing is left to dial for
	}
	n.metrics.sending(req)
	req.bytes = 0
	for _, b := range req.batches {
		req.bytes += b.bytesInRequest() // smaller than composed, where it was compressed
	}
	// A connection that was lost while nothing was open costs a dial and nothing else: hence two tries.
	for try := 1; ; try++ {
		ctx := n.claims.beginWait(n.ctx, req)
		var err error
		if n.fresh, err = n.connect(ctx); err != nil {
			n.failUnwritten(req, err)
			return
		}
		if n.takeOutZstd(req); len(req.batches) == 0 {
			n.claims.endWrite()
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
			return // no batch is left in it
		}
		if errors.Is(err, errSessionOver) {
			continue // over a new connection
		}
		if errors.Is(err, wire.ErrCutOff) {
			<-n.conn.Done() // what was sent before on this connection is answered first
			req.cutOff = true
			n.failUnwritten(req, fmt.Errorf("%v: %w", n.Producer, err))
			return
		}
		if n.fresh || try == 2 || ctx.Err() != nil {
			n.failUnwritten(req, fmt.Errorf("%v: %w", n.Producer, err))
			return
		}
	}
}

// takeOutZstd fails what a broker before Kafka 2.1 does not take (KIP-110), before it is sent.
func (n *network) takeOutZstd(req *request) {
	highest := n.conn.MaxProduce()
	if n.Set.Codec != sarama.CompressionZSTD || highest < 0 || highest >= wire.ProduceZstd {
		return
	}
	n.takeOut(req, &request{fatal: true}, func(b *Batch) bool {
		if b.Codec() != sarama.CompressionZSTD {
			return false
		}
		b.sealError = fmt.Errorf("%v supports Produce v%d, and %v needs v%d (Kafka 2.1): choose another Producer.Compression: %w",
			n.Producer, highest, b.Codec(), wire.ProduceZstd, flow.External(sarama.ErrUnsupportedCompressionType))
		return true
	})
}

// takeOut hands some batches of a request back to the loop: in another request, which says how they ended.
func (n *network) takeOut(req, other *request, which func(*Batch) bool) {
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

// failUnwritten hands back a request that was not written, or not whole.
func (n *network) failUnwritten(req *request, err error) {
	req.err, req.written = err, false
	n.mailbox.Put(item{kind: itemAnswer, req: req})
}

// connect makes sure that there is a connection, and tells whether it is a new one. Before a live one is replaced, its open
// requests are answered: they would be lost with it, and later ones must not overtake them on the new connection.
func (n *network) connect(ctx context.Context) (fresh bool, err error) {
	if n.conn != nil {
		if !n.dead() && !n.next.Due(n.conn, n.dialWaiting) {
			return false, nil
		}
		if err := n.conn.Drain(ctx); err != nil && ctx.Err() != nil {
			return false, err
		}
		if err := n.conn.Err(); err != nil && !errors.Is(err, wire.ErrConnClosed) {
			n.Shared.Log.Printf("sluice: %v: %v\n", n.Producer, err) // the connection itself has told a user's log
		}
		n.closeConn()
	}
	conn, ok, err := n.next.Take(ctx)
	if err != nil {
		return false, err
	}
	if ok {
		n.conn = conn
		n.link.Store(conn)
		return false, nil
	}
	dial := n.Dialer.Dial
	if n.Shared.SaramaContract { // a round of tries is counted, and must not last
		dial = n.Dialer.DialNow
	}
	if n.conn, err = n.dialWith(ctx, dial); err != nil {
		return false, err
	}
	n.link.Store(n.conn) // link may still be a successor that died before it was taken
	return true, nil
}

// dialWaiting waits for the pause after a failed dial.
func (n *network) dialWaiting(ctx context.Context) (*wire.Conn, error) {
	return n.dialWith(ctx, n.Dialer.Dial)
}

type dialFunc func(ctx context.Context, brokerID int32, addr string) (*wire.Conn, error)

func (n *network) dialWith(ctx context.Context, dial dialFunc) (*wire.Conn, error) {
	conn, err := dial(ctx, n.id, n.addr)
	if err != nil {
		err = fmt.Errorf("%v: %w", n.Producer, err)
		if ctx.Err() == nil {
			n.Shared.Log.Printf("sluice: %v\n", err) // as the dialer has
		}
		return nil, err
	}
	n.link.CompareAndSwap(nil, conn) // it is the successor of one that is in use, or all there is
	if err := n.checkCluster(ctx, conn); err != nil {
		n.link.CompareAndSwap(conn, nil)
		conn.Close()
		return nil, fmt.Errorf("%v: %w", n.Producer, err)
	}
	return conn, nil
}

// checkCluster refuses a broker of another cluster, before anything is written to it: its address was taken over.
func (n *network) checkCluster(ctx context.Context, conn *wire.Conn) error {
	if n.ClusterID == nil {
		return nil
	}
	return conn.CheckCluster(ctx, n.ClusterID())
}

// dead tells whether the connection is.
func (n *network) dead() bool {
	err := n.conn.Err()
	if err != nil && n.conf.Producer.RequiredAcks == sarama.NoResponse && !errors.Is(err, wire.ErrIdle) {
		// Nothing is ever open under acks 0, so this is the only sign that a leader may have moved.
		n.mailbox.Put(item{kind: itemConnLost, err: fmt.Errorf("%v: %w", n.Producer, err)})
	}
	return err != nil
}

// prepare fills in the wire request but for its partitions, which fillIn adds at the last moment.
func (n *network) prepare(req *request) {
	req.wire = wire.ProduceRequest{
		Acks:       int16(n.conf.Producer.RequiredAcks),
		Timeout:    n.conf.Producer.Timeout,
		Partitions: req.wire.Partitions[:0],
		Answers:    req.wire.Answers[:0],
		Nodes:      req.wire.Nodes[:0],
		OnTurn:     n.fillIn,
		OnWrite:    n.countSent,
		Done:       n.done,
		User:       req,
	}
	if n.Txn != nil {
		req.wire.TransactionalID = n.Txn.ID()
		_, req.wire.TxnVersion = n.Txn.Open()
	}
}

// fillIn claims the batches and puts them into a request that is about to be written.
func (n *network) fillIn(w *wire.ProduceRequest) error {
	req := w.User.(*request)
	// The request may have waited long for the window of open requests, or for a throttle.
	if !n.fresh && n.conn.SessionOver() {
		return errSessionOver
	}
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

// claimAndNumber takes out what the loop has ended meanwhile, and numbers the rest.
func (n *network) claimAndNumber(req *request) error {
	if err := n.claims.beginWrite(req, n.conn, n.writing); err != nil {
		return err
	}
	n.takeOut(req, &request{err: errEnded}, func(b *Batch) bool { return !b.claim.claimed })
	n.number(req.batches)
	return nil
}

// number gives sequence numbers to the batches that have none. That is done when they are about to be written, so that what
// is never sent takes no number. A batch that has one keeps it: a resend carries the same bytes.
func (n *network) number(batches []*Batch) {
	if n.Identity == nil {
		return
	}
	for _, b := range batches {
		if b.Numbered {
			b.justNumbered = false
			continue
		}
		seq := &b.session.sequence
		if seq.Identity != b.identity {
			*seq = txn.Sequence{Identity: b.identity}
		}
		b.SetIdentity(seq.ID, seq.Epoch, seq.Take(b.count), n.Txn != nil)
		b.Numbered, b.justNumbered = true, true
	}
}

// unnumber takes back the numbers that number has just given, as the request was not written whole. They are the last of
// each session.
func (n *network) unnumber(batches []*Batch) {
	for _, b := range batches {
		if b.justNumbered {
			_, _, b.session.sequence.Next = b.Batch.Identity()
			b.Numbered, b.justNumbered = false, false
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

// sealAll compresses the batches, several at a time: nothing else here takes as long.
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
