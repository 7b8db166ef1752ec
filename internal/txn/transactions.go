package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// TransactionsConfig is what Transactions depend on. Begin, Drain and RefreshVersion wait, until ctx ends; the others must not block.
type TransactionsConfig struct {
	ID      string        // the transactional id
	Timeout time.Duration // after which the coordinator aborts a transaction

	Coordinators *Coordinators
	// MaxRetries is how many tries of a request may fail; negative: Timeout is the only bound.
	MaxRetries int
	// Backoff is the pause after so many failures in a row.
	Backoff func(failures int) time.Duration
	// Version is the cluster's transaction.version. RefreshVersion asks a coordinator for it.
	Version        func() int16
	RefreshVersion func(context.Context, Conn) error

	// Begin lets messages in. Drain lets no more in, and returns when every message that was let in has its outcome.
	Begin func(context.Context) error
	Drain func(context.Context) error
	// Fail makes messages fail that have no outcome yet; Clear undoes it. Neither may call Transactions.
	Fail  func(cause error)
	Clear func()
	// Log may be nil.
	Log *flow.Log
}

// Transactions is the transactional side of a producer: its identity, and its transactions, one after the other. Calls take
// turns. Those that the stages make (Current, Open, Add, Writing, MessageFailed) never block.
type Transactions struct {
	cfg TransactionsConfig

	// ctx ends when the producer is aborted or closed.
	ctx    context.Context
	cancel context.CancelCauseFunc

	turn chan struct{} // holds an element while a call runs

	// For whoever has the turn:

	endVersion   int16     // of the EndTxn to commit that has no answer, or -1
	versionAsked time.Time // when the cluster's version was last asked for
	closed       bool      // calls fail

	// Written by whoever has the turn, read by the stages:

	current atomic.Pointer[Identity]
	endedAt atomic.Pointer[time.Time] // when the last EndTxn was answered
	number  atomic.Uint64             // of the open transaction, or the last one; 0 before the first
	version atomic.Int32              // of that: 1 or 2, as in machine

	// Set by the stages, cleared by Begin:

	writing atomic.Bool               // a batch of the transaction was written, or is about to be
	early   atomic.Pointer[time.Time] // when something of it was last refused because the last one was still being ended

	additions additions // has a lock of its own

	mu      sync.Mutex // guards what follows; cfg.Fail is called under it
	machine machine
	told    state // the last one that the log was told of
	offsets pendingOffsets
}

// NewTransactions makes a producer's transactions. It has no identity before Init.
func NewTransactions(cfg TransactionsConfig) *Transactions {
	t := &Transactions{cfg: cfg, turn: make(chan struct{}, 1)}
	t.current.Store(&None)
	t.endedAt.Store(&time.Time{})
	t.early.Store(&time.Time{})
	t.version.Store(1)
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	t.additions.init(t)
	return t
}

// Init gets the producer its id and epoch. Earlier instances with the same transactional id are fenced, and what they had open
// is aborted.
func (t *Transactions) Init(ctx context.Context) error {
	defer t.take()()
	ctx, stop := t.join(ctx)
	defer stop()
	if err := t.initProducerID(ctx); err != nil {
		return flow.Errorf("transactional id %q: %w", t.cfg.ID, err)
	}
	return nil
}

// Stop ends what is under way with cause: Close has run out of time. Later calls fail.
func (t *Transactions) Stop(cause error) { t.cancel(cause) }

// Close ends everything. It waits for the goroutine that adds partitions.
func (t *Transactions) Close() {
	t.cancel(flow.External(sarama.ErrShuttingDown))
	t.additions.stop()
	t.cfg.Coordinators.close()
}

// What the stages call.

// ID is the transactional id.
func (t *Transactions) ID() *string { return &t.cfg.ID }

// Current is the identity for new sequence numbers.
func (t *Transactions) Current() Identity { return *t.current.Load() }

