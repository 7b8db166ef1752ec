package sluice

import (
	"context"
	"iter"
	"math"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/dispatch"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/produceset"
)

// Appender sends records of one topic that are bytes, not messages: Append copies them into a batch, on the caller's goroutine. That
// costs a fraction of what a message costs, and allocates nothing.
//
// An Appender is for one goroutine at a time, but for its Writer. A producer may have any number of them, beside Input and all else.
// Records of one Appender and partition keep their order. There is none between Appenders, or between an Appender and messages.
//
// A batch is sent when it is full, when linger is over (Producer.Flush), when anybody waits for memory, and by Flush, Close and
// CommitTxn. Flush.Bytes and Flush.Messages count for each batch. With no linger at all, a batch is sent when the one before it has
// its outcome.
//
// With a transactional producer a record belongs to the transaction in which Append was called; outside of one Append returns
// sarama.ErrTransactionNotReady. AbortTxn fails what is in open batches.
type Appender struct {
	p     *Producer
	topic string
	appendOptions

	partitioner sarama.Partitioner
	dynamic     sarama.DynamicConsistencyPartitioner // the partitioner, if it is one
	consistent  bool
	scratch     sarama.ProducerMessage // what the partitioner is given
	key, value  sarama.ByteEncoder     // of that
	clock       coarseClock
	md          *metadata.Topic // nil until it is known
	tag         int64           // of the next record
	tagged      bool            // Tag was called
	writers     sync.Mutex      // makes one goroutine of those that use its Writers

	// mu is held while a record is copied and while batches are sealed, but never while anybody waits.
	mu   sync.Mutex
	open openBatches
}

// AppenderOption sets what an Appender does differently.
type AppenderOption func(*appendOptions) error

type appendOptions struct {
	ctx    context.Context
	report func(AppendReport)
}

// WithAppendContext ends the waiting of Append with ctx: for memory, and for the topic's metadata.
func WithAppendContext(ctx context.Context) AppenderOption {
	return func(o *appendOptions) error {
		if ctx == nil {
			return configError("WithAppendContext(nil): must not be nil")
		}
		o.ctx = ctx
		return nil
	}
}

// WithAppendReport calls report with the outcome of each batch, in the order of each partition, on the goroutine that calls delivery
// reports and callbacks. It may call everything but Flush and Close of the Appender, Close of the producer, and Append, which could wait
// for memory that only its return frees. Without it, failures are logged.
func WithAppendReport(report func(AppendReport)) AppenderOption {
	return func(o *appendOptions) error {
		o.report = report
		return nil
	}
}

// AppendReport tells the outcome of a batch of an Appender, or of the part that it has if the batch was divided because a broker found
// it too large, or found some of its records invalid.
type AppendReport struct {
	Topic     string
	Partition int32
	// BaseOffset is the offset of the first record, or -1 if Kafka told none. The others follow without a gap.
	BaseOffset int64
	// Count is the number of records, Bytes their encoded size with the batch's header, not compressed.
	Count, Bytes int
	// Err is nil if the records were written.
	Err error

	batch *produceset.Batch
}

// Records are the records of the batch, in their order: to log, to keep or to count what has failed. They are views into the batch, valid
// until the report returns; what is to be kept must be copied.
func (r AppendReport) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for rec, err := range r.batch.All() {
			if err != nil || !yield(Record{rec.Key, rec.Value, rec.Headers, time.UnixMilli(rec.Timestamp), rec.Tag}) {
				return
			}
		}
	}
}

// Record is a record of an AppendReport. A nil Key or Value is null.
type Record struct {
	Key, Value []byte
	Headers    []sarama.RecordHeader
	Timestamp  time.Time
	Tag        int64 // what Appender.Tag said, or 0
}

// NewAppender makes an Appender for a topic, with a partitioner of its own (Producer.Partitioner). It sends nothing yet. Close it, or
// the producer. The partitioner is given one message again and again, with the caller's bytes: it must not keep it.
func NewAppender(p *Producer, topic string, opts ...AppenderOption) (*Appender, error) {
	if topic == "" {
		return nil, flow.Errorf("an Appender without a topic: %w", flow.External(sarama.ErrInvalidTopic))
	}
	a := &Appender{p: p, topic: topic, appendOptions: appendOptions{ctx: context.Background()}}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&a.appendOptions); err != nil {
			return nil, err
		}
	}
	if a.partitioner = p.shared.Conf.Producer.Partitioner(topic); a.partitioner == nil {
		return nil, flow.Errorf("Producer.Partitioner returned no partitioner for topic %q", topic)
	}
	a.dynamic, _ = a.partitioner.(sarama.DynamicConsistencyPartitioner)
	a.consistent = a.dynamic == nil && a.partitioner.RequiresConsistency()
	a.open.init(a)
	p.appenders.add(a)
	return a, nil
}

