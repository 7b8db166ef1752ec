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
	// Refresh asks for a round that begins after the call; many askers share one. Answered tells, by its ticket, whether
	// it has ended.
	Refresh(topic string) (ticket uint64)
	Answered(topic string) uint64
	// Broker is where a leader is.
	Broker(id int32) (metadata.Broker, bool)
}

// Generation is a lane's stay at a broker: *brokerproducer.Generation. No method blocks.
type Generation interface {
	// Send passes a run on, which is the generation's from then on. One goroutine at a time calls it: the lane, or the
	// topic, while the lane lends it.
	Send([]flow.Record)
	Resend(*brokerproducer.Batch)
	End()
}

// Brokers opens generations.
type Brokers interface {
	Open(broker metadata.Broker, lane brokerproducer.Lane, stay brokerproducer.Stay) Generation
}

// Identities is where lanes get their identity: *txn.Manager.
type Identities interface {
	Current() txn.Identity
	Bump(from txn.Identity)
	// Refusal is of the last try to have an identity, if that failed; each failure is another value.
	Refusal() *txn.Refusal
}

// Env is what surrounds the stages of this package.
type Env struct {
	*flow.Shared
	Metadata Metadata
	Brokers  Brokers
	// Identities is nil without idempotence.
	Identities Identities
}

// Pool makes Brokers of the broker producers.
func Pool(pool *brokerproducer.Pool) Brokers { return poolBrokers{pool} }

type poolBrokers struct{ pool *brokerproducer.Pool }

func (p poolBrokers) Open(b metadata.Broker, lane brokerproducer.Lane, stay brokerproducer.Stay) Generation {
	return p.pool.Open(b.ID, b.Addr, lane, stay)
}