// Start does nothing: Init has got the identity.
func (t *Transactions) Start() {}

// Refusal is nil: Init has got the identity.
func (t *Transactions) Refusal() *Refusal { return nil }

// Doing says that there is an identity: Init has got it.
func (t *Transactions) Doing() error { return errors.New("waiting for the next transaction") }

// Bump fails the transaction: only the coordinator gives another epoch, after it.
func (t *Transactions) Bump(Identity) (bumped bool) {
	t.fail(fmt.Errorf("a broker takes no more of the producer's sequence numbers: %w", flow.External(sarama.ErrOutOfOrderSequenceNumber)), false)
	return false
}

// Renew is Bump.
func (t *Transactions) Renew(from Identity) bool { return t.Bump(from) }

// Open is the number of the open transaction, and its version.
func (t *Transactions) Open() (number uint64, version int16) {
	return t.number.Load(), int16(t.version.Load())
}

// Accepting tells whether messages can be sent, and the number of their transaction.
func (t *Transactions) Accepting() (number uint64, open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.number.Load(), t.machine.state == stateOpen
}

// Writing says that a batch is about to be written. In version 2 that opens the transaction at its coordinator.
func (t *Transactions) Writing() {
	if !t.writing.Load() {
		t.writing.Store(true)
	}
}

// Add makes a partition a part of the open transaction. It returns true if it is one. Otherwise the coordinator is asked, and
// added is called when it is one; never if the transaction fails. added may be nil.
//
// In version 2 the broker adds it, when its first batch comes. That only has to wait a little after the last transaction.
func (t *Transactions) Add(topic string, partition int32, added func()) bool {
	if t.version.Load() < 2 {
		return t.additions.add(topicPartition{topic, partition}, added)
	}
	wait := afterEndTxn - time.Since(*t.endedAt.Load())
	if wait > 0 && added != nil {
		time.AfterFunc(wait, added)
	}
	return wait <= 0
}

// Adding is why what was given to Add is not added yet: why the last try failed, or else what goes on.
func (t *Transactions) Adding() error {
	if err := t.additions.lastFailure(); err != nil {
		return err
	}
	if err := t.cfg.Coordinators.doing.Now(t.coordinator().String()); err != nil {
		return err
	}
	return errors.New("AddPartitionsToTxn was not sent yet")
}

// afterEndTxn is how long after an EndTxn of version 2 no batch is written. The broker answers EndTxn before the markers of the end
// are in all partitions, which takes a millisecond or two. A batch that comes before that costs more: the broker looks again only
// after 20 ms (add.partitions.to.txn.retry.backoff.ms).
const afterEndTxn = 2 * time.Millisecond

// MessageFailed records that a message has failed. One that was sent outside of a transaction is not missing in any.
func (t *Transactions) MessageFailed(err error) {
	if errors.Is(err, sarama.ErrTransactionNotReady) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	isFatal := fatalCause(err) && !errors.Is(err, errTxnFailed)
	if t.machine.messageFailed(err, isFatal) {
		t.failRest(err)
	}
	t.logState()
}

// fail records that something else of the transaction has failed.
func (t *Transactions) fail(cause error, isFatal bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.machine.fail(cause, isFatal)
	if t.machine.state != stateReady {
		t.failRest(cause)
	}
	t.logState()
}

// GiveUp fails the open transaction: what of it is not being sent fails at once, and AbortTxn need not wait for it.
func (t *Transactions) GiveUp(cause error) { t.fail(cause, false) }

// failRest lets the other messages of the transaction fail. It is called under mu: nobody may begin the next one meanwhile.
func (t *Transactions) failRest(cause error) {
	t.cfg.Fail(fmt.Errorf("%w: %w", errTxnFailed, cause))
}

// errTxnFailed is wrapped by messages that fail because their transaction has. They say nothing new: the cause may hold any
// code, also one that the user's function has returned to Transact from elsewhere.
var errTxnFailed = errors.New("the transaction has failed")

