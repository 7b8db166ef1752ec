package txn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Config is what a Manager depends on.
type Config struct {
	// Ask sends one request to any broker, chosen anew for each call.
	Ask func(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	// Doing tells what Ask waits for, or nil; for the errors of messages that wait for an identity. It may be nil.
	Doing func() error
	// Backoff is the pause after so many failures in a row.
	Backoff func(failures int) time.Duration
	// Changed is called after a broker has given an identity, and after each failed try. It must not block.
	Changed func()
	// Log may be nil.
	Log *flow.Log
}

// Manager gives the producer its identity. It asks a broker at the start, and again only when an id has no epochs left or is
// of no more use. All methods may be called concurrently. None but StartAndWait and Close waits.
type Manager struct {
	cfg     Config
	current atomic.Pointer[Identity]
	refusal atomic.Pointer[Refusal]

	mu       sync.Mutex
	asking   bool         // init runs
	failures int          // in a row
	failedAt time.Time    // the last one
	trouble  flow.Trouble // the same, for the log
	closed   bool
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	firstTry chan struct{} // closed when the first try has ended
	tries    sync.Once     // closes it
}

// NewManager makes a manager without an identity. Start asks for one.
func NewManager(cfg Config) *Manager {
	m := &Manager{cfg: cfg, firstTry: make(chan struct{})}
	m.current.Store(&None)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Start asks for an identity, unless there is one. The goroutine that asks ends with an identity, a final refusal or Close.
// After a refusal it begins with the rest of the back-off.
func (m *Manager) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.Current().Known() {
		m.ask()
	}
}

// StartAndWait is Start that waits for the end of the first try, for patience at most. Its error is a final refusal. Without
// one the asking goes on.
func (m *Manager) StartAndWait(patience time.Duration) error {
	m.Start()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-m.firstTry:
	case <-timer.C:
	}
	if refusal := m.Refusal(); refusal != nil && refusal.Final {
		return refusal.Err
	}
	return nil
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
type Refusal struct {
	Err error
	// Final: a broker has refused, and asking again soon is of no use. Nobody asks before the next Start.
	Final bool
}

// Refusal is nil if no try has failed since the last identity was given.
func (m *Manager) Refusal() *Refusal { return m.refusal.Load() }

// Doing is why there is no identity: why the last try failed, or else what goes on.
func (m *Manager) Doing() error {
	if refusal := m.Refusal(); refusal != nil {
		return refusal.Err
	}
	if m.cfg.Doing != nil {
		if err := m.cfg.Doing(); err != nil {
			return fmt.Errorf("waiting for a producer id: %w", err)
		}
	}
	return errors.New("waiting for a producer id")
}

// Bump raises the epoch (KIP-360). It is for a batch that left, unacknowledged, with a sequence number under from:
// brokers would refuse the numbers after it. The new epoch needs no broker's consent. If from is not the current
// identity, an earlier failure has raised the epoch already: Bump does nothing and returns false. After epoch 32767 another id is asked
// for.
func (m *Manager) Bump(from Identity) (bumped bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Current() != from || !from.Known() {
		return false
	}
	if from.Epoch == math.MaxInt16 {
		m.current.Store(&None)
		m.ask()
		return true
	}
	m.current.Store(&Identity{from.ID, from.Epoch + 1})
	return true
}

// Renew asks for another id, for a batch that a broker refused because it does not know the id of from, or takes no epoch of
// it that it did not give out itself. If from is not the current identity, Renew does nothing, like Bump.
func (m *Manager) Renew(from Identity) (renewed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Current() != from || !from.Known() {
		return false
	}
	m.current.Store(&None)
	m.ask()
	return true
}

// ask starts init, unless it runs. Called with mu held.
func (m *Manager) ask() {
	if m.asking || m.closed {
		return
	}
	m.asking = true
	m.running.Go(m.init)
}

// init asks until brokers give an identity or refuse one. A broker that can't be reached may be back later.
func (m *Manager) init() {
	for m.backOff() {
		id, err := m.initOnce()
		if m.ctx.Err() != nil {
			return
		}
		if m.tried(id, err) {
			return
		}
	}
}

// backOff waits for the rest of the pause after the last failure. It returns false after Close.
func (m *Manager) backOff() bool {
	m.mu.Lock()
	failures, failedAt := m.failures, m.failedAt
	m.mu.Unlock()
	if failures == 0 {
		return true
	}
	return flow.Sleep(m.ctx, time.Until(failedAt.Add(m.cfg.Backoff(failures)))) == nil
}

// tried notes what came of a try, and tells whether it is the last one for now.
func (m *Manager) tried(id Identity, err error) (done bool) {
	defer m.cfg.Changed() // after the lock is released
	defer m.tries.Do(func() { close(m.firstTry) })
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.current.Store(&id)
		m.refusal.Store(nil)
		m.asking, m.failures = false, 0
		m.trouble.Over(slog.Int64("producer_id", id.ID), flow.EpochAttr("producer_epoch", id.Epoch))
		return true
	}
	m.failures++
	m.failedAt = time.Now()
	refusal := refusalOf(err)
	m.refusal.Store(refusal)
	m.asking = !refusal.Final
	m.cfg.Log.Printf("sluice: asking for a producer id, try %d: %v\n", m.failures, refusal.Err)
	m.trouble.Again(m.cfg.Log, flow.NoProducerID, "", slog.Int("tries", m.failures), slog.Bool("final", refusal.Final), flow.Cause(refusal.Err))
	return refusal.Final
}

func (m *Manager) initOnce() (Identity, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	req.TransactionTimeoutMillis = -1
	kresp, err := m.cfg.Ask(m.ctx, req)
	if err != nil {
		return None, err
	}
	if err := ErrorOf(kresp); err != nil {
		return None, err
	}
	resp, ok := kresp.(*kmsg.InitProducerIDResponse)
	if !ok {
		return None, fmt.Errorf("InitProducerId answered with %T", kresp)
	}
	return Identity{resp.ProducerID, resp.ProducerEpoch}, nil
}
