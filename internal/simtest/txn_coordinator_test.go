package simtest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// coordinator is the transaction coordinator, with Kafka's states and answers. kfake has fewer: it ends transactions at
// once, takes the id back for an older producer, and answers a commit of nothing with success. So this decides, and kfake
// keeps the log: it is asked for the same under the same lock, and both have the same epoch at any time.
type coordinator struct {
	*run
	mu         sync.Mutex
	draw       *rand.Rand
	id         int64
	epoch      int16
	last       int16 // the epoch before, if its owner may ask for this one again; else -1
	state      txnState
	until      time.Time // in statePrepare: when all markers are written
	commits    bool      // in statePrepare and stateComplete: how it ended
	wrote      int       // the transaction's version, where it is open
	partitions map[partition]bool
	groups     map[string]bool
	acked      map[partition]bool // additions that the producer knows of
	timeout    time.Duration
	number     int // transactions begun
	owner      int // the producer that initialised the id last
	fencer     int // the producer that is about to
	expired    bool
	timer      *time.Timer
	loading    time.Time              // until then: COORDINATOR_LOAD_IN_PROGRESS
	ends       map[identity]*endOfTxn // EndTxn without a definite answer
	again      bool                   // the EndTxn that is handled is a repeated one
	gaveUp     map[identity]bool      // whose EndTxn may say something else
	blamed     map[int]bool           // producers that were answered with something fatal
	told       map[int]string         // and what, if the answer reached them
	toldOfAdd  map[int]string         // the same by AddPartitionsToTxn
	heard      map[int]string         // the same, also where it may be asked about again
	attempts   int                    // requests of transactions
	modes      map[identity]int       // the version that was used under an identity
	learned    map[string]time.Time   // by address: when it hears of the upgrade
	member     map[string]groupMember // by group
	direct     map[int32]net.Conn     // to kfake's brokers, past all faults
	arrived    map[*byte]arrival      // by a request's first byte
	told2      bool                   // a broker has told that version 2 is finalized
}

type txnState int

const (
	stateEmpty txnState = iota
	stateOngoing
	statePrepare // markers are being written
	stateComplete
)

func (s txnState) String() string {
	return []string{"empty", "ongoing", "prepared", "complete"}[s]
}

type identity struct {
	id    int64
	epoch int16
}

// arrival is what holds when a request comes. It may be handled a good while later.
type arrival struct {
	at      time.Time
	current identity
	heard   string // what its producer had been told by then
}

// endOfTxn is what a repeated EndTxn has to say again.
type endOfTxn struct {
	commit  bool
	version int16
}

type groupMember struct {
	id         string
	generation int32
	instance   string
}

// fencedForNow is PRODUCER_FENCED for a producer that nobody has fenced.
var fencedForNow = *kerr.ProducerFenced

func newCoordinator(r *run) *coordinator {
	c := &coordinator{
		run: r, draw: rand.New(rand.NewPCG(r.seed, 21)), id: -1, epoch: -1, last: -1, ends: map[identity]*endOfTxn{},
		blamed: map[int]bool{}, told: map[int]string{}, toldOfAdd: map[int]string{}, heard: map[int]string{}, modes: map[identity]int{}, learned: map[string]time.Time{}, direct: map[int32]net.Conn{},
		arrived: map[*byte]arrival{}, gaveUp: map[identity]bool{},
		member: map[string]groupMember{"g0": {"m0", 1, "static0"}, "g1": {"m1", 1, "static1"}},
	}
	c.clear()
	return c
}

func (c *coordinator) clear() {
	c.partitions, c.groups, c.acked = map[partition]bool{}, map[string]bool{}, map[partition]bool{}
	c.wrote = 0
	if c.timer != nil {
		c.timer.Stop()
	}
}

func (c *coordinator) current() identity { return identity{c.id, c.epoch} }

// settle ends what the coordinator was still writing, if its time has come.
func (c *coordinator) settle() {
	if c.state == statePrepare && !time.Now().Before(c.until) {
		c.state = stateComplete
	}
}

