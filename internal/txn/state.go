package txn

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// The state of a transactional producer: calls and answers go in, the next step comes out. It knows no goroutine, lock,
// request or clock. Transactions carries the steps out.
//
//	from                           what happens                                   to
//	ready                          BeginTxn                                       open
//	open                           CommitTxn                                      committing
//	open, committing, abortable    AbortTxn                                       aborting
//	open, committing, unanswered   a message or a request fails                   abortable
//	committing                     nothing to commit, or EndTxn is granted        ready
//	committing                     EndTxn was sent, and has no definite answer    unanswered
//	unanswered                     EndTxn is granted; AbortTxn                    ready; aborting
//	aborting                       nothing to abort; EndTxn is granted, and       ready
//	                               InitProducerId, if another epoch is needed
//	any                            a fatal failure                                fatal

// state is where a producer is between two calls, or within one.
type state uint8

const (
	// stateReady: no transaction is open.
	stateReady state = iota
	// stateOpen: messages and offsets belong to the transaction.
	stateOpen
	// stateCommitting: CommitTxn was called, and no EndTxn was sent.
	stateCommitting
	// stateUnanswered: EndTxn was sent to commit, and has no definite answer. The same request goes on, or AbortTxn gives up.
	stateUnanswered
	// stateAborting: AbortTxn was called.
	stateAborting
	// stateAbortable: something of the transaction has failed. AbortTxn is what remains.
	stateAbortable
	// stateFatal: the producer is of no more use.
	stateFatal
)

var stateNames = [...]string{"ready", "open", "committing", "unanswered", "aborting", "abortable", "fatal"}

func (s state) String() string { return stateNames[s] }

// step is what a call has to do next.
type step uint8

const (
	stepFinished step = iota // the call has ended
	stepDrain                // wait until every message has its outcome
	stepOffsets              // AddOffsetsToTxn (version 1) and TxnOffsetCommit
	stepEndTxn               // EndTxn: commit, or abort
	stepInit                 // InitProducerId under the current id and epoch
)

var stepNames = [...]string{"finished", "drain", "add offsets", "EndTxn", "InitProducerId"}

func (s step) String() string { return stepNames[s] }

// machine is the state and what decides about the next step.
type machine struct {
	state state
	// cause is why the transaction failed, of abortable and fatal.
	cause error

	// Of the open transaction:

	version   int16 // 1, or 2 (KIP-890)
	drained   bool  // no message is without an outcome, and none is accepted
	offsets   bool  // there are offsets to commit
	started   bool  // the coordinator may have it open
	unsettled bool  // version 1: a request to add to it had no answer, so the coordinator may not have it open
	failed    bool  // a message failed, or offsets had no answer: they may still arrive, under this epoch
	stray     bool  // another request had no answer: it may still be handled, under this epoch
	unknown   bool  // AbortTxn was called on an unanswered commit
	ended     bool  // EndTxn was answered

	// initFirst: before the next transaction the producer needs another epoch, and has not got it yet.
	initFirst bool
	// canBump: the coordinator raises the epoch of a producer that asks under its own (KIP-360, InitProducerId v3).
	canBump bool
}

// status is what TxnStatus returns: sarama's flags.
func (m *machine) status() sarama.ProducerTxnStatusFlag {
	switch m.state {
	case stateOpen:
		return sarama.ProducerTxnFlagInTransaction
	case stateCommitting, stateUnanswered:
		return sarama.ProducerTxnFlagEndTransaction | sarama.ProducerTxnFlagCommittingTransaction
	case stateAborting:
		return sarama.ProducerTxnFlagEndTransaction | sarama.ProducerTxnFlagAbortingTransaction
	case stateAbortable:
		return sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagAbortableError
	case stateFatal:
		return sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagFatalError
	}
	if m.initFirst {
		return sarama.ProducerTxnFlagInitializing
	}
	return sarama.ProducerTxnFlagReady
}

// notAllowed is the error of a call in the wrong state. As in sarama it is ErrTransitionNotAllowed, also of Begin in a
// transaction that failed.
func (m *machine) notAllowed(call string) error {
	err := fmt.Errorf("%s: %w", call, flow.External(sarama.ErrTransitionNotAllowed))
	switch {
	case m.state == stateFatal:
		err = fmt.Errorf("%w: %w", err, m.failure())
	case m.cause != nil:
		err = fmt.Errorf("%w: %w", err, certain{m.cause}) // not IsAbortable: AbortTxn is still to be called
	}
	return flow.Errorf("%w", err)
}

// begin opens a transaction of that version. Before it is called the producer must have its next epoch: see initFirst.
func (m *machine) begin(version int16) error {
	if m.state != stateReady {
		return m.notAllowed("BeginTxn")
	}
	*m = machine{state: stateOpen, version: version, canBump: m.canBump}
	return nil
}

// addOffset notes that there are offsets to commit. In a transaction that has failed, its error also says what remains: a
// function of Transact may return it.
func (m *machine) addOffset() error {
	switch m.state {
	case stateOpen:
		m.offsets = true
		return nil
	case stateAbortable, stateFatal:
		return flow.Errorf("%w: %w", flow.External(sarama.ErrTransactionNotReady), m.failure())
	}
	return flow.Errorf("offsets outside a transaction: %w", flow.External(sarama.ErrTransactionNotReady))
}

// commit begins CommitTxn, or repeats it.
func (m *machine) commit() error {
	switch m.state {
	case stateOpen:
		m.state = stateCommitting
	case stateCommitting, stateUnanswered:
	case stateAbortable, stateFatal:
		return m.failure()
	default:
		return m.notAllowed("CommitTxn")
	}
	return nil
}

