package dispatch

import (
	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// Metadata is what this package needs of the look-up service. No method blocks.
type Metadata interface {
	// Watch registers the one listener of a topic and asks for a look-up. The listener is called on the look-up goroutine
	// after each look-up, and when a produce answer has named a new leader.
	Watch(topic string, notify func(*metadata.Topic, error))
	// Refresh asks for a round that begins after the call. Several calls may share one.
	Refresh(topic string) (refreshNumber uint64)
	// RefreshOrCreate is Refresh of a topic that a message waits for: the broker may create it.
	RefreshOrCreate(topic string) (refreshNumber uint64)
	// RefreshLeader is Refresh by a partition that failed. acked: its leader has acknowledged something since the last call.
	// create: a message waits there, see RefreshOrCreate.
	RefreshLeader(topic string, partition int32, acked, create bool) (refreshNumber uint64)
	// Answered is the last refresh number whose round has ended.
	Answered(topic string) uint64
	// Unwatch undoes Watch, and forgets what is known of the topic.
	Unwatch(topic string)
	// Doing is why a topic's look-up has not ended.
	Doing(topic string) error
	// Broker returns a broker's address.
	Broker(id int32) (metadata.Broker, bool)
}

// Session is a *brokerproducer.Session: what a partition producer sends to while one broker leads its partition. No method
// blocks.
type Session interface {
	// Send takes a run, which is the session's from then on. Only one goroutine at a time may call it: the partition
	// producer, or the topic while direct send is on.
	Send([]flow.Record)
	// Resend takes a batch that an earlier session has handed back.
	Resend(*brokerproducer.Batch)
	// End asks for the session's result. Nothing may be sent afterwards.
	End()
	// Doing is what the broker producer waits for, for the error of a message that expires meanwhile.
	Doing() error
}

// Brokers opens sessions.
type Brokers interface {
	// Forget takes out the metrics of a topic without sessions.
	Forget(topic string)
	Open(broker metadata.Broker, pp brokerproducer.SessionOwner, params brokerproducer.SessionParams) Session
}

// Identities is a *txn.Manager or a *txn.Transactions: it gives the producer its identity.
type Identities interface {
	Current() txn.Identity
	// Start asks for an identity if there is none and nobody asks.
	Start()
	// Bump asks for an identity other than from, Renew for one with another id.
	// They return false if from is not the current one: then they do nothing.
	Bump(from txn.Identity) bool
	Renew(from txn.Identity) bool
	// Refusal is why the last try to get an identity failed, or nil. Each failure is a new pointer.
	Refusal() *txn.Refusal
	// Doing is why there is no identity, for the error of a message that expires meanwhile.
	Doing() error
}

// Deps is what this package depends on.
type Deps struct {
	*flow.Shared
	Metadata Metadata
	Brokers  Brokers
	// Identities is nil without idempotence.
	Identities Identities
	// Waits notes what messages wait for before they are given to a broker, for people. It may be nil.
	Waits *flow.Activities
	// Transactional: messages are accepted between BeginTxn and EndTxn of the dispatcher only.
	Transactional bool
}

// Pool makes Brokers of a pool of broker producers.
func Pool(pool *brokerproducer.Pool) Brokers { return poolBrokers{pool} }

type poolBrokers struct{ pool *brokerproducer.Pool }

func (p poolBrokers) Forget(topic string) { p.pool.Forget(topic) }

func (p poolBrokers) Open(
	b metadata.Broker, pp brokerproducer.SessionOwner, params brokerproducer.SessionParams,
) Session {
	return p.pool.Open(b.ID, b.Addr, pp, params)
}
