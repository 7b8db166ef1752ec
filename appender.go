package sluice

import (
	"context"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/produceset"
)

// Appender sends records of one topic that are bytes, not messages: Append copies them straight into a batch. That costs a fraction of
// what a message costs, and no allocation.
//
// Append, AppendAt, Flush and Close are for one goroutine at a time; a producer may have any number of Appenders, beside Input and all
// else. Records of one Appender and partition keep their order. There is none between Appenders, or between an Appender and messages.
//
// A batch is sent when it is full, when linger is over (Producer.Flush), when somebody waits for memory, and by Flush, Close and
// CommitTxn, of the Appender or the producer. Without linger it is sent when the one before it has its outcome.
type Appender struct {
	p       *Producer
	topic   string
	options appendOptions
	set     *produceset.Config

	partitioner sarama.Partitioner
	dynamic     sarama.DynamicConsistencyPartitioner // the partitioner, if it is one
	consistent  bool
	scratch     sarama.ProducerMessage // what the partitioner is given
	key, value  sarama.ByteEncoder     // of that
	clock       coarseClock
	md          *metadata.Topic // nil until it is known

	// mu is held while a record is copied, and while batches are sealed, but never while anybody waits.
	mu      sync.Mutex
	open    map[int32]*openBatch
	last    *openBatch   // the one that was used last
	begun   []*openBatch // those that are open, the oldest first, with some that are sealed
	hints   map[int32]int
	linger  *time.Timer
	closed  bool
	pending int           // batches without an outcome
	settled chan struct{} // closed when pending is 0; nil if nobody waits for that
	failed  error         // the first failure that nobody was told of
}

// openBatch takes records of one partition.
type openBatch struct {
	*produceset.Batch
	born   int64  // when its first record came, on the producer's clock
	txn    uint64 // the transaction that was open then
	sealed bool
}

// AppenderOption sets what an Appender does differently.
type AppenderOption func(*appendOptions) error

type appendOptions struct {
	ctx    context.Context
	report func(AppendReport)
}

// WithAppendContext ends the waiting of Append, for memory or for the topic's metadata, with ctx. Without it Append waits as long as it
// takes, for metadata the delivery timeout at most.
func WithAppendContext(ctx context.Context) AppenderOption {
	return func(o *appendOptions) error {
		o.ctx = ctx
		return nil
	}
}

// WithAppendReport calls report with the outcome of each batch, in the order of each partition, from the goroutine of delivery reports
// (WithDeliveryReport). It may call everything but Flush and Close of the Appender, and Close of the producer.
func WithAppendReport(report func(AppendReport)) AppenderOption {
	return func(o *appendOptions) error {
		o.report = report
		return nil
	}
}

// AppendReport tells the outcome of a batch of an Appender.
type AppendReport struct {
	Topic     string
	Partition int32
	// BaseOffset is the offset of the first record, or -1 if Kafka told none. The others follow without a gap.
	BaseOffset int64
	// Count is the number of records, Bytes their encoded size, not compressed.
	Count, Bytes int
	// Err is nil if the records were written.
	Err error
}

// NewAppender makes an Appender for a topic. It sends nothing yet.
func NewAppender(p *Producer, topic string, opts ...AppenderOption) (*Appender, error) {
	a := &Appender{p: p, topic: topic, set: p.set, open: map[int32]*openBatch{}, hints: map[int32]int{}}
	a.options.ctx = context.Background()
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&a.options); err != nil {
			return nil, err
		}
	}
	if topic == "" {
		return nil, flow.Errorf("an Appender without a topic: %w", flow.External(sarama.ErrInvalidTopic))
	}
	a.partitioner = p.shared.Conf.Producer.Partitioner(topic)
	if a.partitioner == nil {
		return nil, flow.Errorf("Producer.Partitioner returned no partitioner for topic %q", topic)
	}
	a.dynamic, _ = a.partitioner.(sarama.DynamicConsistencyPartitioner)
	a.consistent = a.dynamic == nil && a.partitioner.RequiresConsistency()
	a.scratch.Topic = topic
	p.appenders.add(a)
	return a, nil
}

