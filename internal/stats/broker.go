package stats

import (
	"sync/atomic"
	"time"
)

// Broker counts for one broker. Its methods may be called concurrently. A nil one counts nothing.
type Broker struct {
	id     int32
	addr   string
	of     *Producer
	folded atomic.Bool // as Topic.folded

	usedAt time.Time // guarded by Producer.mu: when it was last dialled, or a connection ended

	written

	// Of those that write to connections, once a request:

	requestsSent, bytesSent atomic.Int64

	_ line

	// Of those that read from them, once a request:

	requestsAnswered, requestsLost, requestsSilent atomic.Int64

	bytesReceived, throttled atomic.Int64
	latency                  Histogram

	_ line

	// Once a connection:

	open                           atomic.Int64
	opened, dialsFailed, connsLost atomic.Int64
}

// ID is the broker's, or -1.
func (b *Broker) ID() int32 { return b.id }

// Addr is the address that is dialled.
func (b *Broker) Addr() string { return b.addr }

func (b *Broker) settle() {
	if b.folded.Load() {
		b.of.foldBroker(b)
	}
}

// Opened counts a connection that can be used.
func (b *Broker) Opened() {
	if b != nil {
		b.open.Add(1)
		b.opened.Add(1)
		b.settle()
	}
}

// DialFailed counts a connection that could not be made.
func (b *Broker) DialFailed() {
	if b != nil {
		b.dialsFailed.Add(1)
		b.settle()
	}
}

// Ended counts the end of a connection. lost: it had ended before the producer closed it.
func (b *Broker) Ended(lost bool) {
	if b == nil {
		return
	}
	if lost {
		b.connsLost.Add(1)
	}
	b.of.touch(b)
	b.open.Add(-1)
	b.settle()
}

// RequestSent counts a request of so many bytes.
func (b *Broker) RequestSent(bytes int64) {
	if b != nil {
		b.requestsSent.Add(1)
		b.bytesSent.Add(bytes)
		b.settle()
	}
}

// RequestAnswered counts an answer of so many bytes.
func (b *Broker) RequestAnswered(bytes int64, after time.Duration) {
	if b != nil {
		b.requestsAnswered.Add(1)
		b.bytesReceived.Add(bytes)
		b.latency.Record(after, 1)
		b.settle()
	}
}

// RequestLost counts a request that gets no answer.
func (b *Broker) RequestLost() {
	if b != nil {
		b.requestsLost.Add(1)
		b.settle()
	}
}

// RequestSilent counts a request that has no answer (acks 0).
func (b *Broker) RequestSilent() {
	if b != nil {
		b.requestsSilent.Add(1)
		b.settle()
	}
}

// Throttled counts the time that the broker asks to wait.
func (b *Broker) Throttled(d time.Duration) {
	if b != nil {
		b.throttled.Add(int64(d))
		b.settle()
	}
}

// Send is Topic.Send.
func (b *Broker) Send(s *Sending) {
	if b != nil {
		b.written.send(s)
		b.settle()
	}
}

// End is Topic.End.
func (b *Broker) End(e *Ending, latency time.Duration, answered bool) {
	if b != nil {
		b.written.end(e, latency, answered)
		b.settle()
	}
}

// Leave is Topic.Leave.
func (b *Broker) Leave(of Batch) {
	if b != nil {
		b.written.leave(one(of))
		b.settle()
	}
}

// Split is Topic.Split.
func (b *Broker) Split() {
	if b != nil {
		b.splits.Add(1)
		b.settle()
	}
}

// Acknowledged counts the records of a request that are delivered.
func (b *Broker) Acknowledged(of Batches) {
	if b != nil && of.n > 0 {
		b.acknowledged.add(of.all)
		b.settle()
	}
}

// Requests are read from recorders. Their latency is read by AddTimesTo.
type Requests struct {
	InFlight, Sent, Answered, Lost int64
	BytesSent, BytesReceived       int64
	Throttled                      time.Duration
}

// Connections are read from recorders.
type Connections struct{ Open, Opened, Failed, Lost int64 }

// AddTo adds what is counted of records.
func (b *Broker) AddTo(c *Counts) { b.written.addTo(c) }

// AddRequestsTo adds what is counted of requests, except their latency.
func (b *Broker) AddRequestsTo(r *Requests) {
	ended := b.requestsAnswered.Load() + b.requestsLost.Load() + b.requestsSilent.Load()
	r.Answered += b.requestsAnswered.Load()
	r.Lost += b.requestsLost.Load()
	sent := b.requestsSent.Load()
	r.Sent += sent
	r.InFlight += sent - ended
	r.BytesSent += b.bytesSent.Load()
	r.BytesReceived += b.bytesReceived.Load()
	r.Throttled += time.Duration(b.throttled.Load())
}

// AddConnectionsTo adds what is counted of connections.
func (b *Broker) AddConnectionsTo(c *Connections) {
	c.Open += b.open.Load()
	c.Opened += b.opened.Load()
	c.Failed += b.dialsFailed.Load()
	c.Lost += b.connsLost.Load()
}

// AddTimesTo adds the times of requests, and of batches in the window and at the broker.
func (b *Broker) AddTimesTo(latency, window, broker *Durations) {
	b.latency.AddTo(latency)
	b.window.AddTo(window)
	b.written.broker.AddTo(broker)
}

func (b *Broker) moveTo(to *Broker) {
	b.written.moveTo(&to.written)
	for _, counter := range [...]struct{ from, to *atomic.Int64 }{
		{&b.requestsSent, &to.requestsSent}, {&b.bytesSent, &to.bytesSent},
		{&b.requestsAnswered, &to.requestsAnswered}, {&b.requestsLost, &to.requestsLost}, {&b.requestsSilent, &to.requestsSilent},
		{&b.bytesReceived, &to.bytesReceived}, {&b.throttled, &to.throttled},
		{&b.open, &to.open}, {&b.opened, &to.opened}, {&b.dialsFailed, &to.dialsFailed}, {&b.connsLost, &to.connsLost},
	} {
		if n := counter.from.Swap(0); n != 0 {
			counter.to.Add(n)
		}
	}
	b.latency.moveTo(&to.latency)
}
