package txn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// How a transaction ends: the steps of CommitTxn and AbortTxn, each a request or a wait.

// run takes the steps of a call that begin has begun.
func (t *Transactions) run(ctx context.Context, begin func(*machine) error) error {
	ctx, stop := t.join(ctx)
	defer stop()
	t.mu.Lock()
	err := begin(&t.machine)
	committing, unknown := t.machine.state != stateAborting, t.machine.unknown
	t.mu.Unlock()
	if err != nil {
		return err
	}
	for s := t.next(); s != stepFinished; s = t.next() {
		if s == stepInit {
			t.nextEpoch(ctx)
		} else if err := t.carryOut(ctx, s, committing); err != nil {
			return t.notEnded(err, committing)
		}
	}
	if err := t.failure(); err != nil {
		return err
	}
	t.cfg.Clear()
	if committing {
		t.renewEpoch(ctx)
	}
	t.refreshVersion(ctx)
	if unknown {
		return flow.UnknownCommit(errors.New("CommitTxn had no answer, and AbortTxn has given it up"))
	}
	return nil
}

// nextEpoch asks for the epoch of the next transaction, as the one that is aborted has ended. If it is not to be had, BeginTxn tries
// again; after Close there is none.
func (t *Transactions) nextEpoch(ctx context.Context) {
	if !t.closed && t.initProducerID(ctx) == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.machine.postpone()
}

// renewEpoch gets another epoch after a commit, if the next transaction needs one. It is not what the caller waits for: BeginTxn
// tries again.
func (t *Transactions) renewEpoch(ctx context.Context) {
	t.mu.Lock()
	needed := t.machine.initFirst
	t.mu.Unlock()
	if !needed {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askVersionTimeout)
	defer cancel()
	if err := t.initProducerID(ctx); err != nil {
		t.cfg.Log.Printf("sluice: transactional id %q: the next epoch: %v\n", t.cfg.ID, err)
		t.cfg.Log.Event(flow.EpochNotRenewed, "", slog.String("transactional_id", t.cfg.ID), flow.Cause(err))
	}
}

// next is the next step.
func (t *Transactions) next() step {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.machine.version >= 2 && t.writing.Load() {
		t.machine.started = true
	}
	return t.machine.next()
}

// failure is why the transaction has failed, or nil.
func (t *Transactions) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.machine.state == stateAbortable || t.machine.state == stateFatal {
		return t.machine.failure()
	}
	return nil
}

// notEnded is the error of a call that gives up before it has a definite answer. It may be made again.
func (t *Transactions) notEnded(err error, committing bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.machine.state == stateAbortable, t.machine.state == stateFatal: // meanwhile
		return fmt.Errorf("%w: %w", t.machine.failure(), err)
	case t.machine.state == stateUnanswered:
		return flow.UnknownCommit(fmt.Errorf("CommitTxn: %w", err))
	case committing:
		return flow.Errorf("CommitTxn: not committed yet: %w", err)
	}
	return flow.Errorf("AbortTxn: not aborted yet: %w", err)
}

// carryOut takes one step. An error means that the call's time or its tries are over.
func (t *Transactions) carryOut(ctx context.Context, s step, committing bool) error {
	switch s {
	case stepDrain:
		return t.drain(ctx, committing)
	case stepOffsets:
		return t.commitOffsets(ctx)
	}
	return t.endTxn(ctx, committing)
}

// answered passes a definite answer on.
func (t *Transactions) answered(s step, a answer, cause error) {
	t.mu.Lock()
	t.machine.answered(s, a, cause)
	t.logState()
	t.mu.Unlock()
}

// drain waits until every message of the transaction has its outcome, and nothing is being added to it.
func (t *Transactions) drain(ctx context.Context, committing bool) error {
	if err := t.cfg.Drain(ctx); err != nil {
		return err
	}
	if committing && t.failure() == nil {
		if err := t.additions.wait(ctx); err != nil {
			return err
		}
	} else {
		t.additions.stop()
	}
	t.answered(stepDrain, answerGranted, nil)
	return nil
}

