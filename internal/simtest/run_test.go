package simtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// run is one seed's.
type run struct {
	seed    uint64
	sc      scenario
	tracing bool

	begin   time.Time
	cluster *kfake.Cluster
	net     *network
	ledger  *ledger
	flight  *flight
	leaders *leaders
	// coordinator is set in runs with transactions.
	coordinator *coordinator
	txns        []*transaction
	ticks       atomic.Int64
	numbers     map[string]int                                 // of messages, by stream
	committed   map[partition]kmsg.FetchResponseTopicPartition // what read-committed readers get
	stable      map[string]map[partition]int64                 // committed offsets, by group
	topics      map[[16]byte]string                            // set before the producer starts
	started     atomic.Bool                                    // the producer is built
	whole       atomic.Bool                                    // faults are over

	async *sluice.Producer // either this
	sync  *sluice.Producer // or this

	mu         sync.Mutex
	failures   []string
	messages   []*sent
	leaderLess map[partition]bool
	crcs       map[numbers][4]byte
	closing    bool          // Close has begun
	forced     bool          // a flush has taken in messages beyond the budget
	stop       chan struct{} // closed when senders are to give up
	quiet      chan struct{} // closed when nothing more is to be sent to the inputs
	inSend     sync.RWMutex  // read-held during such a send
	closed     chan struct{} // closed when the producer has
	log        map[partition][]byte
	happened   map[string]bool // faults that were met, of those that must be
}

func newRun(seed uint64, sc scenario, tracing bool) *run {
	r := &run{
		seed: seed, sc: sc, tracing: tracing, ledger: newLedger(),
		topics: map[[16]byte]string{}, leaderLess: map[partition]bool{}, crcs: map[numbers][4]byte{},
		log: map[partition][]byte{}, happened: map[string]bool{},
	}
	r.net, r.flight, r.leaders = newNetwork(r), newFlight(r), newLeaders(r)
	if sc.txn != nil {
		r.coordinator = newCoordinator(r)
	}
	return r
}

// String tells the seed, its scenario, what is broken, and how to run it again.
func (r *run) String() string {
	var broken strings.Builder
	for _, failure := range r.failures {
		fmt.Fprintf(&broken, "  ✗ %s\n", failure)
	}
	test := "TestSim"
	if r.sc.txn != nil {
		test = "TestTxn"
	}
	return fmt.Sprintf("seed %d\n%s%sagain: go test ./internal/simtest -run '^%s$' -seed %d -v", r.seed, r.sc.String(), broken.String(), test, r.seed)
}

// fail notes a broken promise.
func (r *run) fail(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	r.trace("BROKEN: %s", msg)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) < 20 {
		r.failures = append(r.failures, msg)
	}
}

// happens notes that a fault was met.
func (r *run) happens(fault string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.happened[fault] = true
}

