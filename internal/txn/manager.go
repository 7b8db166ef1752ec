package txn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Config is what a Manager needs of its surroundings.
type Config struct {
	// Ask sends one request to any broker.
	Ask func(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	// Backoff is the pause before another try, the failures in a row given.
	Backoff func(failures int) time.Duration
	// Retriable tells of a broker's error code whether asking again may help. Any other error is a broker that can't be
	// reached now, which may be reached later.
	Retriable func(sarama.KError) bool
	// Changed is called after the identity has changed, or was asked for in vain; Failed when none can be had, for good.
	// Neither may block.
	Changed func()
	Failed  func(error)
}

// Manager gives the producer its identity. It asks a broker once, at the start, and again only when the epochs of an id
// are used up. All methods may be called concurrently, and none waits.
type Manager struct {
	cfg     Config
	current atomic.Pointer[Identity]
	refusal atomic.Pointer[Refusal]

	mu sync.Mutex
	// asking is true while init runs, and for good once it has failed or was closed: a producer that has no identity can't
	// go on, and a later Bump must not start the asking anew.
	asking  bool
	closed  bool
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// NewManager makes a manager without an identity. Start asks for one.
func NewManager(cfg Config) *Manager {
	m := &Manager{cfg: cfg}
	m.current.Store(&None)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Start asks for an identity, in a goroutine that ends when it is there, or with Close. Once there is one, it does nothing.
func (m *Manager) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.Current().Known() {
		m.ask()
	}
}

// Close ends the asking and waits for its goroutine.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.running.Wait()
}

// Current is the identity that new numbers are given under; None until a broker has given one.
func (m *Manager) Current() Identity { return *m.current.Load() }

// Refusal is why the last try to have an identity failed.
type Refusal struct{ Err error }

// Refusal is nil while none was tried in vain. Each failure has a value of its own.
func (m *Manager) Refusal() *Refusal { return m.refusal.Load() }

// Bump raises the epoch, because a number given under from has left without being acknowledged: the broker would take
// no later one (KIP-360). The new epoch needs no broker's consent. If from is not the current identity, an earlier
// failure has raised it already. After epoch 32767 another id is asked for.
func (m *Manager) Bump(from Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Current() != from || !from.Known() {
		return
	}
	if from.Epoch == math.MaxInt16 {
		m.current.Store(&None)
		m.ask()
		return
	}
	m.current.Store(&Identity{from.ID, from.Epoch + 1})
}

// ask runs under mu.
func (m *Manager) ask() {
	if m.asking || m.closed {
		return
	}
	m.asking = true
	m.running.Go(m.init)
}

// init asks until a broker gives an identity.
func (m *Manager) init() {
	for failures := 1; ; failures++ {
		id, err := m.initOnce()
		if err == nil {
			m.mu.Lock()
			m.current.Store(&id)
			m.refusal.Store(nil)
			m.asking = false
			m.mu.Unlock()
			m.cfg.Changed()
			return
		}
		if m.ctx.Err() != nil {
			return
		}
		if code, refused := errors.AsType[sarama.KError](err); refused && !m.cfg.Retriable(code) {
			m.cfg.Failed(flow.Errorf("no producer id: %w", flow.External(code)))
			return
		}
		sarama.Logger.Printf("sluice: asking for a producer id, try %d: %v\n", failures, err)
		m.refusal.Store(&Refusal{fmt.Errorf("no producer id: %w", flow.External(err))})
		m.cfg.Changed()
		timer := time.NewTimer(m.cfg.Backoff(failures))
		select {
		case <-timer.C:
		case <-m.ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (m *Manager) initOnce() (Identity, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	req.TransactionTimeoutMillis = -1
	kresp, err := m.cfg.Ask(m.ctx, req)
	if err != nil {
		return None, err
	}
	resp, ok := kresp.(*kmsg.InitProducerIDResponse)
	if !ok {
		return None, fmt.Errorf("an answer of type %T to InitProducerId", kresp)
	}
	if resp.ErrorCode != 0 {
		return None, sarama.KError(resp.ErrorCode)
	}
	return Identity{resp.ProducerID, resp.ProducerEpoch}, nil
}
