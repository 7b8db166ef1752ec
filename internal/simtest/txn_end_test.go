package simtest

import (
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-kafka/sluice"
)

// isOver tells whether no transaction is open. The next may need another epoch first.
func isOver(st sarama.ProducerTxnStatusFlag) bool {
	return st == sarama.ProducerTxnFlagReady || st == sarama.ProducerTxnFlagInitializing
}

func isFatal(st sarama.ProducerTxnStatusFlag) bool { return st&sarama.ProducerTxnFlagFatalError != 0 }

var errOfProgram = errors.New("simtest: the program fails")

// transact is the same by Transact, with a function that may fail or panic.
func (p *program) transact(t *transaction, rival bool) {
	how := p.draw.IntN(6) // 0: fails, 1: panics
	ctx, cancel, patient := p.context()
	defer cancel()
	var ran, panicked bool
	healed := p.healed()
	begin := time.Now()
	t.beginCalled = p.tick()
	t.err = func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				if v != any(errOfProgram) {
					panic(v)
				}
				panicked, err = true, errOfProgram
			}
		}()
		return t.client.p.Transact(ctx, func(tx sluice.Tx) error {
			ran, t.began = true, p.tick()
			p.body(t, tx, rival)
			t.endCalled, begin = p.tick(), time.Now()
			switch how {
			case 0:
				return errOfProgram
			case 1:
				panic(errOfProgram)
			}
			return nil
		})
	}()
	p.took(t, "Transact", begin, patient)
	if !ran {
		t.began, t.endCalled, t.verdict, t.neverBegan = p.tick(), p.tick(), isNotCommitted, true
		if t.err == nil {
			p.fail("%v: Transact did not run its function", t)
		}
		p.notBegun(t, healed && patient)
		return
	}
	st := t.client.p.TxnStatus()
	p.trace("%v: Transact: %v, status %v", t, t.err, st)
	if how < 2 && (!errors.Is(t.err, errOfProgram) || panicked != (how == 1)) {
		p.fail("%v: Transact of a function that fails returns %v, panics %t", t, t.err, panicked)
	}
	if t.err != nil && isOver(st) {
		t.verdict = isNotCommitted // it aborts what is not unknown
		return
	}
	t.panicked = panicked
	p.goOn(t, committing)
}

// What was called last.
type ending int

const (
	committing ending = iota
	aborting
	givingUp // an abort where the outcome is unknown
)

// end commits or aborts.
func (p *program) end(t *transaction, commit bool) {
	t.endCalled = p.tick()
	how := aborting
	if commit {
		how = committing
	}
	p.call(t, how)
	p.goOn(t, how)
}

func (p *program) call(t *transaction, how ending) {
	ctx, cancel, patient := p.context()
	defer cancel()
	begin, name := time.Now(), "CommitTxn"
	if how == committing {
		t.err = t.client.p.CommitTxnContext(ctx)
	} else {
		name = "AbortTxn"
		t.err = t.client.p.AbortTxnContext(ctx)
	}
	p.trace("%v: %s took %v: %v, status %v", t, name, time.Since(begin), t.err, t.client.p.TxnStatus())
	p.took(t, name, begin, patient)
}

func (p *program) took(t *transaction, name string, begin time.Time, patient bool) {
	bound := p.patience()
	if !patient {
		bound = min(bound, 2*p.sc.readTimeout+time.Second)
	}
	if took := time.Since(begin); took > bound && !(name == "Transact" && !patient) {
		p.fail("%v: %s took %v", t, name, took)
	}
}

