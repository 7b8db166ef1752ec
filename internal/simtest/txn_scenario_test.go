package simtest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// txnScenario is what a seed of TestTxn draws beside the rest of its scenario.
type txnScenario struct {
	transactions int
	version      int           // of transactions, at the beginning: 1 or 2 (KIP-890)
	upgrade      time.Duration // when version 1 becomes 2; 0: never
	release      string        // of the brokers: what they advertise; empty: the newest
	topicIDs     bool          // Produce v13

	timeout       time.Duration // Transaction.Timeout: the coordinator's, and the producer's patience
	retryMax      int           // Transaction.Retry.Max, for sarama's constructors
	backoff       time.Duration
	markers       time.Duration // how long the coordinator takes at most to end a transaction after its answer
	moves         time.Duration // pause between moves of all coordinators; 0: none
	rivals        float64       // percent of the transactions in which another producer takes the transactional id
	racers        int           // goroutines that send whether or not there is a transaction
	idle          float64       // percent of the transactions that last longer than their time-out
	impatient     float64       // percent of the calls whose context ends early
	offsets       float64       // percent of the transactions that have offsets
	stale         float64       // percent of these with the metadata of a member that the group has lost
	saramaClients float64       // percent of the producers that are made by sarama's constructors
	faults        txnFaults
}

// txnFaults are in percent of the requests that they can happen to.
type txnFaults struct {
	lostRequest, lostAnswer, cutAnswer, slow, hang float64
	refused                                        float64 // with a code that asks for another try
	doneAndRefused                                 float64 // the same, and it was done
	find                                           float64 // FindCoordinator: lost, refused, or with an old answer
	abortable                                      float64 // TRANSACTION_ABORTABLE
	notAllowed                                     float64 // a topic or group: abortable
	fatal                                          float64 // TRANSACTIONAL_ID_AUTHORIZATION_FAILED
}

const transactionalID = "tx"

// drawTxnScenario is drawScenario for runs with transactions: shorter ones, with faults of its own.
func drawTxnScenario(seed uint64) scenario {
	sc := drawScenario(seed)
	r := rand.New(rand.NewPCG(seed, 20))
	const ms = time.Millisecond
	sc.idempotent, sc.acks, sc.sync, sc.lasting = true, -1, false, lasting{}
	sc.report, sc.returnSuccesses, sc.returnErr, sc.slowReaders = true, true, true, false
	sc.end, sc.heals, sc.flushes = "Close after all", true, 0
	sc.linger = min(sc.linger, 5*ms)
	sc.messages = pick(r, 1, 3, 10, 30)
	sc.senders = 1 + r.IntN(3)
	sc.pause = pick(r, 0, 0, 0, ms, 20*ms)
	sc.delivery = pick(r, 2*time.Minute, 2*time.Minute, 30*time.Second, 5*time.Second, time.Second)
	sc.readTimeout = pick(r, 300*ms, 500*ms, time.Second)
	sc.length = pick(r, time.Second, 3*time.Second, 10*time.Second)
	sc.retryMax = max(sc.retryMax, 1)
	sc.largeValues, sc.brokerMaxBytes = false, 0
	if r.IntN(2) == 0 {
		sc.codec = sarama.CompressionNone
	}
	sc.brokers = max(sc.brokers, 1+r.IntN(4))
	t := &txnScenario{
		transactions: 3 + r.IntN(10), version: 1 + r.IntN(2), topicIDs: r.IntN(2) == 0,
		timeout:  pick(r, time.Minute, time.Minute, 10*time.Second, 2*time.Second),
		retryMax: pick(r, 50, 50, 5, 1), backoff: pick(r, 10*ms, 10*ms, ms, 100*ms),
		markers: pick(r, 0, 5*ms, 50*ms, 50*ms, 500*ms), moves: pick(r, 0, 0, 2*time.Second, 200*ms),
		racers: pick(r, 0, 0, 0, 1, 2), rivals: pick(r, 0.0, 0, 0, 10, 30), idle: pick(r, 0.0, 0, 0, 5, 30),
		impatient: pick(r, 0.0, 0, 10, 50), offsets: pick(r, 0.0, 30, 60), stale: pick(r, 0.0, 0, 20),
		saramaClients: pick(r, 0.0, 0, 30, 100),
	}
	if t.version == 1 {
		switch r.IntN(4) {
		case 0:
			if t.release = pick(r, "3.9", "3.9", "2.8", "2.4"); t.release == "2.4" {
				t.stale = 0 // KIP-447 came with 2.5
			}
		case 1, 2:
			t.upgrade = 1 + time.Duration(r.Int64N(int64(sc.length)))
		}
	}
	if t.saramaClients > 0 {
		sc.window = 5 // these take no options
	}
	if sc.linger == 0 {
		sc.flushMessages, sc.flushBytes = 0, 0 // else a call waits for half of the delivery timeout
	}
	t.drawFaults(r, &sc)
	sc.txn = t
	return sc
}

