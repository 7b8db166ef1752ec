package stats

import (
	"sync/atomic"
	"time"
)

// Amount is a number of records, and of bytes.
type Amount struct{ Records, Bytes int64 }

func (a *Amount) add(b Amount) {
	a.Records += b.Records
	a.Bytes += b.Bytes
}

type amount struct{ records, bytes atomic.Int64 }

func (a *amount) add(b Amount) {
	a.records.Add(b.Records)
	a.bytes.Add(b.Bytes)
}

func (a *amount) load() Amount { return Amount{a.records.Load(), a.bytes.Load()} }

func (a *amount) moveTo(to *amount) { to.add(Amount{a.records.Swap(0), a.bytes.Swap(0)}) }

// line keeps what different goroutines write out of each other's cache lines.
type line [64]byte

// written is about batches of a topic, or at a broker, that were written.
type written struct {
	_ line

	// Of the network goroutines, once a request:

	sent, retried amount
	begun         amount // in flight since
	begunPayload  atomic.Int64
	window        Histogram

	_ line

	// Of the loops, once a request:

	ended        amount // what was begun, and is answered or has its outcome
	endedPayload atomic.Int64
	acknowledged amount
	splits       atomic.Int64
	broker       Histogram

	_ line
}

func (w *written) moveTo(to *written) {
	w.sent.moveTo(&to.sent)
	w.retried.moveTo(&to.retried)
	w.begun.moveTo(&to.begun)
	to.begunPayload.Add(w.begunPayload.Swap(0))
	w.window.moveTo(&to.window)
	w.ended.moveTo(&to.ended)
	to.endedPayload.Add(w.endedPayload.Swap(0))
	w.acknowledged.moveTo(&to.acknowledged)
	to.splits.Add(w.splits.Swap(0))
	w.broker.moveTo(&to.broker)
}

func (w *written) addTo(c *Counts) {
	c.Acknowledged.add(w.acknowledged.load())
	c.Splits += w.splits.Load()
	ended, endedPayload := w.ended.load(), w.endedPayload.Load()
	begun, begunPayload := w.begun.load(), w.begunPayload.Load()
	c.InFlight.add(Amount{begun.Records - ended.Records, begun.Bytes - ended.Bytes})
	c.inFlightPayload += begunPayload - endedPayload
	c.Retried.add(w.retried.load())
	c.Sent.add(w.sent.load())
}

// Batch is what one batch counts for.
type Batch struct {
	Records int64
	Bytes   int64 // as it is written
	Payload int64 // the records' flow.Record.Size
}

// Batches are what several batches count for together.
type Batches struct {
	n       int64
	all     Amount
	payload int64
}

// Add adds a batch.
func (b *Batches) Add(of Batch) { b.merge(Batches{1, Amount{of.Records, of.Bytes}, of.Payload}) }

func (b *Batches) merge(of Batches) {
	b.n += of.n
	b.all.add(of.all)
	b.payload += of.payload
}

// Sending is what is written in one request, of one topic or of all.
type Sending struct {
	Window time.Duration // from the moment at which the batches were taken into the request

	sent     Batches
	retried  Batches // of these, what was sent before
	inFlight Batches // of these, what has no outcome yet
}

// Add adds a batch.
func (s *Sending) Add(b Batch, sentBefore, inFlight bool) {
	s.sent.Add(b)
	if sentBefore {
		s.retried.Add(b)
	}
	if inFlight {
		s.inFlight.Add(b)
	}
}

// Merge adds the batches of another topic.
func (s *Sending) Merge(of *Sending) {
	s.sent.merge(of.sent)
	s.retried.merge(of.retried)
	s.inFlight.merge(of.inFlight)
}

func (w *written) send(s *Sending) {
	if s.inFlight.n > 0 {
		w.begun.add(s.inFlight.all)
		w.begunPayload.Add(s.inFlight.payload)
	}
	w.sent.add(s.sent.all)
	if s.retried.n > 0 {
		w.retried.add(s.retried.all)
	}
	w.window.Record(s.Window, s.sent.n)
}

// Ending is what comes back with one request, of one topic or of all.
type Ending struct {
	batches  int64
	inFlight Batches // of these, what was in flight until now
}

// Add adds a batch.
func (e *Ending) Add(b Batch, inFlight bool) {
	e.batches++
	if inFlight {
		e.inFlight.Add(b)
	}
}

// Merge adds the batches of another topic.
func (e *Ending) Merge(of *Ending) {
	e.batches += of.batches
	e.inFlight.merge(of.inFlight)
}

func (w *written) end(e *Ending, latency time.Duration, answered bool) {
	if e.inFlight.n > 0 {
		w.leave(e.inFlight)
	}
	if answered {
		w.broker.Record(latency, e.batches)
	}
}

func (w *written) leave(b Batches) {
	w.ended.add(b.all)
	w.endedPayload.Add(b.payload)
}

// Counts are read from recorders.
type Counts struct {
	Accepted        Amount // bytes as in Batch.Payload; also Failed
	Sent, Retried   Amount
	InFlight        Amount
	Acknowledged    Amount
	Failed          Amount
	FailedBy        [Causes]int64
	Unknown         int64
	Splits          int64
	inFlightPayload int64
	ackedPayload    int64
}

