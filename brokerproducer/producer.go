package brokerproducer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
	"github.com/sluice-kafka/sluice/produceset"
)

// Config is what all broker producers of one producer share.
type Config struct {
	Shared *flow.Shared
	Set    *produceset.Config
	Dialer *wire.Dialer
	// Window is how many batches of one partition may be in flight: 1 without idempotence.
	Window int
	// MaxRequestBytes bounds a request, its header included; 0 for sarama.MaxRequestSize alone.
	MaxRequestBytes int
	// Identity returns the producer's current identity; nil without idempotence.
	Identity func() txn.Identity
	// Txn is nil without a transactional id.
	Txn Transactions
	// MarkUnresponsive is called with the address of a broker that left a request unanswered. silent: until the request timed
	// out, rather than that the connection was lost. It must not block.
	MarkUnresponsive func(addr string, silent bool)
	// ClusterID is the cluster that brokers must belong to; empty: any. A nil one means any, too.
	ClusterID func() string
	// UpdateLeader is called with a leader that an answer named (KIP-951). It must not block.
	UpdateLeader func(topic string, topicID [16]byte, partition, leader, epoch int32, node *metadata.Broker)
}

// Transactions is a *txn.Transactions: what broker producers need of a transactional producer. No method blocks.
type Transactions interface {
	// ID is the transactional id.
	ID() *string
	// Open is the number of the open transaction, and its version (KIP-890).
	Open() (number uint64, version int16)
	// Add makes a partition a part of the open transaction. It returns true if it is one. Otherwise the coordinator is asked, and
	// added is called when the partition is; never, if the transaction fails.
	Add(topic string, partition int32, added func()) bool
	// Writing says that a batch is about to be written.
	Writing()
	// LastStillEnds says that a batch was refused because the last transaction is still being ended.
	LastStillEnds()
	// Adding is what Add waits for, or why it failed the last time.
	Adding() error
}

// Pool keeps the broker producers: one for each broker, by id and address, that has a session or had one lately. A broker
// that comes back under another address gets another one. All methods may be called concurrently.
type Pool struct {
	cfg     Config
	metrics *metrics
	limits  topicLimits

	mu      sync.Mutex
	brokers map[brokerKey]*Producer
	sizes   map[brokerKey]sizes // of brokers that had a limit when their last session ended
	closing bool                // Wait was called: nothing is opened any more
	running sync.WaitGroup
}

// idleTime is how long a broker producer stays without a session. A partition comes back after its back-off, and a leader
// that moved may move back: neither must cost a dial, a TLS handshake and a login.
const idleTime = 30 * time.Second

type brokerKey struct {
	id   int32
	addr string
}

// NewPool makes an empty pool.
func NewPool(cfg Config) *Pool {
	return &Pool{
		cfg: cfg, metrics: newMetrics(cfg.Shared.Conf),
		brokers: make(map[brokerKey]*Producer), sizes: make(map[brokerKey]sizes),
	}
}

// SessionParams say what a session is about.
type SessionParams struct {
	Topic     string
	Stats     *stats.Topic // may be nil
	TopicID   [16]byte
	Partition int32
	// Sequence is the partition's counter, as the last session handed it back.
	Sequence txn.Sequence
	// Verify: only find out whether the batches that are resent, all of them unsure, were written. They are behind a broken
	// sequence, where OUT_OF_ORDER_SEQUENCE_NUMBER means that a batch was not. The session closes itself when all are answered.
	Verify bool
	// Trouble is what kept the partition from being written to until now; nil for none. The session ends it with the first batch
	// that is acknowledged.
	Trouble *flow.Trouble
}