// HasFailed tells whether err is of a message that failed because its transaction had.
func HasFailed(err error) bool { return errors.Is(err, errTxnFailed) }

// The user's calls.

// Status is TxnStatus.
func (t *Transactions) Status() sarama.ProducerTxnStatusFlag {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.machine.status()
}

// Begin is BeginTxn. The transaction's version is fixed here.
func (t *Transactions) Begin(ctx context.Context) error {
	release, err := t.call(ctx)
	if err != nil {
		return err
	}
	defer release()
	ctx, stop := t.join(ctx)
	defer stop()
	version := int16(1)
	if t.cfg.Version() >= 2 {
		version = 2
	}
	if err := t.prepareEpoch(ctx, version); err != nil {
		return err
	}
	t.mu.Lock()
	if err = t.machine.begin(version); err == nil {
		t.logState()
		t.offsets = nil
	}
	t.mu.Unlock()
	if err != nil {
		return err
	}
	t.version.Store(int32(version))
	t.writing.Store(false)
	t.early.Store(&time.Time{})
	t.endVersion = -1
	t.additions.begin()
	t.number.Add(1)
	return t.cfg.Begin(ctx)
}

// prepareEpoch asks for another epoch before a transaction of that version, if it needs one.
func (t *Transactions) prepareEpoch(ctx context.Context, version int16) error {
	t.mu.Lock()
	if before := t.version.Load(); t.number.Load() > 0 && int32(version) != before {
		t.machine.versionChanged() // any connection may have told it
	}
	needed := t.machine.state == stateReady && t.machine.initFirst
	t.mu.Unlock()
	if !needed {
		return nil
	}
	if err := t.initProducerID(ctx); err != nil {
		return flow.Errorf("BeginTxn: %w", err)
	}
	return t.failure()
}

// AddOffsets adds offsets to the open transaction.
func (t *Transactions) AddOffsets(offsets map[string][]*sarama.PartitionOffsetMetadata, m *sarama.ConsumerGroupMetadata) error {
	release, err := t.call(context.Background())
	if err != nil {
		return err
	}
	defer release()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.machine.addOffset(); err != nil {
		return err
	}
	t.offsets.add(memberOf(m), offsets)
	t.machine.offsets = len(t.offsets) > 0
	return nil
}

// Commit is CommitTxn.
func (t *Transactions) Commit(ctx context.Context) error {
	return t.end(ctx, (*machine).commit)
}

// Abort is AbortTxn.
func (t *Transactions) Abort(ctx context.Context) error {
	return t.end(ctx, (*machine).abort)
}

// AbortForClose aborts the transaction that is open, if any. Calls fail from then on.
func (t *Transactions) AbortForClose() error {
	defer t.take()()
	t.closed = true
	t.mu.Lock()
	over := t.machine.state == stateReady || t.machine.state == stateFatal
	t.mu.Unlock()
	if over {
		return nil
	}
	return t.run(context.Background(), (*machine).abort)
}

func (t *Transactions) end(ctx context.Context, begin func(*machine) error) error {
	release, err := t.call(ctx)
	if err != nil {
		return err
	}
	defer release()
	return t.run(ctx, begin)
}

// take waits for the turn, and returns what gives it back.
func (t *Transactions) take() (release func()) {
	t.turn <- struct{}{}
	return func() { <-t.turn }
}

// call begins a user's call.
func (t *Transactions) call(ctx context.Context) (release func(), err error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, flow.Errorf("waiting for another call to end: %w", flow.ContextError(ctx))
	}
	if t.closed || t.ctx.Err() != nil {
		<-t.turn
		return nil, sarama.ErrShuttingDown
	}
	return func() { <-t.turn }, nil
}

// join returns a context that ends with ctx, and when the producer is aborted or closed.
func (t *Transactions) join(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}