// Tag gives the records that are appended from now on a number, such as their line in a file: Record.Tag tells a report whose outcome it
// has. It is not sent. It takes a byte or two of memory a record, which the producer's bound does not count, if numbers come in order.
func (a *Appender) Tag(tag int64) { a.tag, a.tagged = tag, true }

// Append adds a record to the open batch of its partition, which the partitioner chooses. Key, value and headers are copied; nil is
// null. The record's timestamp is the time of the call, within a millisecond in a steady stream, and never off by more than linger.
//
// An error means that the record was not accepted, and nothing else will tell of it. Otherwise it has exactly one outcome. The errors
// are those of Producer.Produce: ErrBufferFull if the context ended while memory was used up (WithAppendContext; without one it waits),
// sarama.ErrMessageSizeTooLarge, sarama.ErrShuttingDown after Close, and so on. The first Append waits for the topic's metadata, for the
// delivery timeout at most.
//
// Interceptors get a message of each record, one at a time in all of the producer; then Append allocates. One that changes the topic is
// an error.
func (a *Appender) Append(key, value []byte, headers ...sarama.RecordHeader) error {
	return a.add(key, value, headers, now, anyPartition)
}

// AppendAt is Append with a partition and a timestamp of the caller's choice. With partition -1 the partitioner chooses. One that is not
// there is sarama.ErrInvalidPartition. The zero time is the time of the call.
func (a *Appender) AppendAt(partition int32, at time.Time, key, value []byte, headers ...sarama.RecordHeader) error {
	if partition < anyPartition {
		return a.refused(produceset.BytesBound(key, value, headers), a.noPartition(partition))
	}
	millis := int64(now)
	if !at.IsZero() {
		millis = at.UnixMilli()
	}
	return a.add(key, value, headers, millis, partition)
}

const (
	// anyPartition has the partitioner choose.
	anyPartition = -1
	// now is the time of the call, as a timestamp in milliseconds.
	now = math.MinInt64
)

func (a *Appender) add(key, value []byte, headers []sarama.RecordHeader, millis int64, partition int32) error {
	size := produceset.BytesBound(key, value, headers)
	if len(a.p.shared.Conf.Producer.Interceptors) > 0 {
		var err error
		if key, value, headers, millis, err = a.intercept(key, value, headers, millis); err != nil {
			return a.refused(size, err)
		}
		size = produceset.BytesBound(key, value, headers)
	}
	if err := dispatch.CheckSize(a.p.deps, a.topic, size); err != nil {
		return a.refused(size, err)
	}
	if a.md == nil {
		if err := a.resolve(); err != nil {
			return a.refused(size, err)
		}
	}
	if partition == anyPartition {
		var err error
		if partition, err = a.choose(key, value, headers); err != nil {
			return a.refused(size, err)
		}
	} else if _, ok := a.md.Partition(partition); !ok {
		if a.md = a.p.metadata.Topic(a.topic); a.md == nil { // there may be more by now
			if err := a.resolve(); err != nil {
				return a.refused(size, err)
			}
		}
		if _, ok := a.md.Partition(partition); !ok {
			return a.refused(size, a.noPartition(partition))
		}
	}
	return a.encode(partition, millis, key, value, headers)
}

// refused is the error of a record that is not accepted. If a transaction is open, it can only be aborted: the record is missing in it.
func (a *Appender) refused(size int, err error) error {
	a.p.txnFailed(err)
	a.p.countRefused(a.topic, int64(size), err)
	return a.p.shared.UserError(err)
}

func (a *Appender) noPartition(partition int32) error {
	return flow.Errorf("topic %q has no partition %d: %w", a.topic, partition, flow.External(sarama.ErrInvalidPartition))
}