// Open starts a session of a partition at a broker, and the broker producer if there is none.
func (p *Pool) Open(id int32, addr string, owner SessionOwner, params SessionParams) *Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := brokerKey{id, addr}
	bp := p.brokers[key]
	if bp == nil {
		bp = &Producer{
			Config: p.cfg, conf: p.cfg.Shared.Conf, metrics: p.metrics,
			pool: p, id: id, addr: addr,
			mailbox: flow.NewMailbox[item](),
			bridge:  make(chan *request, 1),
		}
		bp.ctx, bp.cancel = context.WithCancel(context.Background())
		p.brokers[key] = bp
		l := newLoop(bp)
		l.sizes = p.sizes[key]
		p.running.Go(l.run)
		p.running.Go(func() { newNetwork(bp).run() })
	}
	bp.refs++
	bp.stopIdling()
	return &Session{
		Topic: params.Topic, stats: params.Stats, TopicID: params.TopicID, Partition: params.Partition,
		owner: owner, producer: bp,
		sequence: params.Sequence, identity: params.Sequence.Identity, verify: params.Verify, trouble: params.Trouble,
	}
}

// Forget takes out the metrics of a topic that has no sessions and will get none, until it is used again.
func (p *Pool) Forget(topic string) { p.metrics.forget(topic) }

// LimitOf is how large batches of a topic may be, as it has refused a larger one; 0: nothing is known.
func (p *Pool) LimitOf(topic string) int { return p.limits.of(topic, p.cfg.Shared.Now()) }

// release takes back the reference of an ended session. A broker producer without any is idle, and ends after a while. With
// acks 0 it ends at once: a connection that is lost while it is idle would send the next session to look up its leader.
//
// What it has learnt about the sizes of requests, s, is kept. Else a batch that is too large, and ends its session, would be
// sent whole again by the next broker producer, and so on.
func (p *Pool) release(bp *Producer, s sizes) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bp.refs--; bp.refs > 0 {
		return
	}
	if s.limit > 0 || s.closes > 0 {
		p.sizes[bp.key()] = s
	} else {
		delete(p.sizes, bp.key())
	}
	if p.closing || p.cfg.Shared.Conf.Producer.RequiredAcks == sarama.NoResponse {
		p.end(bp)
		return
	}
	bp.idle = time.AfterFunc(idleTime, func() { p.idleIsOver(bp) })
}

// idleIsOver ends a broker producer, unless a session was opened while the timer waited for the lock. If that session has
// ended again by now, the broker producer ends too early, and the next session costs a dial.
func (p *Pool) idleIsOver(bp *Producer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bp.idle != nil {
		p.end(bp)
	}
}

// end ends a broker producer without sessions. Called with mu held.
func (p *Pool) end(bp *Producer) {
	bp.stopIdling()
	delete(p.brokers, bp.key())
	bp.mailbox.Put(item{kind: itemStop})
}

// Wait ends the broker producers, each with its last session, and returns when all have ended. Nothing may be opened from
// now on.
func (p *Pool) Wait() {
	p.mu.Lock()
	p.closing = true
	for _, bp := range p.brokers {
		if bp.idle != nil {
			p.end(bp)
		}
	}
	p.mu.Unlock()
	p.running.Wait()
}

// Producer is the stage of one broker: the loop and the network goroutine, with the bridge between them.
type Producer struct {
	Config
	conf    *sarama.Config
	metrics *metrics
	pool    *Pool
	id      int32
	addr    string
	// Under pool.mu:
	refs int         // sessions that have not ended
	idle *time.Timer // ends it; nil while there are sessions, and once it has ended

	// mailbox takes what partition producers send and what the network goroutine answers. The loop reads it.
	mailbox *flow.Mailbox[item]
	// bridge takes one request from the loop to the network goroutine. The loop never waits for it: it sends only when the
	// network goroutine has said that it is free. The loop closes it.
	bridge chan *request
	claims claims
	// link is the network goroutine's connection, for doing.
	link atomic.Pointer[wire.Conn]
	// ctx ends the network goroutine's waits. The loop cancels it when the producer is aborted.
	ctx    context.Context
	cancel context.CancelFunc
}

func (p *Producer) key() brokerKey { return brokerKey{p.id, p.addr} }

// stopIdling is called with pool.mu held.
func (p *Producer) stopIdling() {
	if p.idle != nil {
		p.idle.Stop()
		p.idle = nil
	}
}

func (p *Producer) String() string { return fmt.Sprintf("broker %d (%s)", p.id, p.addr) }