// open begins a transaction, or goes on with it.
func (c *coordinator) open(version int) {
	if c.state == stateOngoing {
		if c.wrote != version {
			c.fail("a transaction of version %d gets a request of version %d", c.wrote, version)
		}
		return
	}
	c.clear()
	c.state, c.wrote = stateOngoing, version
	c.number++
	number, after := c.number, c.timeout+time.Duration(c.draw.Int64N(int64(c.timeout/4)+1))
	c.timer = time.AfterFunc(after, func() { c.expire(number) })
}

// expire is the coordinator's time-out.
func (c *coordinator) expire(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == stateOngoing && c.number == number {
		c.trace("the transaction of epoch %d timed out", c.epoch)
		c.happens("a transaction timed out")
		c.fence(0)
		c.expired = true
	}
}

// fence aborts the open transaction under a raised epoch, which nobody is told. Brokers of version 2 raise it once more as the
// transaction ends; later ones do not (KAFKA-20785).
func (c *coordinator) fence(by int) {
	for range 1 + int(c.seed%2)*(c.wrote-1) {
		if code := c.endAtKfake(false, 5); code != 0 {
			c.fail("kfake does not fence: %v", kerr.ErrorForCode(code))
		}
		c.epoch++
	}
	c.last, c.fencer = -1, by
	c.prepare(false)
}

func (c *coordinator) prepare(commit bool) {
	c.clear()
	c.state, c.commits = statePrepare, commit
	c.until = time.Now().Add(time.Duration(c.draw.Int64N(int64(c.sc.txn.markers) + 1)))
	c.settle()
}

// init answers InitProducerId.
func (c *coordinator) init(client int, req *kmsg.InitProducerIDRequest, heard string, late bool) (id identity, code *kerr.Error) {
	c.settle()
	asked := identity{req.ProducerID, req.ProducerEpoch}
	named := asked.id >= 0
	switch {
	case named && asked.id != c.id:
		return identity{}, c.fenced(client, late, "InitProducerId with another producer id")
	case c.state == statePrepare:
		return identity{}, kerr.ConcurrentTransactions
	case c.state == stateOngoing:
		// Kafka does not look at the epoch here, so an older producer fences the newer one. It may not know better.
		excused := late || client < c.owner && heard == ""
		if client < c.owner && !excused {
			c.fail("producer %d was told %s, and ends the transaction of producer %d by InitProducerId", client, heard, c.owner)
		}
		c.fence(client)
		c.expired = c.expired || excused
		return identity{}, kerr.ConcurrentTransactions
	case named && asked.epoch == c.last && c.last >= 0:
		return c.current(), nil // the answer was lost
	case named && asked.epoch != c.epoch:
		return identity{}, c.fenced(client, late, "InitProducerId with an old epoch")
	}
	if client < c.owner && !late {
		c.fail("producer %d takes the transactional id back from producer %d", client, c.owner)
	}
	kreq := kmsg.NewPtrInitProducerIDRequest()
	kreq.Version = 4
	txid := transactionalID
	kreq.TransactionalID, kreq.TransactionTimeoutMillis = &txid, 900_000 // it never times out by itself
	kreq.ProducerID, kreq.ProducerEpoch = -1, -1
	resp := kreq.ResponseKind().(*kmsg.InitProducerIDResponse)
	if err := c.askCoordinator(transactionalID, kreq, resp, func() int16 { return resp.ErrorCode }); err != nil || resp.ErrorCode != 0 {
		return identity{}, kerr.CoordinatorNotAvailable
	}
	c.last = -1
	if named {
		c.last = c.epoch
	}
	if c.id >= 0 && resp.ProducerEpoch != c.epoch+1 {
		c.fail("kfake gives epoch %d after %d", resp.ProducerEpoch, c.epoch)
	}
	c.id, c.epoch, c.state, c.owner, c.expired = resp.ProducerID, resp.ProducerEpoch, stateEmpty, client, false
	c.timeout = time.Duration(req.TransactionTimeoutMillis) * time.Millisecond
	c.clear()
	return c.current(), nil
}

// fenced is the answer to an identity that is not current. For the newest producer that has to have a cause.
func (c *coordinator) fenced(client int, late bool, what string) *kerr.Error {
	if client == c.owner && client >= c.fencer && !c.expired && !late {
		c.fail("producer %d, the newest, is fenced: %s; the current epoch is %d, %v", client, what, c.epoch, c.state)
	}
	c.blame(client)
	return kerr.ProducerFenced
}

func (c *coordinator) blame(client int) { c.blamed[client] = true }

