package simtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// scenario is what a seed draws: everything that a run is about.
type scenario struct {
	brokers, topics int
	partitions      int32

	idempotent bool
	acks       int16
	window     int
	sync       bool // a SyncProducer
	// Settings of sarama.Config and the options.
	codec                      sarama.CompressionCodec
	partitioner                string
	linger                     time.Duration
	flushBytes, flushMessages  int
	maxMessages                int
	maxMessageBytes            int
	retryMax                   int
	backoff                    time.Duration
	metadataBackoff, refresh   time.Duration
	readTimeout                time.Duration
	channelSize                int
	returnSuccesses, returnErr bool
	report                     bool
	memory                     int64
	delivery                   time.Duration

	senders, messages int // messages of each sender
	appenders         int // senders besides, with Appenders; not of a SyncProducer
	pause             time.Duration
	maxValue          int
	largeValues       bool
	flushes           int
	slowReaders       bool

	// What breaks, and until when.
	length         time.Duration
	fragment       bool
	brokerMaxBytes int
	lateWrites     float64 // percent
	faults         faults
	chaos          time.Duration // pause between events of the schedule; 0: none
	heals          bool          // faults end before Close
	end            string
	endAt          time.Duration // of Close, if it does not wait for the senders
	endWithin      time.Duration // of CloseContext
	lasting
	txn *txnScenario // set in runs with transactions
}