// Buffered is what is accepted, and neither in flight nor decided. What happens while the counts are read may make it less than
// nothing; it is 0 then.
func (c *Counts) Buffered() Amount {
	return Amount{
		max(0, c.Accepted.Records-c.InFlight.Records-c.Acknowledged.Records-c.Failed.Records),
		max(0, c.Accepted.Bytes-c.inFlightPayload-c.ackedPayload-c.Failed.Bytes),
	}
}

// Undecided is how many records have no outcome.
func (c *Counts) Undecided() int64 {
	return max(0, c.Accepted.Records-c.Acknowledged.Records-c.Failed.Records)
}

// Topic counts for one topic. Its methods may be called concurrently. A nil one counts nothing.
type Topic struct {
	name   string
	of     *Producer
	folded atomic.Bool // it was moved to Producer.rest, and so is what is counted later

	_ line

	// Of the dispatcher, once a run:

	accepted amount

	written

	// Of the loops, once a request:

	queue Histogram

	_ line

	// Of whoever decides outcomes, once an outcome or a turn of a loop:

	ackedPayload atomic.Int64
	failedBy     [Causes]atomic.Int64
	failedBytes  atomic.Int64
	unknown      atomic.Int64

	_ line

	// Of the outcome goroutines, once an outcome:

	handOver Histogram
}

// Name is the topic's.
func (t *Topic) Name() string { return t.name }

// settle is called after each count. Whoever counts for a topic that was folded meanwhile moves that, too. It can't get lost: a
// counter is written before folded is read here, and read after folded is written there.
func (t *Topic) settle() {
	if t.folded.Load() {
		t.of.fold(t)
	}
}

// Accepted counts records that entered the pipeline. bytes is the sum of their Size.
func (t *Topic) Accepted(records, bytes int64) {
	if t != nil {
		t.accepted.add(Amount{records, bytes})
		t.settle()
	}
}

// Queue is the histogram of batches that are taken into a request. The loop that has a batch of the topic may record there: the
// topic is not folded meanwhile.
func (t *Topic) Queue() *Histogram {
	if t == nil {
		return nil
	}
	return &t.queue
}

// Send counts what is about to be written.
func (t *Topic) Send(s *Sending) {
	if t != nil {
		t.written.send(s)
		t.settle()
	}
}

// End counts what came back. latency is the answer's, if there was one.
func (t *Topic) End(e *Ending, latency time.Duration, answered bool) {
	if t != nil {
		t.written.end(e, latency, answered)
		t.settle()
	}
}

// Leave counts a batch that has its outcome while it is in flight.
func (t *Topic) Leave(b Batch) {
	if t != nil {
		t.written.leave(one(b))
		t.settle()
	}
}

func one(b Batch) (of Batches) {
	of.Add(b)
	return of
}

// Split counts a batch that was divided.
func (t *Topic) Split() {
	if t != nil {
		t.splits.Add(1)
		t.settle()
	}
}

// Acknowledged counts records that are delivered. payload is the sum of their Size.
func (t *Topic) Acknowledged(a Amount, payload int64) {
	if t != nil {
		t.acknowledged.add(a)
		t.ackedPayload.Add(payload)
		t.settle()
	}
}

// Failed counts records that have failed.
func (t *Topic) Failed(a Amount, cause Cause, unknown bool) {
	if t == nil {
		return
	}
	t.failedBy[cause].Add(a.Records)
	t.failedBytes.Add(a.Bytes)
	if unknown {
		t.unknown.Add(a.Records)
	}
	t.settle()
}

// HandedOver counts an outcome that its user has got.
func (t *Topic) HandedOver(after time.Duration) {
	if t != nil {
		t.handOver.Record(after, 1)
		t.settle()
	}
}

// AddTo adds what is counted. What leads to an outcome is read after it.
func (t *Topic) AddTo(c *Counts) {
	c.Unknown += t.unknown.Load()
	for i := range t.failedBy {
		n := t.failedBy[i].Load()
		c.FailedBy[i] += n
		c.Failed.Records += n
	}
	c.Failed.Bytes += t.failedBytes.Load()
	c.ackedPayload += t.ackedPayload.Load()
	t.written.addTo(c)
	c.Accepted.add(t.accepted.load())
}

// Stages are how long batches were in each.
type Stages struct{ Queue, Window, Broker, HandOver Durations }

// AddStagesTo adds what is counted.
func (t *Topic) AddStagesTo(s *Stages) {
	t.queue.AddTo(&s.Queue)
	t.window.AddTo(&s.Window)
	t.broker.AddTo(&s.Broker)
	t.handOver.AddTo(&s.HandOver)
}

// moveTo moves what is counted.
func (t *Topic) moveTo(to *Topic) {
	t.accepted.moveTo(&to.accepted)
	t.written.moveTo(&to.written)
	t.queue.moveTo(&to.queue)
	to.ackedPayload.Add(t.ackedPayload.Swap(0))
	for i := range t.failedBy {
		if n := t.failedBy[i].Swap(0); n != 0 {
			to.failedBy[i].Add(n)
		}
	}
	to.failedBytes.Add(t.failedBytes.Swap(0))
	to.unknown.Add(t.unknown.Swap(0))
	t.handOver.moveTo(&to.handOver)
}