// commitOffsets adds the offsets to the transaction, group by group (KIP-98). In version 2 TxnOffsetCommit alone does that
// (KIP-890).
func (t *Transactions) commitOffsets(ctx context.Context) error {
	for {
		t.mu.Lock()
		if len(t.offsets) == 0 {
			t.machine.answered(stepOffsets, answerGranted, nil)
			t.mu.Unlock()
			return nil
		}
		next := t.offsets[0]
		version := t.machine.version
		t.mu.Unlock()
		if version < 2 {
			if done, err := t.addGroup(ctx, next.member.group); !done {
				return err
			}
		}
		if done, err := t.commitMember(ctx, &next, version); !done {
			return err
		}
		t.mu.Lock()
		t.offsets = t.offsets[1:]
		t.mu.Unlock()
	}
}

// addGroup sends AddOffsetsToTxn. done says that it is granted.
func (t *Transactions) addGroup(ctx context.Context, group string) (done bool, err error) {
	id := t.Current()
	done, err = t.askForOffsets(ctx, &request{
		to: t.coordinator(), highest: 4,
		make: func() kmsg.Request {
			req := kmsg.NewPtrAddOffsetsToTxnRequest()
			req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = t.cfg.ID, id.ID, id.Epoch, group
			return req
		},
		read: func(resp kmsg.Response) sarama.KError {
			return sarama.KError(resp.(*kmsg.AddOffsetsToTxnResponse).ErrorCode)
		},
		unsure: func() { t.added(false) },
	})
	if done {
		t.added(true)
	}
	return done, err
}

// commitMember sends the TxnOffsetCommit of one member. done says that it is granted.
func (t *Transactions) commitMember(ctx context.Context, m *memberOffsets, version int16) (done bool, err error) {
	r := &request{
		to:   coordinatorKey{ofGroup, m.member.group},
		make: func() kmsg.Request { return m.commitRequest(t.cfg.ID, t.Current()) },
		read: func(resp kmsg.Response) sarama.KError { return codeOfOffsets(resp, len(m.offsets)) },
		unsure: func() {
			t.mu.Lock()
			t.machine.unansweredOffsets()
			t.mu.Unlock()
		},
	}
	r.lowest, r.highest = 0, 4
	if m.member.checked() {
		r.lowest = 3 // below, nobody would notice that the member has lost its partitions
	}
	if version >= 2 {
		r.lowest, r.highest = 5, 5 // from v6 on topics have ids in place of names
		t.added(true)              // by the attempt
	}
	return t.askForOffsets(ctx, r)
}

// askForOffsets sends a request that belongs to stepOffsets. done says that it is granted.
func (t *Transactions) askForOffsets(ctx context.Context, r *request) (done bool, err error) {
	_, a, err := t.ask(ctx, r)
	switch {
	case a == answerGranted:
		return true, nil
	case definite(a):
		t.answered(stepOffsets, a, err)
		return false, nil
	}
	return false, err
}

// added records that the coordinator may have opened the transaction.
func (t *Transactions) added(certain bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.machine.added(certain)
}

// endTxn sends EndTxn. A commit without an answer is repeated as it was: the same verdict, id, epoch and version.
func (t *Transactions) endTxn(ctx context.Context, commit bool) error {
	id := t.Current()
	r := &request{to: t.coordinator(), lowest: 0, highest: 4}
	if _, version := t.Open(); version >= 2 {
		r.lowest, r.highest = 5, 5
		if !commit && !t.closed { // Close need not wait: nothing was added yet
			r.early = t.markersUntil()
		}
	}
	if commit && t.endVersion >= 0 {
		r.lowest, r.highest = t.endVersion, t.endVersion
	}
	var sent *kmsg.EndTxnRequest
	r.make = func() kmsg.Request {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = t.cfg.ID, id.ID, id.Epoch, commit
		sent = req
		return req
	}
	r.read = func(resp kmsg.Response) sarama.KError { return sarama.KError(resp.(*kmsg.EndTxnResponse).ErrorCode) }
	r.unsure = func() {
		if commit {
			t.endVersion = sent.Version
			r.lowest, r.highest = sent.Version, sent.Version
		}
		t.mu.Lock()
		t.machine.unsure()
		t.mu.Unlock()
	}
	kresp, a, err := t.ask(ctx, r)
	if !definite(a) {
		return err
	}
	if resp, ok := kresp.(*kmsg.EndTxnResponse); ok && a == answerGranted && resp.Version >= 5 && resp.ProducerID >= 0 && resp.ProducerEpoch >= 0 {
		t.current.Store(&Identity{resp.ProducerID, resp.ProducerEpoch}) // sequence numbers begin again at 0 (KIP-890)
	}
	now := time.Now()
	t.endedAt.Store(&now)
	t.answered(stepEndTxn, a, err)
	return nil
}

