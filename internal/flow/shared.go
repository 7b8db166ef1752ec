package flow

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/stats"
)

// Config is what the user wants of a producer, as far as all stages need it.
type Config struct {
	// Conf is the sarama.Config; read only.
	Conf *sarama.Config
	// BufferMemory is the budget's limit, in bytes.
	BufferMemory    int64
	DeliveryTimeout time.Duration
	// Report gets the delivery reports; nil for none.
	Report func(Report)
	// SaramaContract is set by the constructors with sarama's names. It means bare errors, and a bounded number of rounds
	// for what can't be sent.
	SaramaContract bool
	// MessageFailed is called with the error of each failed message, before Flush or CommitTxn sees its outcome. It must not
	// block. It is nil without transactions.
	MessageFailed func(err error)
	// Log may be nil.
	Log *Log
	// Tracer may be nil.
	Tracer Tracer
	// Stats may be nil: then NewShared makes them. CauseOf sorts failures for them; it may be nil.
	Stats   *stats.Producer
	CauseOf func(error) stats.Cause
}

// Shared is what all stages of one producer have in common. Its exported fields don't change.
type Shared struct {
	Conf            *sarama.Config
	Budget          *Budget
	Barriers        *Barriers
	Outcomes        *Outcomes
	DeliveryTimeout time.Duration
	SaramaContract  bool
	Log             *Log   // may be nil
	Tracer          Tracer // may be nil; Trace calls it
	Stats           *stats.Producer
	Intercepting    sync.Mutex // held while interceptors run

	start   time.Time
	urgent  atomic.Int32
	closing atomic.Bool
	aborted atomic.Pointer[error]
	txn     atomic.Pointer[error] // why the open transaction has failed

	mu        sync.Mutex
	listeners map[*func()]struct{} // see OnChange
	lingering map[*func()]struct{} // see OnUrgent
}

// NewShared starts the producer's clock and the outcome goroutines. Outcomes.CloseReports and Outcomes.Close end these.
func NewShared(cfg Config) *Shared {
	if cfg.Stats == nil {
		cfg.Stats = stats.New()
	}
	s := &Shared{
		Conf: cfg.Conf, DeliveryTimeout: cfg.DeliveryTimeout, SaramaContract: cfg.SaramaContract, Log: cfg.Log,
		Tracer: cfg.Tracer,
		Stats:  cfg.Stats,
		Budget: NewBudget(cfg.BufferMemory), Barriers: NewBarriers(),
		start: time.Now(), listeners: make(map[*func()]struct{}), lingering: make(map[*func()]struct{}),
	}
	s.Outcomes = NewOutcomes(OutcomesConfig{
		ReturnSuccesses: cfg.Conf.Producer.Return.Successes,
		ReturnErrors:    cfg.Conf.Producer.Return.Errors,
		Report:          cfg.Report,
		BareErrors:      cfg.SaramaContract,
		Failed:          cfg.MessageFailed,
		Traced:          cfg.Tracer != nil,
		BufferSize:      cfg.Conf.ChannelBufferSize,
		Budget:          s.Budget,
		Barriers:        s.Barriers,
		Log:             cfg.Log,
		Stats:           cfg.Stats,
		Now:             s.Now,
		CauseOf:         cfg.CauseOf,
	})
	s.Budget.Unread, s.Budget.UnreadAt, s.Budget.Log = s.Outcomes.Unread, s.Outcomes.UnreadAt, cfg.Log
	return s
}

// Now is the producer's clock, in nanoseconds since its start. It is monotonic. Stages read it once a run.
func (s *Shared) Now() int64 { return int64(time.Since(s.start)) }

// At is a moment on the producer's clock.
func (s *Shared) At(t time.Time) int64 { return int64(t.Sub(s.start)) }

// Deadline is when the delivery timeout of a record is over that was accepted at born.
func (s *Shared) Deadline(born int64) int64 { return born + int64(s.DeliveryTimeout) }