// forgive: a producer that could not be built, and was told why, is built now.
func (c *coordinator) forgive(client int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.told, client)
	delete(c.blamed, client)
}

// stopsAdding: AbortTxn has ended what was being added, and need not have heard what was answered to that.
func (c *coordinator) stopsAdding(client int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.toldOfAdd, client)
}

func (c *coordinator) toldFatal(client int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.told[client], c.toldOfAdd[client])
}

// givesUp: a producer is about to abort where a commit has no answer. From then on its EndTxn may say so.
func (c *coordinator) givesUp(client int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owner == client {
		c.gaveUp[c.current()], c.gaveUp[identity{c.id, c.epoch - 1}] = true, true
	}
	for id := range c.ends {
		if c.owner == client || id != c.current() { // else it is the one of the producer that has replaced this one
			c.gaveUp[id] = true
		}
	}
}

func (c *coordinator) isBlamed(client int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blamed[client] || c.sc.txn.release == "2.4" // which can't give a producer another epoch (KIP-360)
}

// check tells whether an identity is current.
func (c *coordinator) check(client int, late bool, i identity, what string) *kerr.Error {
	c.settle()
	switch {
	case i.id != c.id:
		return kerr.InvalidProducerIDMapping
	case i.epoch != c.epoch:
		if i.epoch > c.epoch {
			c.fail("%s has epoch %d, which the coordinator has not given: it is at %d", what, i.epoch, c.epoch)
		}
		return c.fenced(client, late, fmt.Sprintf("%s with epoch %d", what, i.epoch))
	case c.state == statePrepare:
		c.happens("CONCURRENT_TRANSACTIONS for " + what)
		return kerr.ConcurrentTransactions
	}
	return nil
}

// end answers EndTxn.
func (c *coordinator) end(client int, req *kmsg.EndTxnRequest, late bool) (id identity, code *kerr.Error) {
	c.settle()
	second := req.Version >= 5
	asked := identity{req.ProducerID, req.ProducerEpoch}
	ended := c.state == statePrepare || c.state == stateComplete
	repeated := second && ended && asked.id == c.id && asked.epoch == c.epoch-1
	what := fmt.Sprintf("EndTxn with epoch %d", asked.epoch)
	switch {
	case asked.id != c.id:
		return identity{}, kerr.InvalidProducerIDMapping
	case asked.epoch != c.epoch && !repeated:
		return identity{}, c.fenced(client, late, what)
	case c.state == statePrepare && second && !repeated:
		// Kafka takes it for another producer's, as long as markers are written.
		c.happens("EndTxn while the last transaction ends")
		if req.Commit {
			c.fail("%s commits while the last transaction ends", what)
		}
		return identity{}, &fencedForNow
	case c.state == statePrepare:
		c.happens("CONCURRENT_TRANSACTIONS for EndTxn")
		return identity{}, kerr.ConcurrentTransactions
	case repeated && req.Commit != c.commits:
		if c.expired {
			c.happens("a commit after the time-out")
		}
		return identity{}, kerr.InvalidTxnState
	case repeated:
		c.happens("a repeated EndTxn is answered")
		return c.current(), nil
	case c.state == stateOngoing:
		if (c.wrote == 2) != second {
			c.fail("a transaction of version %d is ended by EndTxn %d", c.wrote, req.Version)
		}
		if kcode := c.endAtKfake(req.Commit, req.Version); kcode != 0 {
			c.fail("kfake does not end the transaction: %v", kerr.ErrorForCode(kcode))
		}
		if c.trace("the transaction of epoch %d ends, commit %t, with %v %v", c.epoch, req.Commit, c.partitions, c.groups); second {
			c.last = c.epoch
			c.epoch++
		}
		c.prepare(req.Commit)
		return c.current(), nil
	case second && !req.Commit: // nothing was added: the epoch is raised all the same
		if kcode := c.endAtKfake(false, 5); kcode != 0 {
			c.fail("kfake does not raise the epoch: %v", kerr.ErrorForCode(kcode))
		}
		c.last = c.epoch
		c.epoch++
		c.prepare(false)
		return c.current(), nil
	case !second && c.state == stateComplete && req.Commit == c.commits:
		return c.current(), nil
	}
	return identity{}, kerr.InvalidTxnState
}