// Append copies a record into the open batch of its partition, which the configured partitioner chooses. nil is null. Its timestamp is
// the time of the call, a linger off at most. An error means that the record was not accepted, and no report will tell of it; without
// one it has exactly one outcome.
//
// It waits for the topic's metadata at first, and for memory (WithBufferMemory) as long as it is used up: ErrBufferFull when the
// context ends (WithAppendContext).
func (a *Appender) Append(key, value []byte, headers ...sarama.RecordHeader) error {
	if a.md == nil {
		if err := a.resolve(); err != nil {
			return a.refused(err)
		}
	}
	partition, err := a.choose(key, value, headers)
	if err != nil {
		return a.refused(err)
	}
	return a.append(partition, a.clock.millis(), key, value, headers)
}

// AppendAt is Append to a partition and with a timestamp of the caller's choice. A zero timestamp is the time of the call.
func (a *Appender) AppendAt(partition int32, timestamp time.Time, key, value []byte, headers ...sarama.RecordHeader) error {
	if a.md == nil {
		if err := a.resolve(); err != nil {
			return a.refused(err)
		}
	}
	if _, ok := a.md.Partition(partition); !ok {
		return a.refused(flow.Errorf("topic %q: partition %d of %d: %w", a.topic, partition, len(a.md.All), flow.External(sarama.ErrInvalidPartition)))
	}
	millis := a.clock.millis()
	if !timestamp.IsZero() {
		millis = timestamp.UnixMilli()
	}
	return a.append(partition, millis, key, value, headers)
}

func (a *Appender) refused(err error) error {
	a.p.txnFailed(err)
	return a.p.shared.UserError(err)
}

// choose asks the partitioner. It is the user's code, and may panic.
func (a *Appender) choose(key, value []byte, headers []sarama.RecordHeader) (partition int32, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = flow.Errorf("the partitioner of topic %q panicked: %v", a.topic, v)
		}
	}()
	msg := &a.scratch
	a.key, a.value = key, value
	msg.Key, msg.Value, msg.Headers = nil, nil, headers
	if key != nil {
		msg.Key = &a.key
	}
	if value != nil {
		msg.Value = &a.value
	}
	choices := a.md.Writable
	if len(choices) == 0 || a.consistent || a.dynamic != nil && a.dynamic.MessageRequiresConsistency(msg) {
		choices = a.md.All
	}
	choice, err := a.partitioner.Partition(msg, int32(len(choices)))
	if err != nil {
		return -1, flow.Errorf("partitioning a record of topic %q: %w", a.topic, flow.External(err))
	}
	if choice < 0 || int(choice) >= len(choices) {
		return -1, flow.Errorf("topic %q: partition %d of %d: %w", a.topic, choice, len(choices), flow.External(sarama.ErrInvalidPartition))
	}
	return choices[choice], nil
}

// append encodes a record, beginning and sealing batches as needed.
func (a *Appender) append(partition int32, millis int64, key, value []byte, headers []sarama.RecordHeader) error {
	granted := 0 // bytes of the budget that are not a batch's yet
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		b := a.last
		if b == nil || b.sealed || b.Partition != partition {
			var err error
			if b, err = a.batch(partition); err != nil {
				a.p.shared.Budget.Release(int64(granted))
				return a.refused(err)
			}
			a.last = b
		}
		if granted > 0 {
			b.Grant(granted)
			granted = 0
		}
		more, err := b.AppendBytes(key, value, headers, millis)
		switch {
		case err == produceset.ErrFull:
			a.seal(b)
		case err != nil:
			return a.refused(err)
		case more == 0:
			if b.Full() || a.thresholdReached(b) {
				a.seal(b)
			}
			return nil
		case a.p.shared.Budget.Try(int64(more)):
			b.Grant(more)
		default:
			a.mu.Unlock()
			err := a.p.charge(a.options.ctx, int64(more))
			a.mu.Lock()
			if err != nil {
				return a.refused(err)
			}
			granted = more // its batch may be sealed by now
		}
	}
}

func (a *Appender) thresholdReached(b *openBatch) bool {
	f := &a.p.shared.Conf.Producer.Flush
	return f.MaxMessages > 0 && b.Count() >= f.MaxMessages || f.Bytes > 0 && b.Bytes() >= f.Bytes || f.Messages > 0 && b.Count() >= f.Messages
}

