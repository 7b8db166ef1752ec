package dispatch

import (
	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/txn"
)

// Metadata is what the stages need of the look-up service. No method blocks.
type Metadata interface {
	// Watch registers the one listener of a topic and asks for its look-up. The listener is called on the look-up
	// goroutine after each round.
	Watch(topic string, notify func(*metadata.Topic, error))
	// Refresh asks for a round that begins after the call; many askers share one. Answered tells, by its refresh number, whether
	// it has ended.
	Refresh(topic string) (refreshNumber uint64)
	Answered(topic string) uint64
	// Broker is where a leader is.
	Broker(id int32) (metadata.Broker, bool)
}

// Session is a partition producer's stay at a broker: *brokerproducer.Session. No method blocks.
type Session interface {
	// Send passes a run on, which is the session's from then on. One goroutine at a time calls it: the partition producer, or the
	// topic, while the partition producer lets the topic send directly to it.
	Send([]flow.Record)
	Resend(*brokerproducer.Batch)
	End()
}

// Brokers opens sessions.
type Brokers interface {
	Open(broker metadata.Broker, owner brokerproducer.SessionOwner, stay brokerproducer.SessionParams) Session
}

// Identities is where partition producers get their identity: *txn.Manager.
type Identities interface {
	Current() txn.Identity
	Bump(from txn.Identity)
	// Refusal is of the last try to have an identity, if that failed; each failure is another value.
	Refusal() *txn.Refusal
}

// Deps is what surrounds the stages of this package.
type Deps struct {
	*flow.Shared
	Metadata Metadata
	Brokers  Brokers
	// Identities is nil without idempotence.
	Identities Identities
}

// Pool makes Brokers of the broker producers.
func Pool(pool *brokerproducer.Pool) Brokers { return poolBrokers{pool} }

type poolBrokers struct{ pool *brokerproducer.Pool }

func (p poolBrokers) Open(b metadata.Broker, owner brokerproducer.SessionOwner, stay brokerproducer.SessionParams) Session {
	return p.pool.Open(b.ID, b.Addr, owner, stay)
}