func (r *run) trace(format string, args ...any) {
	if !r.tracing {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Printf("%12v  %s\n", time.Since(r.begin), fmt.Sprintf(format, args...))
}

func (r *run) healed() bool { return r.whole.Load() || !r.started.Load() }

func (r *run) topicName(id [16]byte) string { return r.topics[id] }

func (r *run) leaderless(topic string, id int32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaderLess[partition{topic, id}]
}

// checkBatch is what every batch on the wire must keep: a number that was given once is never given to other bytes.
func (r *run) checkBatch(n numbers, batch []byte) {
	if n.producer < 0 {
		if r.sc.idempotent {
			r.fail("a batch of %v has no producer id", n.partition)
		}
		return
	}
	crc := [4]byte(batch[atCRC:])
	r.mu.Lock()
	before, again := r.crcs[n]
	r.crcs[n] = crc
	r.mu.Unlock()
	if again && before != crc {
		r.fail("%v was sent with different bytes", n)
	}
}

// addr is where a broker listens; its id and its port never part.
func addr(node int32) string { return fmt.Sprintf("localhost:%d", 9000+node) }

// simulate runs in a bubble.
func (r *run) simulate() {
	r.begin = time.Now()
	// The producer's own timers keep the bubble's time running, so a hang is no deadlock.
	stuck := time.AfterFunc(2*time.Hour, func() { panic("stuck: two hours have passed\n" + r.String()) })
	defer stuck.Stop()
	r.stop, r.quiet, r.closed = make(chan struct{}), make(chan struct{}), make(chan struct{})
	ports := make([]int, r.sc.brokers)
	for i := range ports {
		ports[i] = 9000 + i
	}
	cluster, err := kfake.NewCluster(
		kfake.Ports(ports...), kfake.SeedTopics(r.sc.partitions, r.sc.topicNames()...),
		kfake.ListenFn(func(network, address string) (net.Listener, error) { return r.net.virtual.Listen(network, address) }),
	)
	if err != nil {
		r.fail("kfake: %v", err)
		return
	}
	r.cluster = cluster
	placing := rand.New(rand.NewPCG(r.seed, 2))
	for _, topic := range r.sc.topicNames() {
		r.topics[cluster.TopicInfo(topic).TopicID] = topic
		for p := range r.sc.partitions {
			_ = cluster.MoveTopicPartition(topic, p, int32(placing.IntN(r.sc.brokers)))
		}
	}

	if r.sc.txn != nil {
		r.playTxn()
	} else if r.build() {
		r.play()
	}

	synctest.Wait()
	r.readLog()
	if r.sc.txn != nil {
		r.readCommitted()
	}
	cluster.Close()
	for node := range int32(20) {
		r.net.cut(addr(node))
	}
	r.net.running.Wait()
	// A breaker that has opened sleeps for its ten seconds; everything else must have ended, which the bubble checks.
	time.Sleep(15 * time.Second)
}

func (r *run) build() bool {
	conf := r.sc.config()
	conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, r.net
	var err error
	if r.sc.sync {
		r.sync, err = sluice.New([]string{addr(0)}, conf, r.sc.options()...)
	} else {
		opts := r.sc.options()
		if r.sc.report {
			opts = append(opts, sluice.WithDeliveryReport(r.reported))
		}
		r.async, err = sluice.New([]string{addr(0)}, conf, opts...)
	}
	if err != nil {
		r.fail("the producer can't be built: %v", err)
		return false
	}
	r.started.Store(true)
	return true
}

// play is the run proper: senders, readers, schedule, and the end.
func (r *run) play() {
	var readers, senders, others sync.WaitGroup
	if r.async != nil {
		readers.Go(r.readSuccesses)
		readers.Go(r.readErrors)
		for i := range r.sc.flushes {
			others.Go(func() { r.flusher(i) })
		}
		others.Go(r.watchMemory)
	}
	for i := range r.sc.senders {
		senders.Go(func() { r.sender(i) })
	}
	for i := range r.sc.appenders {
		senders.Go(func() { r.appender(50 + i) })
	}
	scheduleEnds := make(chan struct{})
	others.Go(func() { r.schedule(scheduleEnds) })
	others.Go(r.leaders.trouble)

	if strings.HasSuffix(r.sc.end, "after all") {
		if r.sc.heals {
			<-scheduleEnds
			r.heal()
		}
		senders.Wait()
	} else {
		time.Sleep(r.sc.endAt)
		if r.sc.heals {
			r.heal()
		}
	}
	if raceDetector {
		r.quieten()
	}
	r.end(&readers)
	close(r.closed)
	time.Sleep(time.Second) // senders may try
	close(r.stop)
	if !raceDetector {
		r.quieten()
	}
	senders.Wait()
	readers.Wait()
	others.Wait()
	r.afterClose()
}

var errEnd = errors.New("simtest: the end")

// end closes the producer, and bounds how long that may take.
func (r *run) end(readers *sync.WaitGroup) {
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	begin := time.Now()
	r.trace("%s begins", r.sc.end)
	// What the inputs hold is taken in as memory allows: each time that it is used up may take a delivery timeout.
	held := int64(r.sc.channelSize+r.sc.senders*20) * int64(2*(r.sc.maxValue+100)+512)
	bound := (r.sc.delivery + r.slack()) * time.Duration(1+held/r.sc.memory)
	switch r.sc.end {
	case "AsyncClose":
		r.async.AsyncClose()
		readers.Wait() // they end with the channels
	case "CloseContext":
		ctx, cancel := context.WithTimeoutCause(context.Background(), r.sc.endWithin, errEnd)
		r.closedWith(r.closer().CloseContext(ctx))
		cancel()
		bound = min(bound, r.sc.endWithin+time.Second)
	default:
		r.closedWith(r.closer().CloseContext(context.Background()))
	}
	r.trace("%s ended", r.sc.end)
	if took := time.Since(begin); took > bound+r.readerDelay() {
		r.fail("%s took %v, which is more than %v", r.sc.end, took, bound+r.readerDelay())
	}
}

func (r *run) closer() interface{ CloseContext(context.Context) error } {
	if r.sync != nil {
		return r.sync
	}
	return r.async
}

// slack is how late a deadline may be kept: looked at every fiftieth of it, and once the time of a request more.
func (r *run) slack() time.Duration {
	return r.sc.delivery/50 + 2*r.sc.readTimeout + 2*time.Second
}

// tookLong tells whether the run took as long as something that is not used is remembered.
func (r *run) tookLong() bool { return time.Since(r.begin) > 5*time.Minute }

// readerDelay is how long slow readers may hold outcomes up.
func (r *run) readerDelay() time.Duration {
	if !r.sc.slowReaders {
		return 0
	}
	return time.Hour
}

func (r *run) heal() {
	r.trace("faults are over")
	r.whole.Store(true)
	for node := range int32(20) {
		r.net.set(r.net.down, addr(node), false)
		r.net.set(r.net.deaf, addr(node), false)
	}
	r.mu.Lock()
	clear(r.leaderLess)
	r.mu.Unlock()
}

// inputPanics tells whether Input is closed.
func (r *run) inputPanics() (closed bool) {
	defer func() { closed = recover() != nil }()
	select {
	case r.async.Input() <- nil:
	default:
	}
	return false
}

// afterClose: a producer that is closed takes nothing and holds nothing.
func (r *run) afterClose() {
	if r.async == nil {
		r.checkStats(r.sync, r.messages, false)
	} else {
		r.checkStats(r.async, r.messages, false)
	}
	if r.async == nil {
		if _, _, err := r.sync.SendMessage(r.newMessage(99, 0, "sync").msg); err == nil {
			r.fail("a closed SyncProducer took a message")
		}
		return
	}
	if messages, bytes := r.async.Buffered(); messages != 0 || bytes != 0 {
		r.fail("a closed producer holds %d messages, %d bytes", messages, bytes)
	}
	if !r.inputPanics() {
		r.fail("Input of a closed producer takes messages")
	}
	called := false
	err := r.async.Produce(context.Background(), r.newMessage(99, 1, "produce").msg, func(_ *saramaMessage, _ error) { called = true })
	synctest.Wait()
	if err == nil || called {
		r.fail("Produce of a closed producer: %v, callback %t", err, called)
	}
}