// Linger is how long a batch may wait for more records (Producer.Flush): well short of its deadline, even if Flush sets a size or a
// count that is never reached. none: Flush asks for no waiting at all.
func (s *Shared) Linger() (linger time.Duration, none bool) {
	f := &s.Conf.Producer.Flush
	linger = s.DeliveryTimeout / 2
	if f.Frequency > 0 {
		linger = min(linger, f.Frequency)
	}
	return linger, f.Bytes == 0 && f.Messages == 0 && f.Frequency == 0
}

// DeadlineCheckEvery is how often a stage that holds messages checks their deadlines.
func (s *Shared) DeadlineCheckEvery() time.Duration {
	return min(max(s.DeliveryTimeout/50, time.Millisecond), time.Second)
}

// Urgent tells that linger is to be ignored: somebody flushes or closes, or waits for memory, which only
// sent batches can free.
func (s *Shared) Urgent() bool { return s.urgent.Load() > 0 || s.Budget.Waiting() }

// BeginUrgent makes all stages send at once until EndUrgent, and wakes those that linger.
func (s *Shared) BeginUrgent() {
	s.urgent.Add(1)
	s.WakeLingering()
}

// EndUrgent undoes one BeginUrgent.
func (s *Shared) EndUrgent() { s.urgent.Add(-1) }

// Closing tells that Close has begun. From then on a failed dial or look-up counts as an attempt, too. Otherwise Close
// would take the whole delivery timeout, whatever Retry.Max says.
func (s *Shared) Closing() bool { return s.closing.Load() }

// BeginClose makes Closing true.
func (s *Shared) BeginClose() {
	s.closing.Store(true)
	s.WakeAll()
}

// Abort makes every message fail with cause that has no outcome yet. Only the first call counts.
func (s *Shared) Abort(cause error) {
	if s.aborted.CompareAndSwap(nil, &cause) {
		s.WakeAll()
	}
}

// Aborted is the cause given to Abort, or nil.
func (s *Shared) Aborted() error {
	if cause := s.aborted.Load(); cause != nil {
		return *cause
	}
	return nil
}

// FailTxn makes every message of the open transaction fail with cause that has no outcome yet and is not being sent. Only
// the first call counts, until ClearTxn.
func (s *Shared) FailTxn(cause error) {
	if s.txn.CompareAndSwap(nil, &cause) {
		s.WakeAll()
	}
}

// ClearTxn undoes FailTxn, once every message of the transaction has its outcome.
func (s *Shared) ClearTxn() { s.txn.Store(nil) }

// Stopped is why nothing may be sent, or nil: the producer was aborted, or the open transaction has failed.
func (s *Shared) Stopped() error {
	if cause := s.Aborted(); cause != nil {
		return cause
	}
	if cause := s.txn.Load(); cause != nil {
		return *cause
	}
	return nil
}

// OnChange registers a function that wakes a stage. It is called when Closing, Aborted, Stopped or the producer's identity
// changes, and when no broker gave an identity. It must not block. remove ends the registration.
func (s *Shared) OnChange(wake func()) (remove func()) { return s.register(s.listeners, wake) }

// OnUrgent registers a function that wakes a stage. It is called when Urgent becomes true, and must not block. remove
// ends the registration.
func (s *Shared) OnUrgent(wake func()) (remove func()) { return s.register(s.lingering, wake) }

func (s *Shared) register(listeners map[*func()]struct{}, wake func()) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := &wake
	listeners[key] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(listeners, key)
	}
}

// WakeAll wakes topics, partition producers and loops.
func (s *Shared) WakeAll() { s.wake(s.listeners) }

// WakeLingering wakes only the stages that linger. Memory is short often, and there may be thousands of others.
func (s *Shared) WakeLingering() { s.wake(s.lingering) }

func (s *Shared) wake(listeners map[*func()]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for wake := range listeners {
		(*wake)()
	}
}

// UserError is err as a call returns it to the user.
func (s *Shared) UserError(err error) error {
	if s.SaramaContract {
		return Bare(err)
	}
	return err
}

// Guard runs the user's code. As in sarama, a panic goes to sarama.PanicHandler if that is set; else it ends the program.
func Guard(call func()) {
	if handler := sarama.PanicHandler; handler != nil {
		defer func() {
			if p := recover(); p != nil {
				handler(p)
			}
		}()
	}
	call()
}