// drawFaults draws those of the transactional requests, and makes those of Produce fewer: one of them ends a transaction,
// and then there is less to see.
func (t *txnScenario) drawFaults(r *rand.Rand, sc *scenario) {
	p, f := &sc.faults, &t.faults
	p.lostID, p.refusal, p.fatal, p.tooLarge = 0, 0, min(p.fatal, 2), min(p.tooLarge, 2)
	p.lostState, p.afterAppend, p.forgets = min(p.lostState, 2), min(p.afterAppend, 10), min(p.forgets, 10)
	if r.IntN(3) > 0 {
		p.fatal, p.tooLarge, p.lostState = 0, 0, pick(r, 0.0, 0, 3, 10)
	}
	rate := func() float64 { return pick(r, 1.0, 5, 15, 30) }
	switch all := f.all(); r.IntN(6) {
	case 0:
		*p, sc.chaos, t.moves = faults{}, 0, 0
	case 1, 2:
		*p = faults{}
		*pick(r, all...) = rate()
	default:
		for _, percent := range all {
			if r.IntN(3) == 0 {
				*percent = rate()
			}
		}
	}
	f.hang, f.abortable, f.notAllowed, f.fatal = min(f.hang, 5), min(f.abortable, 5), min(f.notAllowed, 5), min(f.fatal, 1)
	p.hang = min(p.hang, 5)
}

func (f *txnFaults) all() (all []*float64) {
	v := reflect.ValueOf(f).Elem()
	for i := range v.NumField() {
		all = append(all, (*float64)(v.Field(i).Addr().UnsafePointer()))
	}
	return all
}

// calm tells whether nothing may keep a transaction from being committed. With little memory a message may be larger than it
// all.
func (sc *scenario) calm() bool {
	t := sc.txn
	return t.faults == txnFaults{} && sc.quiet() && t.moves == 0 && t.rivals+t.idle+t.impatient+t.stale == 0 &&
		sc.delivery > time.Second && t.timeout > 2*time.Second && sc.memory > 20<<10
}

// txnConfig is the configuration of one of the run's transactional producers.
func (sc *scenario) txnConfig(number int) *sarama.Config {
	conf := sc.config()
	conf.ClientID = fmt.Sprint("producer-", number)
	t := &conf.Producer.Transaction
	t.ID, t.Timeout, t.Retry.Max, t.Retry.Backoff = transactionalID, sc.txn.timeout, sc.txn.retryMax, sc.txn.backoff
	conf.Net.MaxOpenRequests = 1
	return conf
}

func (sc *scenario) txnOptions(report func(sluice.DeliveryReport)) []sluice.Option {
	return append(sc.options(), sluice.WithDeliveryReport(report))
}

// String tells it in words.
func (t *txnScenario) String() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	say("%d transactions of version %d, upgrade at %v, brokers of %q, topic ids %t", t.transactions, t.version, t.upgrade, t.release, t.topicIDs)
	say("time-out %v, Retry.Max %d after %v, markers within %v, coordinators move every %v", t.timeout, t.retryMax, t.backoff, t.markers, t.moves)
	say("racers %d; in percent: rivals %v, idle %v, impatient %v, offsets %v, stale %v, sarama's %v", t.racers, t.rivals, t.idle, t.impatient, t.offsets, t.stale, t.saramaClients)
	say("faults of transactions: %+v", t.faults)
	return b.String()
}
