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

// Config is what a Manager depends on.
type Config struct {
	// Ask sends one request to any broker, chosen anew for each call.
	Ask func(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	// Backoff is the pause after so many failures in a row.
	Backoff func(failures int) time.Duration
	// Changed is called after a broker has given an identity, and after each failed try. Failed is called when a broker
	// has refused one for good. Neither may block.
	Changed func()
	Failed  func(error)
}

// Manager gives the producer its identity. It asks a broker at the start, and again only when an id has no epochs left.
// All methods may be called concurrently. None but Close waits.
type Manager struct {
	cfg     Config
	current atomic.Pointer[Identity]
	refusal atomic.Pointer[Refusal]

	mu sync.Mutex
	// asking is true while init runs. It stays true after a refusal, so that no Bump asks again.
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

// Start asks for an identity, unless there is one. The goroutine that asks ends with an identity, a refusal or Close.
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

// Current is the identity for new sequence numbers. It is None until a broker has given one.
func (m *Manager) Current() Identity { return *m.current.Load() }

// Refusal is why the last try to get an identity failed. Each failure has its own *Refusal.
type Refusal struct{ Err error }

// Refusal is nil if no try has failed since the last identity was given.
func (m *Manager) Refusal() *Refusal { return m.refusal.Load() }

// Bump raises the epoch (KIP-360). It is for a batch that left, unacknowledged, with a sequence number under from:
// brokers would refuse the numbers after it. The new epoch needs no broker's consent. If from is not the current
// identity, an earlier failure has raised the epoch already, and Bump does nothing. After epoch 32767 another id is asked
// for.
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

// ask starts init, unless it runs. Called with mu held.
func (m *Manager) ask() {
	if m.asking || m.closed {
		return
	}
	m.asking = true
	m.running.Go(m.init)
}

// init asks until a broker gives an identity or refuses one for good. A broker that can't be reached may be back later.
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
		if code, ok := errors.AsType[sarama.KError](err); ok && actionFor(code) == giveUp {
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
		return None, fmt.Errorf("InitProducerId answered with %T", kresp)
	}
	if resp.ErrorCode != 0 {
		return None, sarama.KError(resp.ErrorCode)
	}
	return Identity{resp.ProducerID, resp.ProducerEpoch}, nil
}
