package main

import (
	"fmt"
	"sync/atomic"
	"time"
)

// client is a producer under test. Its methods are called by one goroutine.
type client interface {
	// send hands over n records, made as a user makes them, and returns when each has been acknowledged, or with the
	// first failure. After a failure only close may be called.
	send(n int) error
	// close ends the client; what was not acknowledged by then may be lost.
	close() error
}

// timed is a client that takes the time of each call.
type timed interface {
	// latencies returns those of the last send, in no order, once. The slice is the caller's.
	latencies() []time.Duration
}

// hoarder is a client whose driver, not the client itself, keeps memory from one send for the next.
type hoarder interface {
	// letGo drops it. It may be called when no send is under way.
	letGo()
}

// kind is a sort of client.
type kind struct {
	name, about string
	// sync clients send a message a call, or a few, from several goroutines; a call returns with their outcomes.
	sync bool
	// notIdempotent clients have no idempotent producer.
	notIdempotent bool
	// transactional clients send in transactions: asynchronous ones by -txn-records and -txn-duration, sync ones one a call.
	transactional bool
	// open connects a client.
	open func(run) (client, error)
	// own makes n records as open's client does, and does nothing with them: the user's own cost.
	own func(r run, n int)
}

// kinds is every client, in the order of the table.
var kinds = []kind{
	{
		name: "channels", about: "two channel hops of a message, and nothing else: the floor of a channel API",
		open: openChannels, own: ownSarama,
	},
	{
		name: "sarama", about: "IBM/sarama's AsyncProducer",
		open: openSarama, own: ownSarama,
	},
	{
		name: "kafka-go", about: "segmentio/kafka-go's Writer, asynchronous, with Completion", notIdempotent: true,
		open: openKafkaGo, own: ownKafkaGo,
	},
	{
		name: "franz-go", about: "twmb/franz-go's Produce, with a promise",
		open: openFranz, own: ownFranz,
	},
	{
		name: "sluice", about: "sluice's AsyncProducer, Input and Successes, as sarama is driven",
		open: openSluice, own: ownSarama,
	},
	{
		name: "sluice-batch", about: "sluice's InputBatch and delivery reports: whole slices in and out",
		open: openSluiceBatch, own: ownSarama,
	},
	{
		name: "sluice-append", about: "sluice's Appender: bytes, and no messages",
		open: openSluiceAppend, own: ownNothing,
	},
	{
		name: "sarama-sync", about: "sarama's SyncProducer: SendMessage, or SendMessages with -call", sync: true,
		open: openSaramaSync, own: ownSarama,
	},
	{
		name: "kafka-go-sync", about: "kafka-go's Writer: WriteMessages of one, or of -call", sync: true, notIdempotent: true,
		open: openKafkaGoSync, own: ownKafkaGo,
	},
	{
		name: "franz-go-sync", about: "franz-go's ProduceSync of one, or of -call", sync: true,
		open: openFranzSync, own: ownFranz,
	},
	{
		name: "sluice-sync", about: "sluice's SyncProducer: SendMessage, or SendMessages with -call", sync: true,
		open: openSluiceSync, own: ownSarama,
	},
	{
		name: "sarama-txn", about: "sarama in transactions of -txn-records or -txn-duration", transactional: true,
		open: openSaramaTxn, own: ownSarama,
	},
	{
		name: "franz-go-txn", about: "franz-go in transactions, with a Flush before each end", transactional: true,
		open: openFranzTxn, own: ownFranz,
	},
	{
		name: "sluice-txn", about: "sluice in transactions", transactional: true,
		open: openSluiceTxn, own: ownSarama,
	},
	{
		name: "sarama-txn-sync", about: "a transaction a call, with a producer for each of -senders; sarama's Input", sync: true,
		transactional: true, open: openSaramaTxnSync, own: ownSarama,
	},
	{
		name: "franz-go-txn-sync", about: "the same, with franz-go's Produce", sync: true,
		transactional: true, open: openFranzTxnSync, own: ownFranz,
	},
	{
		name: "sluice-txn-sync", about: "the same, with sluice's Produce", sync: true,
		transactional: true, open: openSluiceTxnSync, own: ownSarama,
	},
	{
		name: "frame-sync", about: "one bare produce frame, written and answered: the floor of a synchronous send",
		sync: true, notIdempotent: true, open: openFrameSync, own: ownNothing,
	},
}

// kindOf returns the client with a name, or nil.
func kindOf(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	return nil
}

func kindNames() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// run is what a child is told: one client, one round.
type run struct {
	settings
	Client  string
	Sync    bool // as its kind says
	Round   int
	Addrs   []string
	Names   []string // of the topics
	payload *payload // made by the child

	Transactional bool // as its kind says
}

const (
	// batchBytes is the largest batch, for every client.
	batchBytes = 1 << 20
	// inFlight is how many requests a connection may have open, wherever the client lets one say it. Without
	// idempotence more than one lets a retry change the order in sarama and franz-go, which is a price of theirs that
	// a broker without faults does not show.
	inFlight = 5
)

// linger is how long a batch waits.
func (r run) linger() time.Duration {
	if r.Sync {
		return r.LingerSync
	}
	return r.Linger
}

// failures names the client whose record was not delivered.
func failures(name string, first error) error {
	return fmt.Errorf("%s: a record was not delivered: %w", name, first)
}

// tally counts outcomes that a client tells one by one.
type tally struct {
	left    atomic.Int64
	done    chan struct{}
	failure atomic.Pointer[error]
}

// expect begins a count of n.
func (t *tally) expect(client string, n int) (acked func() error) {
	t.done = make(chan struct{})
	t.left.Store(int64(n))
	return func() error {
		<-t.done
		if err := t.failure.Load(); err != nil {
			return failures(client, *err)
		}
		return nil
	}
}

func (t *tally) outcome(err error) {
	if err != nil {
		t.failure.CompareAndSwap(nil, &err)
	}
	if t.left.Add(-1) == 0 {
		close(t.done)
	}
}
