package brokerproducer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
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
	// Identity is the producer's identity at the moment; nil without idempotence.
	Identity func() txn.Identity
	// MarkUnresponsive is told the address of a broker that left a request without an answer. It must not block.
	MarkUnresponsive func(addr string)
	// UpdateLeader takes a leader that an answer named (KIP-951). It must not block. The partition producer hears of it from the look-ups.
	UpdateLeader func(topic string, topicID [16]byte, partition, leader, epoch int32, node *metadata.Broker)
}

// Pool keeps the broker producers, one for each broker id and address that a partition producer is at, or was until lately. A broker that
// comes back under another address is another broker producer. All methods may be called concurrently.
type Pool struct {
	cfg     Config
	metrics *metrics

	mu      sync.Mutex
	brokers map[brokerKey]*Producer
	closing bool // Wait was called: nobody comes back
	running sync.WaitGroup
}

// idleTime is how long a broker producer stays without a session. A partition producer whose batch is refused comes back after its
// back-off, and a moved leader may move back: neither is to cost a dial, a TLS handshake and a login.
const idleTime = 30 * time.Second

type brokerKey struct {
	id   int32
	addr string
}

// NewPool makes an empty pool.
func NewPool(cfg Config) *Pool {
	return &Pool{cfg: cfg, metrics: newMetrics(cfg.Shared.Conf), brokers: make(map[brokerKey]*Producer)}
}

// stay says what a session is about.
type SessionParams struct {
	Topic     string
	TopicID   [16]byte
	Partition int32
	// Sequence is the partition producer's counter, as the last session handed it back.
	Sequence txn.Sequence
	// Verify: only find out whether the batches that are resent, numbered and unsure, were written. They stand behind a
	// gap in the sequence: OUT_OF_ORDER_SEQUENCE_NUMBER says that one was not. The session closes itself when all are answered.
	Verify bool
}

// Open starts a session of a partition producer at a broker, and the broker producer if there is none.
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
		p.running.Go(func() { newLoop(bp).run() })
		p.running.Go(func() { newNetwork(bp).run() })
	}
	bp.refs++
	bp.stopIdling()
	return &Session{
		Topic: params.Topic, TopicID: params.TopicID, Partition: params.Partition,
		owner: owner, producer: bp,
		sequence: params.Sequence, identity: params.Sequence.Identity, verify: params.Verify,
	}
}

// release takes the reference of an ended session back. Without any left, the broker producer is idle, and ends after a
// while. With acks 0 it ends at once: nothing is retried there, and a connection that is lost while nobody is there would
// tell the next partition producer to look its leader up.
func (p *Pool) release(bp *Producer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bp.refs--; bp.refs > 0 {
		return
	}
	if p.closing || p.cfg.Shared.Conf.Producer.RequiredAcks == sarama.NoResponse {
		p.end(bp)
		return
	}
	bp.idle = time.AfterFunc(idleTime, func() { p.idleIsOver(bp) })
}

// idleIsOver ends a broker producer, unless a partition producer has come back while the timer waited for the lock. If that has left again
// meanwhile, it ends early: the next one dials.
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
	delete(p.brokers, brokerKey{bp.id, bp.addr})
	bp.mailbox.Put(item{kind: itemStop})
}

// Wait ends the broker producers, at once where they are idle, else with their last session, and returns when all have.
// Nothing is opened any more.
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

// Producer is the stage of one broker: two goroutines, the loop and the network goroutine, with the bridge between.
type Producer struct {
	Config
	conf    *sarama.Config
	metrics *metrics
	pool    *Pool
	id      int32
	addr    string
	// Under pool.mu:
	refs int         // sessions that have not ended
	idle *time.Timer // that ends it; nil while there are sessions, and once it has ended

	// mailbox takes what partition producers send and what the network answers; its owner is the loop.
	mailbox *flow.Mailbox[item]
	// bridge takes one set from the loop to the network goroutine. The loop sends only when the network goroutine has
	// said that it is free, so that it never waits. The loop closes it.
	bridge chan *request
	claims claims
	// ctx ends what the network goroutine waits for; the loop cancels it when the producer is aborted.
	ctx    context.Context
	cancel context.CancelFunc
}

// stopIdling is called with pool.mu held.
func (p *Producer) stopIdling() {
	if p.idle != nil {
		p.idle.Stop()
		p.idle = nil
	}
}

func (p *Producer) String() string { return fmt.Sprintf("broker %d (%s)", p.id, p.addr) }

// Send passes a run on, in order. It is the session's from then on. One goroutine at a time calls it: the partition producer, or the
// topic, while the partition producer lets the topic send directly to it.
func (s *Session) Send(run []flow.Record) {
	if len(run) > 0 {
		s.producer.mailbox.Put(item{kind: itemRun, session: s, run: run})
	}
}

// Resend passes on a batch that an earlier session handed back. It goes before all records sent later.
func (s *Session) Resend(b *Batch) {
	s.producer.mailbox.Put(item{kind: itemBatch, session: s, batch: b})
}

// End says that the partition producer sends nothing more. When everything before it is answered, the loop calls partition producer.Ended.
func (s *Session) End() {
	s.producer.mailbox.Put(item{kind: itemEnd, session: s})
}