// markersTime is how long the markers of a transaction's end may take after the answer to its EndTxn, or after an answer that says
// that they are still being written.
const markersTime = 5 * time.Second

// markersUntil is until when the markers of the last transaction may still be written.
func (t *Transactions) markersUntil() time.Time {
	latest := *t.endedAt.Load()
	if early := *t.early.Load(); early.After(latest) {
		latest = early
	}
	return latest.Add(markersTime)
}

// LastStillEnds says that something was refused because the last transaction is still being ended (CONCURRENT_TRANSACTIONS): a batch,
// or a request.
func (t *Transactions) LastStillEnds() {
	now := time.Now()
	t.early.Store(&now)
}

// initProducerID asks for an id at the first time, and for another epoch later (KIP-360).
func (t *Transactions) initProducerID(ctx context.Context) error {
	id := t.Current()
	r := &request{to: t.coordinator(), highest: 5}
	if id.Known() {
		// Before v3 (KIP-360) the request names no id: the broker would take this producer for a new instance, and fence the
		// one that has replaced it.
		r.lowest = 3
	}
	r.make = func() kmsg.Request {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = &t.cfg.ID, int32(t.cfg.Timeout.Milliseconds())
		req.ProducerID, req.ProducerEpoch = id.ID, id.Epoch
		return req
	}
	r.read = func(resp kmsg.Response) sarama.KError {
		return sarama.KError(resp.(*kmsg.InitProducerIDResponse).ErrorCode)
	}
	r.check = func(resp kmsg.Response) error { return checkIdentity(resp.(*kmsg.InitProducerIDResponse)) }
	kresp, a, err := t.ask(ctx, r)
	if !definite(a) {
		return err
	}
	if a == answerGranted {
		resp := kresp.(*kmsg.InitProducerIDResponse)
		t.current.Store(&Identity{resp.ProducerID, resp.ProducerEpoch})
		t.logEpoch(id)
		t.mu.Lock()
		t.machine.canBump = resp.Version >= 3
		t.mu.Unlock()
	}
	t.answered(stepInit, a, err)
	if a != answerGranted && !id.Known() {
		return err
	}
	return nil
}

// askVersionEvery is how often, at most, the coordinator is asked for the cluster's transaction.version. A caller has the answer to
// its transaction by then, and must not wait long.
const (
	askVersionEvery   = 5 * time.Second
	askVersionTimeout = 500 * time.Millisecond
)

// refreshVersion asks the coordinator for the cluster's transaction.version, between transactions. BeginTxn compares it with that of
// the last one.
func (t *Transactions) refreshVersion(ctx context.Context) {
	if t.closed || time.Since(t.versionAsked) < askVersionEvery {
		return
	}
	conn := t.cfg.Coordinators.of(t.coordinator())
	if conn == nil {
		return
	}
	t.versionAsked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, askVersionTimeout)
	defer cancel()
	if err := t.cfg.RefreshVersion(ctx, conn); err != nil {
		t.cfg.Log.Printf("sluice: transactional id %q: asking for the cluster's features: %v\n", t.cfg.ID, err)
		t.cfg.Log.Event(flow.FeaturesUnknown, "", slog.String("transactional_id", t.cfg.ID), flow.Cause(err))
	}
}

func (t *Transactions) coordinator() coordinatorKey { return coordinatorKey{ofTransaction, t.cfg.ID} }
