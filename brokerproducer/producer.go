package brokerproducer

import (
	"context"
	"fmt"
	"sync"

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
	// Shun is told the address of a broker that left a request without an answer. It must not block.
	Shun func(addr string)
	// Learn takes a leader that an answer named (KIP-951). It must not block. The lane hears of it from the look-ups.
	Learn func(topic string, topicID [16]byte, partition, leader, epoch int32, node *metadata.Broker)
}

// Pool keeps the broker producers, one for each broker id and address that a lane is at. A broker that comes back under
// another address is another broker producer. All methods may be called concurrently.
type Pool struct {
	cfg     Config
	metrics *metrics

	mu      sync.Mutex
	brokers map[brokerKey]*Producer
	running sync.WaitGroup
}

type brokerKey struct {
	id   int32
	addr string
}

// NewPool makes an empty pool.
func NewPool(cfg Config) *Pool {
	return &Pool{cfg: cfg, metrics: newMetrics(cfg.Shared.Conf), brokers: make(map[brokerKey]*Producer)}
}

// Stay says what a generation is about.
type Stay struct {
	Topic     string
	TopicID   [16]byte
	Partition int32
	// Sequence is the lane's counter, as the last generation handed it back.
	Sequence txn.Sequence
	// Settle: only find out whether the batches that are resent, numbered and unsure, were written. They stand behind a
	// gap: OUT_OF_ORDER_SEQUENCE_NUMBER says that one was not. The generation closes itself when all are answered.
	Settle bool
}

// Open starts a generation of a lane at a broker, and the broker producer if there is none.
func (p *Pool) Open(id int32, addr string, lane Lane, stay Stay) *Generation {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := brokerKey{id, addr}
	bp := p.brokers[key]
	if bp == nil {
		bp = &Producer{
			Config: p.cfg, conf: p.cfg.Shared.Conf, metrics: p.metrics,
			pool: p, id: id, addr: addr,
			inbox:  flow.NewMailbox[item](),
			bridge: make(chan *request, 1),
		}
		bp.ctx, bp.cancel = context.WithCancel(context.Background())
		p.brokers[key] = bp
		p.running.Go(func() { newLoop(bp).run() })
		p.running.Go(func() { newNetwork(bp).run() })
	}
	bp.refs++
	return &Generation{
		Topic: stay.Topic, TopicID: stay.TopicID, Partition: stay.Partition,
		lane: lane, producer: bp,
		sequence: stay.Sequence, identity: stay.Sequence.Identity, settle: stay.Settle,
	}
}

// release takes the reference of an ended generation back. Without any left, the broker producer ends.
func (p *Pool) release(bp *Producer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bp.refs--; bp.refs == 0 {
		delete(p.brokers, brokerKey{bp.id, bp.addr})
		bp.inbox.Put(item{kind: itemStop})
	}
}

// Wait returns when every broker producer has ended, which they do when their last generation has.
func (p *Pool) Wait() { p.running.Wait() }

// Producer is the stage of one broker: two goroutines, the loop and the network goroutine, with the bridge between.
type Producer struct {
	Config
	conf    *sarama.Config
	metrics *metrics
	pool    *Pool
	id      int32
	addr    string
	refs    int // under pool.mu

	// inbox takes what lanes send and what the network answers; its owner is the loop.
	inbox *flow.Mailbox[item]
	// bridge takes one set from the loop to the network goroutine. The loop sends only when the network goroutine has
	// said that it is free, so that it never waits. The loop closes it.
	bridge chan *request
	claims claims
	// ctx ends what the network goroutine waits for; the loop cancels it when the producer is aborted.
	ctx    context.Context
	cancel context.CancelFunc
}

func (p *Producer) String() string { return fmt.Sprintf("broker %d (%s)", p.id, p.addr) }

// Send passes a run on, in order. It is the generation's from then on. One goroutine at a time calls it: the lane, or the
// topic, while the lane lends it.
func (g *Generation) Send(run []flow.Record) {
	if len(run) > 0 {
		g.producer.inbox.Put(item{kind: itemRun, gen: g, run: run})
	}
}

// Resend passes on a batch that an earlier generation handed back. It goes before all records sent later.
func (g *Generation) Resend(b *Batch) {
	g.producer.inbox.Put(item{kind: itemBatch, gen: g, batch: b})
}

// End says that the lane sends nothing more. When everything before it is answered, the loop calls Lane.Ended.
func (g *Generation) End() {
	g.producer.inbox.Put(item{kind: itemEnd, gen: g})
}