// batch is the open batch of a partition, or a new one. Called with mu held.
func (a *Appender) batch(partition int32) (*openBatch, error) {
	if b := a.open[partition]; b != nil {
		return b, nil
	}
	if a.closed || a.p.shared.Closing() {
		return nil, sarama.ErrShuttingDown
	}
	if err := a.p.shared.Stopped(); err != nil {
		return nil, err
	}
	if md := a.p.metadata.Topic(a.topic); md != nil {
		a.md = md
	}
	b := &openBatch{Batch: produceset.New(a.set, a.hints[partition]), born: a.p.shared.Now()}
	b.Topic, b.Partition = a.topic, partition
	b.Hold()
	if a.p.txns != nil {
		b.txn, _ = a.p.txns.Open()
	}
	a.open[partition] = b
	a.begun = append(a.begun, b)
	if len(a.begun) == 1 {
		a.startLinger()
	}
	return b, nil
}

// startLinger sets the timer for the oldest batch. Called with mu held.
func (a *Appender) startLinger() {
	for len(a.begun) > 0 && a.begun[0].sealed {
		a.begun = a.begun[1:]
	}
	if len(a.begun) == 0 {
		a.begun = nil
		return
	}
	wait := a.lingerTime() - time.Duration(a.p.shared.Now()-a.begun[0].born)
	if a.linger == nil {
		a.linger = time.AfterFunc(wait, a.onLinger)
	} else {
		a.linger.Reset(wait)
	}
}

func (a *Appender) lingerTime() time.Duration {
	f := &a.p.shared.Conf.Producer.Flush
	if f.Frequency > 0 {
		return min(f.Frequency, a.p.shared.DeliveryTimeout/2)
	}
	if f.Bytes == 0 && f.Messages == 0 {
		return 0
	}
	return a.p.shared.DeliveryTimeout / 2
}

// onLinger seals the batches that have lingered long enough.
func (a *Appender) onLinger() {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.p.shared.Now() - int64(a.lingerTime())
	for _, b := range a.begun {
		if b.born > before {
			break
		}
		if !b.sealed {
			a.seal(b)
		}
	}
	a.startLinger()
}

// sealAll seals every open batch.
func (a *Appender) sealAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.begun {
		if !b.sealed {
			a.seal(b)
		}
	}
	a.begun = nil
}

// seal hands a batch to the pipeline. Called with mu held.
func (a *Appender) seal(b *openBatch) {
	b.sealed = true
	delete(a.open, b.Partition)
	a.hints[b.Partition] = b.Bytes()
	if b.Count() == 0 {
		a.p.shared.Budget.Release(b.Granted())
		b.Release()
		return
	}
	a.pending++
	c := &appendedBatch{a: a, msg: sarama.ProducerMessage{Topic: a.topic, Metadata: flow.ChosenPartition(b.Partition)}}
	c.completion(b.Batch)
	granted := b.Granted()
	a.p.shared.Budget.Force(flow.RecordOverhead)
	rec := flow.Record{Msg: &c.msg, Completion: &c.call, Partition: -1, Born: b.born, Charge: int32(granted), Size: int32(granted)}
	if !a.p.dispatcher.Direct(rec) {
		a.p.shared.Budget.Release(granted + flow.RecordOverhead)
		go c.done(sarama.ErrShuttingDown)
	}
}

// appendedBatch is a sealed batch on its way.
type appendedBatch struct {
	a     *Appender
	msg   sarama.ProducerMessage
	call  flow.Completion
	batch *produceset.Batch
}

func (c *appendedBatch) completion(b *produceset.Batch) {
	c.batch = b
	c.call.Batch = b
	c.call.Done = func(_ *sarama.ProducerMessage, err error) { c.done(err) }
	c.call.Divide = func(part flow.SealedBatch) *flow.Completion {
		c.a.mu.Lock()
		c.a.pending++
		c.a.mu.Unlock()
		p := &appendedBatch{a: c.a, msg: c.msg}
		p.completion(part.(*produceset.Batch))
		return &p.call
	}
}

// done runs on the goroutine of reports.
func (c *appendedBatch) done(err error) {
	a := c.a
	if a.options.report != nil {
		base := c.msg.Offset
		if err != nil {
			base = flow.NoOffset
		}
		a.options.report(AppendReport{Topic: a.topic, Partition: c.batch.Partition, BaseOffset: base, Count: c.batch.Count(), Bytes: c.batch.Bytes(), Err: err})
	}
	c.batch.Release()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && a.failed == nil {
		a.failed = err
	}
	if a.pending--; a.pending == 0 && a.settled != nil {
		close(a.settled)
		a.settled = nil
	}
}