// goOn does what the status leaves to do after an error, until the transaction has ended.
func (p *program) goOn(t *transaction, how ending) {
	unknown := false
	for tries, whole := 0, 0; ; tries++ {
		if p.healed() {
			whole++ // tries with nothing wrong: while a broker is away, all may fail
		}
		st := t.client.p.TxnStatus()
		const end, committed = sarama.ProducerTxnFlagEndTransaction, sarama.ProducerTxnFlagCommittingTransaction
		switch {
		case t.err == nil && how == givingUp && !t.client.sarama:
			p.fail("%v: AbortTxn of an unknown outcome says nothing", t)
			t.verdict = isUnknown
			return
		case t.err == nil:
			t.verdict = isNotCommitted
			if how == committing {
				t.verdict = isCommitted
			}
			if !isOver(st) && !isFatal(st) {
				p.fail("%v: the status at its end is %v", t, st)
			}
			return
		case isFatal(st):
			t.verdict = isNotCommitted
			if unknown || how != aborting && (t.client.sarama || errors.Is(t.err, sluice.ErrOutcomeUnknown)) {
				t.verdict = isUnknown
			}
			p.fatal(t)
			return
		case isOver(st):
			t.verdict = isUnknown
			if how != givingUp || !t.client.sarama && !errors.Is(t.err, sluice.ErrOutcomeUnknown) {
				p.fail("%v: the status is ready after %v", t, t.err)
			}
			return
		case whole > 100 || tries > 10_000 || p.broken():
			if !p.broken() {
				p.fail("%v does not end: %v, status %v", t, t.err, st)
			}
			t.verdict = isUnknown
			p.leave(t.client)
			return
		case st&end != 0 && st&committed != 0 && st&sarama.ProducerTxnFlagInError == 0:
			// Through sarama's constructors, an error does not tell whether EndTxn was sent.
			if t.client.sarama || errors.Is(t.err, sluice.ErrOutcomeUnknown) {
				unknown = true
				p.happens("a commit is unknown")
			}
			switch choice := p.draw.IntN(10); {
			case choice == 0:
				t.verdict = isNotCommitted
				if unknown {
					t.verdict = isUnknown
				}
				p.leave(t.client)
				return
			case choice < 3 && t.client.rival == nil && unknown:
				how = givingUp
				p.coordinator.givesUp(t.client.number)
			case choice < 3 && !unknown:
				how = aborting
			default:
				how = committing
			}
		case st&sarama.ProducerTxnFlagAbortingTransaction != 0 && how == committing:
			how = aborting
		case st&sarama.ProducerTxnFlagAbortableError != 0:
			if !t.client.sarama && how != givingUp && !sluice.IsTxnAbortable(t.err) && tries == 0 {
				p.fail("%v: the status is %v, and IsTxnAbortable is not true: %v", t, st, t.err)
			}
			if how != givingUp {
				how = aborting
			}
		case st&sarama.ProducerTxnFlagInTransaction != 0 && how == committing:
			how = pick(p.draw, committing, aborting)
		}
		time.Sleep(time.Duration(p.draw.Int64N(int64(50 * time.Millisecond))))
		p.call(t, how)
	}
}

// fatal leaves a producer that can't go on. There has to be a cause for that.
func (p *program) fatal(t *transaction) {
	if !p.coordinator.isBlamed(t.client.number) {
		p.fail("%v: a fatal error without a cause: %v", t, t.err)
	}
	if t.panicked || t.err == errOfProgram { // which Transact returns alone if the abort was done, and what comes then is fatal
		p.leave(t.client)
		return
	}
	if !t.client.sarama && t.err != nil && !sluice.IsTxnFatal(t.err) {
		p.fail("%v: the status is fatal, and IsTxnFatal is not true: %v", t, t.err)
	}
	if reason := p.coordinator.toldFatal(t.client.number); reason == kerr.ProducerFenced.Message && p.sc.txn.impatient == 0 && !t.client.sarama &&
		!errors.Is(t.err, sarama.ErrProducerFenced) && !errors.Is(t.err, sarama.ErrInvalidProducerEpoch) {
		p.fail("%v was fenced, and does not say so: %v", t.client, t.err)
	}
	p.leave(t.client)
}

// checkEnd checks what is known at once.
func (p *program) checkEnd(t *transaction, attempts int) {
	c := t.client
	if t.verdict == isNotCommitted {
		p.coordinator.stopsAdding(c.number)
	}
	// A call that has given up does not hear of it.
	if reason := p.coordinator.toldFatal(c.number); reason != "" && !isFatal(c.p.TxnStatus()) && p.sc.txn.impatient == 0 {
		p.fail("%v was told %s, and its status is %v", c, reason, c.p.TxnStatus())
	}
	if t.verdict == isOpen {
		p.fail("%v has no end", t)
	}
	if t.empty() && c.rival == nil && p.sc.txn.racers == 0 && p.coordinator.tried() != attempts {
		p.fail("%v is empty, and costs %d requests", t, p.coordinator.tried()-attempts)
	}
	if t.verdict == isCommitted {
		if c.rivalAt > 0 && c.rivalAt < t.endCalled && !t.empty() {
			p.fail("%v is committed although there is a newer producer", t)
		}
		if t.staleAdd {
			p.fail("%v is committed with offsets of a stale member", t)
		}
		p.checkDecided(t)
	} else if p.sc.calm() && t.err != nil && !errors.Is(t.err, errOfProgram) {
		p.fail("%v fails where nothing is wrong: %v", t, t.err)
	}
	if c.rival != nil && p.client == c {
		p.leave(c)
	}
}

// checkDecided: CommitTxn waits for every outcome. They are handed over at the same instant.
func (p *program) checkDecided(t *transaction) {
	now := time.Now()
	time.Sleep(time.Nanosecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range t.messages {
		if m.refused != nil && m.how == "produce" {
			p.failures = append(p.failures, fmt.Sprintf("%v is committed without %v, which was refused: %v", t, m, m.refused))
		}
		if m.accepted && !m.told(m.reported, now) {
			p.failures = append(p.failures, fmt.Sprintf("%v is committed before the outcome of %v", t, m))
		}
	}
}