// abort begins AbortTxn, or repeats it.
func (m *machine) abort() error {
	switch m.state {
	case stateOpen, stateCommitting, stateAbortable:
		m.state = stateAborting
	case stateUnanswered:
		m.state, m.unknown = stateAborting, true
	case stateAborting:
	case stateFatal:
		return m.failure()
	default:
		return m.notAllowed("AbortTxn")
	}
	return nil
}

// failure is why the transaction failed, as CommitTxn and AbortTxn return it.
func (m *machine) failure() error {
	return &Error{Fatal: m.state == stateFatal, cause: m.cause}
}

// fail records that something of the transaction failed. The first cause is kept; a fatal one replaces an abortable one.
func (m *machine) fail(cause error, isFatal bool) {
	switch {
	case m.state == stateFatal:
	case isFatal:
		if m.state == stateUnanswered || m.unknown {
			cause = flow.UnknownCommit(cause) // the commit may have come first
		}
		m.state, m.cause = stateFatal, cause
	case m.state == stateOpen, m.state == stateCommitting, m.state == stateUnanswered:
		m.state, m.cause = stateAbortable, cause
	}
}

// messageFailed records that a message of the transaction failed.
func (m *machine) messageFailed(cause error, isFatal bool) (counts bool) {
	if m.drained || m.state == stateReady || m.state == stateFatal {
		return false
	}
	m.failed = true
	m.fail(cause, isFatal)
	return true
}

// next is the step to take in a CommitTxn or AbortTxn. At finished the transaction is over, or has failed.
func (m *machine) next() step {
	switch m.state {
	case stateCommitting, stateAborting:
		if !m.drained {
			return stepDrain
		}
	}
	switch m.state {
	case stateCommitting:
		switch {
		case m.offsets:
			return stepOffsets
		case m.started:
			return stepEndTxn
		}
	case stateUnanswered:
		return stepEndTxn
	case stateAborting:
		switch {
		case m.ended:
			return stepInit // the new epoch is still missing
		case m.started:
			return stepEndTxn
		}
	default:
		return stepFinished
	}
	m.finish()
	return stepFinished
}

// finish ends the transaction.
func (m *machine) finish() {
	m.state, m.cause = stateReady, nil
	m.initFirst = m.initFirst || m.strays()
}

// needsEpoch tells whether the next transaction must have another epoch than this one. Version 2 gives one with every EndTxn.
// In version 1 it keeps out what may still be under way of this one: batches that failed, an AddPartitionsToTxn, an EndTxn.
func (m *machine) needsEpoch() bool {
	return m.unknown || m.version < 2 && (m.failed || m.unsettled) || m.strays()
}

// strays tells whether a request of this transaction could be taken for one of the next: an EndTxn would commit that in the
// middle. Before Kafka 2.5 nothing can be done about it.
func (m *machine) strays() bool { return m.version < 2 && m.stray && m.canBump }

// added records that the coordinator has opened the transaction: for certain, or else a request for that had no answer.
func (m *machine) added(certain bool) {
	m.started = true
	m.unsettled = !certain
}

// unansweredOffsets records that a TxnOffsetCommit had no answer. If the transaction is aborted, it may still be done.
func (m *machine) unansweredOffsets() { m.failed = true }

// errOldBroker is why a producer can't go on after a failed transaction with a broker before Kafka 2.5.
var errOldBroker = errors.New("the coordinator can't raise a producer's epoch (InitProducerId v3, Kafka 2.5): make another producer")

// unsure records that EndTxn may have been done: it was sent, and has no definite answer.
func (m *machine) unsure() {
	if m.state == stateCommitting {
		m.state = stateUnanswered
	}
}

// answered records the definite answer to a step.
func (m *machine) answered(s step, a answer, cause error) {
	switch a {
	case answerAbortable, answerFatal:
		m.refused(s, a, cause)
		return
	case answerWrongState:
		m.notOpen(cause)
		return
	}
	switch s {
	case stepDrain:
		m.drained = true
	case stepOffsets:
		m.offsets = false
	case stepEndTxn:
		m.endTxnGranted()
	case stepInit:
		m.finish()
		m.initFirst = false
	}
}

func (m *machine) endTxnGranted() {
	if m.state != stateAborting || !m.needsEpoch() {
		m.finish()
		return
	}
	m.needEpoch()
}

// needEpoch ends an abort with InitProducerId: the next transaction must have another epoch. The coordinator gives it where nothing
// is open any more.
func (m *machine) needEpoch() {
	m.ended, m.started = true, false
	if !m.canBump {
		m.fail(errOldBroker, true)
	}
}

// notOpen records that EndTxn was refused, as the coordinator has no such transaction open.
func (m *machine) notOpen(cause error) {
	switch {
	case m.state == stateAborting && (m.unknown || m.unsettled):
		m.endTxnGranted() // the commit was done, or nothing was ever added
	case m.state != stateAborting && m.version >= 2:
		// KAFKA-20785: the coordinator has aborted it, as its time was up. It is not committed.
		m.fail(cause, false)
	default:
		m.fail(cause, true)
	}
}

// postpone leaves InitProducerId, which could not be had, to the next BeginTxn: the transaction itself has ended.
func (m *machine) postpone() {
	m.finish()
	m.initFirst = true
}

// versionChanged says that the cluster's transaction.version is another one than that of the last transaction: the next one
// begins with InitProducerId.
func (m *machine) versionChanged() {
	if m.state == stateReady {
		m.initFirst = true
	}
}

// refused records a definite refusal.
func (m *machine) refused(s step, a answer, cause error) {
	switch {
	case s == stepEndTxn && m.state == stateAborting && a == answerAbortable:
		m.needEpoch() // there may be nothing to abort, or the transaction is still open: the next one must not join it
	case s == stepInit && a == answerAbortable:
		m.fail(cause, true)
	default:
		m.fail(cause, a == answerFatal)
	}
}
