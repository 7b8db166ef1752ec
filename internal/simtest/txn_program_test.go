package simtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// transaction is one transaction, as its program sees it. Its moments are of the run's clock.
type transaction struct {
	number int
	client *txnClient
	// From the call of BeginTxn to its return, and from the first call that ends the transaction to what it came to.
	beginCalled, began, endCalled, ended int64

	mu       sync.Mutex
	messages []*sent
	offsets  map[string]map[partition]int64 // by group
	staleAdd bool                           // some with the metadata of a member that the group has lost
	addErr   error                          // of adding offsets

	verdict    verdictOfTxn
	err        error // the last
	neverBegan bool
	panicked   bool // in Transact, which had no error to return
	// Of an unknown one: whether it turned out to be committed, or left no trace to tell.
	resolved, guess bool
}

type verdictOfTxn int

const (
	isOpen verdictOfTxn = iota
	isCommitted
	isNotCommitted
	isUnknown
)

func (v verdictOfTxn) String() string {
	return []string{"open", "committed", "not committed", "unknown"}[v]
}

func (t *transaction) String() string {
	return fmt.Sprintf("transaction %d of %v (%v)", t.number, t.client, t.verdict)
}

func (t *transaction) empty() bool { return len(t.messages)+len(t.offsets) == 0 && t.addErr == nil }

// program is what uses the producers: transactions in turn, and what a user does when one fails.
type program struct {
	*run
	draw   *rand.Rand
	client *txnClient
	built  int
}

func (r *run) playTxn() {
	r.started.Store(true)
	var others sync.WaitGroup
	healed := make(chan struct{})
	scheduleEnds := make(chan struct{})
	others.Go(func() { r.schedule(scheduleEnds) })
	others.Go(r.moveCoordinators)
	others.Go(func() {
		<-scheduleEnds
		r.heal()
		close(healed)
	})
	p := &program{run: r, draw: rand.New(rand.NewPCG(r.seed, 24))}
	if p.replace() {
		for range r.sc.txn.transactions {
			if p.client == nil || r.broken() {
				break
			}
			p.transaction()
			if r.sc.pause > 0 {
				time.Sleep(time.Duration(p.draw.Int64N(int64(r.sc.pause)) + 1))
			}
		}
	}
	<-healed
	p.finish()
	close(r.closed)
	close(r.stop)
	others.Wait()
	if r.coordinator.close() && !r.broken() {
		r.fail("a transaction is left open at the coordinator")
	}
}

// moveCoordinators is the schedule of the coordinators. Where they move to, they are loaded first.
func (r *run) moveCoordinators() {
	draw := rand.New(rand.NewPCG(r.seed, 25))
	for r.sc.txn.moves > 0 && r.wait(time.Duration(draw.Int64N(int64(2*r.sc.txn.moves)))) && !r.whole.Load() {
		r.trace("all coordinators move")
		r.cluster.RehashCoordinators()
		if draw.IntN(2) == 0 {
			r.coordinator.mu.Lock()
			r.coordinator.loading = time.Now().Add(time.Duration(draw.Int64N(int64(r.sc.readTimeout))))
			r.coordinator.mu.Unlock()
		}
	}
}

// replace makes a producer in place of the one there is.
func (p *program) replace() bool {
	if p.client != nil {
		p.client.close(p.draw)
	}
	p.built++
	p.client = p.newTxnClient(p.built)
	return p.client != nil
}

// context is mostly patient.
func (p *program) context() (context.Context, context.CancelFunc, bool) {
	if p.percent(p.sc.txn.impatient) {
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Duration(p.draw.Int64N(int64(2*p.sc.readTimeout))), errEnd)
		return ctx, cancel, false
	}
	return context.Background(), func() {}, true
}

func (p *program) percent(of float64) bool { return p.draw.Float64()*100 < of }

// transaction runs one, to its end.
func (p *program) transaction() {
	c := p.client
	t := p.newTransaction(c)
	rival := p.percent(p.sc.txn.rivals)
	early := rival && p.draw.IntN(2) == 0
	if early {
		p.rival(c)
	}
	before := p.coordinator.tried()
	if p.percent(20) {
		p.transact(t, rival && !early)
	} else if p.begin(t) {
		p.body(t, nil, rival && !early)
		if p.percent(4) {
			p.trace("%v: closed while open", t)
			t.endCalled, t.verdict = p.tick(), isNotCommitted
			p.leave(c)
		} else {
			p.end(t, p.percent(80))
		}
	}
	t.ended = p.tick()
	p.trace("%v: %d messages, offsets %v: %v", t, len(t.messages), t.offsets, t.err)
	p.checkEnd(t, before)
	if c.rival != nil && p.client == c {
		p.fail("%v goes on beside its rival", c)
	}
}