// intercept runs the interceptors on a message of the record.
func (a *Appender) intercept(key, value []byte, headers []sarama.RecordHeader, millis int64) ([]byte, []byte, []sarama.RecordHeader, int64, error) {
	if millis == now {
		millis = time.Now().UnixMilli()
	}
	msg := &sarama.ProducerMessage{Topic: a.topic, Headers: headers, Timestamp: time.UnixMilli(millis)}
	if key != nil {
		msg.Key = sarama.ByteEncoder(key)
	}
	if value != nil {
		msg.Value = sarama.ByteEncoder(value)
	}
	dispatch.Intercept(a.p.deps, msg)
	if msg.Topic != a.topic {
		return nil, nil, nil, 0, flow.Errorf("an interceptor changed the topic of an Appender's record from %q to %q: %w",
			a.topic, msg.Topic, flow.External(sarama.ErrInvalidTopic))
	}
	key, value, err := produceset.Encoded(msg)
	if millis = now; !msg.Timestamp.IsZero() {
		millis = msg.Timestamp.UnixMilli()
	}
	return key, value, msg.Headers, millis, err
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
	msg.Topic, msg.Key, msg.Value, msg.Headers = a.topic, nil, nil, headers
	if key != nil { // partitioners test for a nil Encoder
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
		return -1, a.noPartition(choice)
	}
	return choices[choice], nil
}

// Flush sends what was appended before the call without waiting for linger. It returns when all of that has its outcome, and the reports
// have returned, or with an error when ctx ends. It returns the first failure since the last Flush that told one.
func (a *Appender) Flush(ctx context.Context) error {
	a.p.shared.BeginUrgent()
	defer a.p.shared.EndUrgent()
	a.sealAll()
	a.mu.Lock()
	settled := a.open.whenSettled()
	a.mu.Unlock()
	select {
	case <-settled:
	case <-ctx.Done():
		return flow.Errorf("flushing: %w", flow.ContextError(ctx))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.open.failed
	a.open.failed = nil
	return err
}

// Close is Flush, and ends the Appender: Append returns sarama.ErrShuttingDown from the call on. The producer stays open. It may be
// called more than once, also after the producer was closed.
func (a *Appender) Close(ctx context.Context) error {
	a.mu.Lock()
	a.open.closed = true
	a.mu.Unlock()
	err := a.Flush(ctx)
	a.p.appenders.remove(a)
	return err
}

// resolve waits for the topic's metadata: a record without records waits for it as messages do.
func (a *Appender) resolve() error {
	if a.md = a.p.metadata.Topic(a.topic); a.md != nil {
		return nil
	}
	if a.p.shared.Closing() {
		return sarama.ErrShuttingDown
	}
	probe := &topicProbe{known: make(chan error, 1)}
	probe.call.Waiter, probe.call.Batch = probe, flow.Probe{}
	rec := flow.Record{Msg: &sarama.ProducerMessage{Topic: a.topic}, Completion: &probe.call, Partition: -1}
	if err := a.p.charge(a.ctx, flow.RecordOverhead); err != nil {
		return err
	}
	if !a.p.dispatcher.Direct(rec) {
		a.p.shared.Budget.Release(flow.RecordOverhead)
		return sarama.ErrShuttingDown
	}
	var err error
	select {
	case err = <-probe.known:
	case <-a.ctx.Done():
		if probe.call.Withdraw() {
			return flow.Errorf("waiting for topic %q: %w", a.topic, flow.ContextError(a.ctx))
		}
		err = <-probe.known
	}
	if err != nil {
		return err
	}
	if a.md = a.p.metadata.Topic(a.topic); a.md == nil {
		return flow.Errorf("topic %q: %w", a.topic, flow.External(sarama.ErrUnknownTopicOrPartition)) // forgotten in between
	}
	return nil
}

// topicProbe waits until a topic is known.
type topicProbe struct {
	call  flow.Completion
	known chan error
}

// Outcome implements flow.Waiter.
func (t *topicProbe) Outcome(_ []flow.Record, _ int32, _ int64, _ time.Time, err error) {
	t.known <- err
}

// coarseClock tells the time in milliseconds. In a fast stream it looks at the clock now and then only: a look takes as long as copying
// a small record. The first record of each batch looks, so that none is off by more than linger.
type coarseClock struct {
	at    time.Time // of the last look
	now   int64
	calls int // since then
	skip  int // how many may come before the next look
}

// millis looks at the clock if it must, or if some calls have passed since the last look.
func (c *coarseClock) millis(must bool) int64 {
	if c.calls < c.skip && !must {
		c.calls++
		return c.now
	}
	at := time.Now()
	if at.Sub(c.at) < time.Millisecond/2 {
		c.skip = min(2*c.skip+1, 63)
	} else {
		c.skip = 0
	}
	c.at, c.now, c.calls = at, at.UnixMilli(), 0
	return c.now
}