// Flush seals the open batches and waits until all have their outcome, and their report has returned, or until ctx ends. It returns the
// first failure since the last Flush.
func (a *Appender) Flush(ctx context.Context) error {
	a.p.shared.BeginUrgent()
	defer a.p.shared.EndUrgent()
	a.sealAll()
	a.mu.Lock()
	settled := a.settled
	if a.pending > 0 && settled == nil {
		settled = make(chan struct{})
		a.settled = settled
	}
	a.mu.Unlock()
	if settled != nil {
		select {
		case <-settled:
		case <-ctx.Done():
			return flow.Errorf("flushing: %w", flow.ContextError(ctx))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.failed
	a.failed = nil
	return err
}

// Close is Flush, after which Append returns sarama.ErrShuttingDown. The producer stays open.
func (a *Appender) Close(ctx context.Context) error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	err := a.Flush(ctx)
	a.p.appenders.remove(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.linger != nil {
		a.linger.Stop()
	}
	return err
}

// resolve waits for the topic's metadata.
func (a *Appender) resolve() error {
	if md := a.p.metadata.Topic(a.topic); md != nil {
		a.md = md
		return nil
	}
	probe := &topicProbe{known: make(chan error, 1)}
	probe.call.Waiter, probe.call.Batch = probe, probe
	rec := flow.Record{Msg: &sarama.ProducerMessage{Topic: a.topic}, Completion: &probe.call, Partition: -1}
	if err := a.p.charge(a.options.ctx, flow.RecordOverhead); err != nil {
		return err
	}
	if !a.p.dispatcher.Direct(rec) {
		a.p.shared.Budget.Release(flow.RecordOverhead)
		return sarama.ErrShuttingDown
	}
	select {
	case err := <-probe.known:
		if err != nil {
			return err
		}
	case <-a.options.ctx.Done():
		if probe.call.Withdraw() {
			return flow.Errorf("waiting for topic %q: %w", a.topic, flow.ContextError(a.options.ctx))
		}
		if err := <-probe.known; err != nil {
			return err
		}
	}
	a.md = a.p.metadata.Topic(a.topic)
	if a.md == nil {
		return flow.Errorf("topic %q: %w", a.topic, flow.External(sarama.ErrUnknownTopicOrPartition))
	}
	return nil
}

// topicProbe is a record that only waits for its topic's metadata.
type topicProbe struct {
	call  flow.Completion
	known chan error
}

// Count implements flow.SealedBatch: it stands for no record.
func (*topicProbe) Count() int { return 0 }

// Outcome implements flow.Waiter.
func (t *topicProbe) Outcome(_ []flow.Record, _ int32, _ int64, _ time.Time, err error) {
	t.known <- err
}

// coarseClock tells the time in milliseconds. In a fast stream it looks at the clock only now and then.
type coarseClock struct {
	last        time.Time
	now         int64
	skip, calls int
}

func (c *coarseClock) millis() int64 {
	if c.calls < c.skip {
		c.calls++
		return c.now
	}
	now := time.Now()
	if now.Sub(c.last) < time.Millisecond {
		c.skip = min(2*c.skip+1, 63)
	} else {
		c.skip = 0
	}
	c.last, c.now, c.calls = now, now.UnixMilli(), 0
	return c.now
}

// appenders are those of one producer.
type appenders struct {
	mu  sync.Mutex
	all map[*Appender]func() // and how to undo OnUrgent
}

func (s *appenders) add(a *Appender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[*Appender]func())
	}
	s.all[a] = a.p.shared.OnUrgent(func() {
		if a.p.shared.Urgent() {
			go a.sealAll()
		}
	})
}

func (s *appenders) remove(a *Appender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if undo := s.all[a]; undo != nil {
		undo()
		delete(s.all, a)
	}
}

func (s *appenders) sealAll() {
	s.mu.Lock()
	var all []*Appender
	for a := range s.all {
		all = append(all, a)
	}
	s.mu.Unlock()
	for _, a := range all {
		a.sealAll()
	}
}