func (p *program) newTransaction(c *txnClient) *transaction {
	t := &transaction{client: c, offsets: map[string]map[partition]int64{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.txns = append(p.txns, t)
	c.txns = append(c.txns, t)
	t.number = len(p.txns)
	return t
}

// begin returns false if there is no transaction.
func (p *program) begin(t *transaction) bool {
	t.beginCalled = p.tick()
	healed := p.healed()
	t.err = t.client.p.BeginTxn()
	t.began = p.tick()
	if t.err == nil {
		t.client.refusedAt = time.Time{}
		if st := t.client.p.TxnStatus(); st&sarama.ProducerTxnFlagInTransaction == 0 {
			p.fail("%v: the status after BeginTxn is %v", t, st)
		}
		return true
	}
	t.endCalled, t.verdict, t.neverBegan = p.tick(), isNotCommitted, true
	p.notBegun(t, healed)
	return false
}

func (p *program) notBegun(t *transaction, healed bool) {
	st := t.client.p.TxnStatus()
	p.trace("%v: BeginTxn: %v, status %v", t, t.err, st)
	switch {
	case isFatal(st):
		p.fatal(t)
	case healed && !t.client.mayBeRefused():
		p.fail("%v: BeginTxn: %v, status %v", t, t.err, st)
	default:
		time.Sleep(20 * time.Millisecond)
	}
}

// mayBeRefused tells whether BeginTxn may fail for want of another epoch though all brokers are well: sarama's constructors have few
// tries, and these share the error of the last dial to a broker for up to a second.
func (c *txnClient) mayBeRefused() bool {
	if c.refusedAt.IsZero() {
		c.refusedAt = time.Now()
	}
	return c.sarama && time.Since(c.refusedAt) < 2*time.Second
}

// rival makes another producer with the same transactional id: the older one is fenced.
func (p *program) rival(c *txnClient) {
	p.trace("producer %d gets a rival", c.number)
	p.happens("a rival")
	p.built++
	rival := p.newTxnClient(p.built)
	if rival == nil {
		return
	}
	c.rivalAt = p.tick()
	c.rival = rival
	if p.percent(50) {
		p.openByRival(c)
	}
}

// openByRival leaves a transaction of the newer producer open while the older one comes to its end, which must not harm it.
func (p *program) openByRival(c *txnClient) {
	t := p.newTransaction(c.rival)
	t.beginCalled = p.tick()
	t.err = c.rival.p.BeginTxn()
	t.began = p.tick()
	if t.err != nil {
		t.endCalled, t.ended, t.verdict, t.neverBegan = p.tick(), p.tick(), isNotCommitted, true
		return
	}
	c.rival.sendInTxn(t, nil, 7)
	c.rivalTxn = t
}

// leave closes a producer, and goes on with its rival or a new one.
func (p *program) leave(c *txnClient) {
	p.coordinator.givesUp(c.number) // Close aborts
	if c.rival == nil {
		p.replace()
		return
	}
	c.close(p.draw)
	p.client = c.rival
	if t := c.rivalTxn; t != nil {
		p.end(t, true)
		t.ended = p.tick()
		p.trace("%v: it began while the older producer was there: %v", t, t.err)
		p.checkEnd(t, 0)
	}
}

func (c *coordinator) tried() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempts
}

// finish: when faults are over, a transaction can be committed, and Close leaves none open.
func (p *program) finish() {
	var last *transaction
	for tries := 0; p.client != nil && !p.broken(); tries++ {
		if tries == 3 {
			p.fail("when faults are over, transactions still fail: %v", last.err)
			break
		}
		time.Sleep(2 * time.Second)
		t := p.newTransaction(p.client)
		last = t
		if p.begin(t) {
			p.client.sendInTxn(t, nil, 0)
			t.endCalled = p.tick()
			p.call(t, committing)
			p.goOn(t, committing)
		}
		t.ended = p.tick()
		p.trace("%v: the end: %v", t, t.err)
		if t.verdict == isCommitted {
			break
		}
	}
	if p.client == nil {
		return
	}
	if p.percent(30) {
		t := p.newTransaction(p.client)
		if p.begin(t) { // Close aborts it
			p.body(t, nil, false)
			t.endCalled, t.verdict = p.tick(), isNotCommitted
		}
	}
	p.client.close(p.draw)
}