// faults are in percent of what they can happen to.
type faults struct {
	lostRequest, lostAnswer, cutAnswer, slow, hang, throttle, forgets   float64
	retriable, afterAppend, fatal, tooLarge, lostState, lostID, refusal float64
	duplicateCode, metadata, noLeader                                   float64
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func drawScenario(seed uint64) scenario {
	r := rand.New(rand.NewPCG(seed, 1))
	const ms = time.Millisecond
	sc := scenario{
		brokers: 1 + r.IntN(4), topics: 1 + r.IntN(3), partitions: 1 + r.Int32N(4),
		idempotent:      r.IntN(10) < 6,
		window:          1 + r.IntN(5),
		sync:            r.IntN(6) == 0,
		codec:           pick(r, sarama.CompressionNone, sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD),
		partitioner:     pick(r, "manual", "manual", "hash", "round robin", "sticky"),
		linger:          pick(r, 0, 0, ms, 5*ms, 50*ms),
		flushBytes:      pick(r, 0, 0, 500, 1<<20),
		flushMessages:   pick(r, 0, 0, 10, 1000),
		maxMessages:     pick(r, 0, 0, 0, 1, 7, 100),
		maxMessageBytes: pick(r, 1_000_000, 1_000_000, 400, 2000, 10_000),
		retryMax:        pick(r, math.MaxInt32, math.MaxInt32, math.MaxInt32, 3, 1, 0),
		backoff:         pick(r, 0, ms, 10*ms, 100*ms),
		metadataBackoff: pick(r, ms, 20*ms, 250*ms),
		refresh:         pick(r, 10*time.Minute, time.Second, 300*ms),
		readTimeout:     pick(r, 500*ms, time.Second, 5*time.Second),
		channelSize:     pick(r, 0, 1, 16, 256, 256),
		returnSuccesses: r.IntN(10) < 7,
		returnErr:       r.IntN(10) < 9,
		report:          r.IntN(2) == 0,
		memory:          pick[int64](r, 32<<20, 32<<20, 4<<10, 20<<10, 100<<10),
		delivery:        pick(r, 2*time.Minute, 2*time.Minute, 30*time.Second, 5*time.Second, time.Second),
		senders:         1 + r.IntN(6),
		messages:        pick(r, 5, 30, 100, 300),
		pause:           pick(r, 0, 0, ms, 20*ms, 200*ms),
		maxValue:        pick(r, 1, 20, 150),
		flushes:         pick(r, 0, 0, 3, 20),
		slowReaders:     r.IntN(5) == 0,
		length:          pick(r, time.Second, 5*time.Second, 20*time.Second),
		fragment:        r.IntN(4) == 0,
		chaos:           pick(r, 0, 2*time.Second, 300*ms, 50*ms),
		heals:           r.IntN(4) > 0,
		end:             pick(r, "Close", "CloseContext", "AsyncClose", "Close after all", "Close after all", "Close after all"),
		lateWrites:      pick(r, 0.0, 50, 100),
	}
	if sc.window > 1 && r.IntN(2) == 0 {
		sc.window = 5
	}
	sc.acks = -1
	if !sc.idempotent {
		sc.acks = pick[int16](r, -1, -1, 1, 1, 0)
	}
	if r.IntN(8) == 0 {
		sc.brokerMaxBytes = pick(r, 200, 500, 2000)
	}
	if sc.pause > 0 {
		sc.pause = sc.length / time.Duration(sc.messages) * 2 // a sender sends throughout the run
	}
	sc.endAt = time.Duration(r.Int64N(int64(sc.length)))
	sc.endWithin = pick(r, 0, 10*ms, time.Second, 10*time.Second)
	if sc.sync {
		sc.messages = min(sc.messages, 30) // where Flush waits for many, each waits for half the delivery timeout
	}
	if sc.sync && sc.end == "AsyncClose" {
		sc.end = "Close"
	}

	// Faults: none, a single kind, or many.
	rate := func() float64 { return pick(r, 0.5, 2, 10, 30) }
	f := &sc.faults
	all := []*float64{
		&f.lostRequest, &f.lostAnswer, &f.cutAnswer, &f.slow, &f.hang, &f.throttle, &f.forgets,
		&f.retriable, &f.afterAppend, &f.fatal, &f.tooLarge, &f.lostState, &f.lostID, &f.metadata, &f.noLeader,
	}
	switch r.IntN(8) {
	case 0:
	case 1, 2:
		*pick(r, all...) = rate()
	default:
		for _, p := range all {
			if r.IntN(3) == 0 {
				*p = rate()
			}
		}
	}
	if f.hang > 10 {
		f.hang = 10
	}
	if f.metadata > 10 {
		f.metadata = 10
	}
	if r.IntN(20) == 0 {
		f.refusal = 1
	}
	f.duplicateCode = pick(r, 0.0, 50, 100)
	if r.IntN(3) == 0 {
		// Nothing here is for good, so everything has to be delivered.
		f.fatal, f.tooLarge, f.lostState, f.lostID, f.refusal, sc.brokerMaxBytes = 0, 0, 0, 0, 0, 0
		sc.retryMax, sc.delivery, sc.heals, sc.end = math.MaxInt32, 2*time.Minute, true, "Close after all"
	}
	if r.IntN(12) == 0 && !sc.sync {
		// Nothing goes wrong, and batches linger for long: what Flush does is all that counts.
		sc.faults, sc.chaos, sc.brokerMaxBytes = faults{}, 0, 0
		sc.linger, sc.flushMessages, sc.flushBytes, sc.memory, sc.flushes = time.Minute, 0, 0, 32<<20, 20
	}
	if strings.HasPrefix(sc.end, "Close") || !sc.returnSuccesses || !sc.returnErr {
		sc.report = true // Close takes what is left in the channels
	}
	if r.IntN(12) == 0 && sc.memory == 32<<20 {
		sc.enlarge()
	}
	sc.drawLasting(rand.New(rand.NewPCG(seed, 9)))
	if !sc.sync {
		sc.appenders = pick(rand.New(rand.NewPCG(seed, 33)), 0, 0, 1, 2, 4)
	}
	return sc
}

// enlarge has values so large that they are not copied.
func (sc *scenario) enlarge() {
	sc.largeValues = true
	sc.codec, sc.maxMessageBytes, sc.brokerMaxBytes = sarama.CompressionNone, 1_000_000, 0
	sc.messages = min(sc.messages, 30)
}

func (sc *scenario) topicNames() []string { return []string{"t0", "t1", "t2"}[:sc.topics] }

// mustDeliver tells whether every message has to be delivered in the end: it is retried for longer than faults last, and
// nothing is refused for good. Those that last keep only the messages of mayFail from it.
func (sc *scenario) mustDeliver() bool {
	f := &sc.faults
	return f.fatal+f.tooLarge+f.lostID+f.refusal == 0 && (f.lostState == 0 || sc.noBumps != nil) && sc.brokerMaxBytes == 0 && sc.heals &&
		sc.retryMax == math.MaxInt32 && sc.delivery == 2*time.Minute && sc.end == "Close after all"
}

// scarce tells whether senders and Flush may have to wait for memory.
func (sc *scenario) scarce() bool { return sc.memory < 32<<20 }

// moves tells whether leaders move.
func (sc *scenario) moves() bool { return sc.chaos > 0 || sc.depose || sc.lag || sc.restore }

// quiet tells whether nothing goes wrong at all.
func (sc *scenario) quiet() bool {
	none := faults{duplicateCode: sc.faults.duplicateCode}
	return sc.faults == none && sc.chaos == 0 && sc.brokerMaxBytes == 0 && sc.lasting == lasting{}
}

func (sc *scenario) config() *sarama.Config {
	conf := sluice.NewConfig()
	p := &conf.Producer
	p.Idempotent = sc.idempotent
	p.RequiredAcks = sarama.RequiredAcks(sc.acks)
	p.Compression, p.CompressionLevel = sc.codec, sarama.CompressionLevelDefault
	p.Partitioner = map[string]sarama.PartitionerConstructor{
		"manual": sarama.NewManualPartitioner, "hash": sarama.NewHashPartitioner,
		"round robin": sarama.NewRoundRobinPartitioner, "sticky": sluice.NewStickyPartitioner,
	}[sc.partitioner]
	p.Flush.Frequency, p.Flush.Bytes, p.Flush.Messages, p.Flush.MaxMessages = sc.linger, sc.flushBytes, sc.flushMessages, sc.maxMessages
	if sc.maxMessages > 0 {
		p.Flush.Messages = min(p.Flush.Messages, sc.maxMessages)
	}
	p.MaxMessageBytes = sc.maxMessageBytes
	p.Retry.Max, p.Retry.Backoff = sc.retryMax, sc.backoff
	if sc.idempotent && sc.retryMax == 0 {
		p.Retry.Max = 1 // sarama's Validate wants it
	}
	p.Return.Successes, p.Return.Errors = sc.returnSuccesses, sc.returnErr
	conf.Metadata.Retry.Backoff = sc.metadataBackoff
	conf.Metadata.Retry.Max = 3
	conf.Metadata.RefreshFrequency = sc.refresh
	conf.Net.ReadTimeout, conf.Net.WriteTimeout, conf.Net.DialTimeout = sc.readTimeout, sc.readTimeout, sc.readTimeout
	if !sc.idempotent {
		conf.Net.MaxOpenRequests = sc.window
	}
	conf.ChannelBufferSize = sc.channelSize
	return conf
}

func (sc *scenario) options() []sluice.Option {
	return []sluice.Option{
		sluice.WithBufferMemory(sc.memory), sluice.WithDeliveryTimeout(sc.delivery), sluice.WithMaxInFlightPerPartition(sc.window),
	}
}

// String tells the scenario in words.
func (sc *scenario) String() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	kind, api := "not idempotent", "AsyncProducer"
	if sc.idempotent {
		kind = "idempotent"
	}
	if sc.sync {
		api = "SyncProducer"
	}
	say("%d brokers, %d topics of %d partitions", sc.brokers, sc.topics, sc.partitions)
	say("%s, %s, acks %d, window %d, codec %v, %s partitioner", api, kind, sc.acks, sc.window, sc.codec, sc.partitioner)
	say("linger %v, Flush.Bytes %d, Messages %d, MaxMessages %d, MaxMessageBytes %d", sc.linger, sc.flushBytes, sc.flushMessages, sc.maxMessages, sc.maxMessageBytes)
	say("Retry.Max %d after %v, metadata every %v, at the most each %v, read time-out %v, delivery timeout %v", sc.retryMax, sc.backoff, sc.refresh, sc.metadataBackoff, sc.readTimeout, sc.delivery)
	say("buffer memory %d, channels of %d, successes %t, errors %t, report %t", sc.memory, sc.channelSize, sc.returnSuccesses, sc.returnErr, sc.report)
	say("%d senders of %d messages up to %d bytes (large %t) every %v, %d flushes, slow readers %t, %d appenders", sc.senders, sc.messages, sc.maxValue, sc.largeValues, sc.pause, sc.flushes, sc.slowReaders, sc.appenders)
	say("for %v: events every %v, fragments %t, brokers take %d bytes, late writes %v%%, heals %t", sc.length, sc.chaos, sc.fragment, sc.brokerMaxBytes, sc.lateWrites, sc.heals)
	say("%v", sc.lasting)
	say("faults in percent: %+v", sc.faults)
	say("ends with %s (at %v, within %v)", sc.end, sc.endAt, sc.endWithin)
	if sc.txn != nil {
		b.WriteString(sc.txn.String())
	}
	return b.String()
}
