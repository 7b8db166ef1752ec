package sluice

import (
	"context"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/dispatch"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/meters"
	"github.com/sluice-kafka/sluice/internal/telemetry"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/produceset"
)

// Producer sends messages to Kafka. It has every way in and out: sarama's channels (Input, Successes, Errors) and calls
// (SendMessage, SendMessages), and what sarama lacks (InputBatch, Produce, contexts, Flush, Buffered). It satisfies
// sarama.AsyncProducer and sarama.SyncProducer.
//
// All methods may be called concurrently. A Producer must be closed.
type Producer struct {
	shared     *flow.Shared
	deps       *dispatch.Deps
	dispatcher *dispatch.Dispatcher
	brokers    *brokerproducer.Pool
	metadata   *metadata.Service
	identities *txn.Manager      // nil without idempotence, and with a transactional id
	txns       *txn.Transactions // nil without a transactional id
	registry   *meters.Registry
	set        *produceset.Config
	appenders  appenders
	telemetry  *telemetry.Telemetry // nil if it is switched off

	// These are reused, but not by other producers: their channels belong to the testing/synctest bubble that they were
	// made in, as the producer does.
	waiters, batchCalls, cancellableCalls sync.Pool

	closeOnce sync.Once
	closed    chan struct{} // closed when every goroutine but the user's has ended
}

var (
	_ sarama.AsyncProducer = (*Producer)(nil)
	_ sarama.SyncProducer  = (*Producer)(nil)
)

// New makes a producer for the cluster that the brokers at addrs ("host:port") belong to. A nil conf means sarama's
// defaults; NewConfig has better ones. conf is copied. New fails if conf or an option can't be used, and with an error
// that wraps sarama.ErrOutOfBrokers if no broker answers within Metadata.Retry.
//
// With Producer.Idempotent it also asks for a producer id, and waits a second for it at most. If brokers refuse it, New fails
// with their error, such as sarama.ErrClusterAuthorizationFailed. If there is no answer yet, or one that may pass, New returns
// the producer, and the asking goes on: messages wait, and those that wait when an id is refused fail with that error. Later
// ones ask again.
//
// With Producer.Transaction.ID it returns when it has its producer id: that fences earlier producers of the id, and aborts what they
// had open. It asks for Producer.Transaction.Timeout.
//
// Errors of the producer wrap their cause, for errors.Is and errors.As: see the package's error variables. What can't be
// sent at the moment, because a broker or a leader is missing, waits until the delivery timeout (WithDeliveryTimeout).
func New(addrs []string, conf *sarama.Config, opts ...Option) (*Producer, error) {
	if conf == nil {
		conf = sarama.NewConfig()
	}
	return newProducer(addrs, conf, opts)
}

// NewFromClient is New with a client's configuration and brokers. The client must be open, and stays open when the
// producer is closed; the producer has connections of its own.
func NewFromClient(client sarama.Client, opts ...Option) (*Producer, error) {
	return newFromClient(client, opts)
}

// NewAsyncProducer is sarama.NewAsyncProducer: the same type, contract and errors. A nil conf means sarama's defaults.
// The result is a *Producer underneath: a type assertion finds Flush, Produce and the rest.
//
// As with sarama, what can't be sent is given up after Producer.Retry.Max + 1 rounds of pause, look-up and dial, and an
// error is the cause itself: a sarama.KError, a lost connection's error, what the user's partitioner or encoder returned.
// With Producer.Idempotent a producer id that is refused is the constructor's error, as in sarama, but it waits only a second:
// see New.
//
// docs/from-sarama.md lists the differences that remain.
func NewAsyncProducer(addrs []string, conf *sarama.Config) (sarama.AsyncProducer, error) {
	if conf == nil {
		conf = sarama.NewConfig()
	}
	return orNil[sarama.AsyncProducer](newProducer(addrs, conf, saramaContract))
}

// NewAsyncProducerFromClient is sarama.NewAsyncProducerFromClient, see NewAsyncProducer. The client stays open when the
// producer is closed.
func NewAsyncProducerFromClient(client sarama.Client) (sarama.AsyncProducer, error) {
	return orNil[sarama.AsyncProducer](newFromClient(client, saramaContract))
}

// orNil converts a result to an interface that is nil on an error.
func orNil[T any](p *Producer, err error) (none T, _ error) {
	if err != nil {
		return none, err
	}
	return any(p).(T), nil
}

// Input takes messages. A send blocks while the buffer memory is used up. Once Close or AsyncClose has begun, messages
// fail with sarama.ErrShuttingDown; at its end the channel is closed, and a send panics, as in sarama. Nil messages are
// ignored.
func (p *Producer) Input() chan<- *sarama.ProducerMessage {
	return p.dispatcher.Input
}

// InputBatch is Input for many messages in one channel operation. The slice is the producer's from then on; the caller
// must not read or write it again. Order is kept within InputBatch, not between it and Input.
func (p *Producer) InputBatch() chan<- []*sarama.ProducerMessage {
	return p.dispatcher.InputBatch
}

// Successes has the messages that were delivered, if Producer.Return.Successes is set: Partition and Offset are written.
// Messages of Produce, SendMessage and SendMessages are not among them.
func (p *Producer) Successes() <-chan *sarama.ProducerMessage {
	return p.shared.Outcomes.Successes
}

// Errors has the messages that failed, if Producer.Return.Errors is set. Otherwise they are logged through sarama.Logger,
// unless a delivery report tells them. Messages of Produce, SendMessage and SendMessages are not among them.
func (p *Producer) Errors() <-chan *sarama.ProducerError { return p.shared.Outcomes.Errors }

// Buffered returns how many accepted messages have not had their outcome handed over yet, and the bytes that they and their
// batches are charged. Records of Appenders count as messages, also those in open batches.
func (p *Producer) Buffered() (messages int, bytes int64) {
	return p.shared.Outcomes.Buffered() + p.appenders.records(), p.shared.Budget.Used()
}

// Produce hands over one message whose outcome goes to done, once, in place of Successes, Errors and delivery reports.
//
// It waits while the buffer memory is used up, until ctx ends: then it returns an error that wraps ErrBufferFull and the
// context's error. It also returns what is wrong with a message that can't be sent: no topic, too large. With
// interceptors, which may still mend the message, done gets that error instead. After Close it returns
// sarama.ErrShuttingDown, or done gets it. When it returns an error, done is not called, and the message was not
// taken; otherwise the message and its bytes are the producer's until done is called.
//
// A nil done is allowed. done runs on a goroutine of the producer, one call at a time; it may call everything but Close
// and CloseContext. Order is kept among the calls of one goroutine.
func (p *Producer) Produce(ctx context.Context, msg *sarama.ProducerMessage, done func(*sarama.ProducerMessage, error)) error {
	if msg == nil {
		return sarama.ConfigurationError("Produce of a nil message")
	}
	if done == nil {
		done = func(*sarama.ProducerMessage, error) {}
	}
	completion := &flow.Completion{Done: done, End: p.shared.Trace(ctx, msg)}
	return p.submit(ctx, flow.Record{Msg: msg, Completion: completion, Partition: -1})
}

// submit charges a record on its sender's goroutine, which waits for memory until ctx ends, and passes it on. If it fails, so
// does an open transaction, and the tracer is told.
func (p *Producer) submit(ctx context.Context, rec flow.Record) error {
	err := p.trySubmit(ctx, rec)
	if err == nil {
		return nil
	}
	return p.refused(rec, err)
}

// refused is the outcome of a record that did not enter the pipeline. It returns the error for the user.
func (p *Producer) refused(rec flow.Record, err error) error {
	p.txnFailed(err)
	p.countRefused(rec.Msg.Topic, int64(rec.Size), err)
	err = p.shared.UserError(err)
	p.endTrace(rec.Completion, rec.Msg.Topic, err)
	return err
}

// endTrace tells the tracer of a message that its sender has failed, or taken back.
func (p *Producer) endTrace(c *flow.Completion, topic string, err error) {
	c.EndTrace(p.shared.Log, topic, -1, flow.NoOffset, err)
}

func (p *Producer) trySubmit(ctx context.Context, rec flow.Record) error {
	if err := p.price(&rec); err != nil {
		return err
	}
	if p.shared.Closing() {
		return sarama.ErrShuttingDown
	}
	need := int64(rec.Charge) + flow.RecordOverhead
	if err := p.charge(ctx, need); err != nil {
		return err
	}
	if !p.dispatcher.Direct(rec) {
		p.shared.Budget.Release(need)
		return sarama.ErrShuttingDown
	}
	return nil
}

// submitAll is submit for many records: those that fit are passed on in one go. The ones that can't be are refused.
func (p *Producer) submitAll(ctx context.Context, recs []flow.Record, refused func(rec flow.Record, err error)) {
	var need int64
	good := recs[:0]
	for _, rec := range recs {
		if err := p.price(&rec); err != nil {
			refused(rec, p.refused(rec, err))
			continue
		}
		need += int64(rec.Charge) + flow.RecordOverhead
		good = append(good, rec)
	}
	if p.shared.Budget.Try(need) {
		if !p.dispatcher.Direct(good...) {
			p.shared.Budget.Release(need)
			for _, rec := range good {
				p.countRefused(rec.Msg.Topic, int64(rec.Size), sarama.ErrShuttingDown)
				p.endTrace(rec.Completion, rec.Msg.Topic, sarama.ErrShuttingDown)
				refused(rec, sarama.ErrShuttingDown)
			}
		}
		return
	}
	for _, rec := range good {
		if err := p.submit(ctx, rec); err != nil {
			refused(rec, err)
		}
	}
}

// price sets what a record is charged with, or tells why it can't be sent. Where there are interceptors, which may still
// change the message, the dispatcher has the last word, as it runs them.
func (p *Producer) price(rec *flow.Record) error {
	err := dispatch.Price(p.deps, rec)
	if err != nil && len(p.shared.Conf.Producer.Interceptors) > 0 {
		return nil
	}
	return err
}

// charge takes need bytes of the budget, waiting until ctx ends.
func (p *Producer) charge(ctx context.Context, need int64) error {
	if p.shared.Budget.Try(need) {
		return nil
	}
	place := p.shared.Budget.Wait(need)
	p.shared.WakeLingering() // what lingers is sent: it may be what holds the memory
	select {
	case <-place.Granted():
		return nil
	case <-ctx.Done():
		if !place.Cancel() {
			return nil
		}
		return flow.Errorf("%w: %w", ErrBufferFull, flow.ContextError(ctx))
	}
}

// Flush sends what was accepted before the call without waiting for linger. It returns when the outcome of each such message
// is decided, or when ctx ends, with its error. It does not wait until outcomes are read: a goroutine may flush and then
// read Successes.
func (p *Producer) Flush(ctx context.Context) error {
	p.shared.BeginUrgent()
	defer p.shared.EndUrgent()
	if ctx.Err() != nil {
		return flow.Errorf("flushing: %w", flow.ContextError(ctx))
	}
	p.appenders.each((*Appender).sealAll)
	select {
	case <-p.dispatcher.Barrier(ctx):
		return nil
	case <-ctx.Done():
		return flow.Errorf("flushing: %w", flow.ContextError(ctx))
	}
}

// AsyncClose begins to close the producer and returns at once. What was accepted gets its outcome; Successes and Errors
// must be read on. When everything before the call is handed over and both are empty, all channels are closed. A channel
// that nobody reads keeps them open, as in sarama; Close or CloseContext then reads it. A second call does nothing.
func (p *Producer) AsyncClose() {
	p.closeOnce.Do(func() { go p.shutdown() })
}

// Close delivers what was accepted, drains Successes and Errors, and ends every goroutine of the producer. A transaction that is
// open is aborted; if that fails, it is logged, and the coordinator aborts it after Producer.Transaction.Timeout. It returns
// sarama.ProducerErrors with the failures that it took from Errors, if any. It must not be called by a callback or a
// report, which it would wait for. It may be called more than once.
func (p *Producer) Close() error { return p.CloseContext(context.Background()) }

// CloseContext is Close; when ctx ends, what has no outcome fails with an error that wraps the context's cause. It still
// waits for callbacks and reports that run. Calls that run at the same time, and readers of Errors, each get a part of
// the failures.
func (p *Producer) CloseContext(ctx context.Context) error {
	p.AsyncClose()
	stop := context.AfterFunc(ctx, func() {
		cause := flow.Closed(flow.Errorf("closed before the message was delivered: %w", flow.ContextError(ctx)))
		p.shared.Abort(cause)
		if p.txns != nil {
			p.txns.Stop(cause)
		}
	})
	defer stop()
	go func() {
		for range p.Successes() { //nolint:revive // drained, as sarama does
		}
	}()
	var failed sarama.ProducerErrors
	for err := range p.Errors() {
		failed = append(failed, err)
	}
	<-p.closed
	if len(failed) > 0 {
		return failed
	}
	return nil
}

// shutdown ends the stages in the order of the pipeline. Each step relies on the one before it.
func (p *Producer) shutdown() {
	defer close(p.closed)
	p.shared.BeginUrgent()
	p.shared.BeginClose()
	p.appenders.each((*Appender).sealAll)
	// What was accepted, and what both inputs held, gets its outcome; what comes later is refused from now on.
	<-p.dispatcher.BeginClose()
	p.abortForClose()
	p.shared.Outcomes.WaitRead()
	p.dispatcher.StopInputs()
	// Both outputs are read to their end before anything is closed: who selects on both, and leaves at the first that is
	// closed, has seen every outcome. But the reader may be blocked at an input, which only its end frees.
	p.shared.Outcomes.WaitEmpty(p.dispatcher.InputFull)
	p.dispatcher.CloseInputs()
	p.shared.Outcomes.WaitEmpty(never)
	left := p.dispatcher.Leave()
	// Everything has its outcome; at most an answer is awaited that does not count any more.
	p.shared.Abort(flow.External(sarama.ErrShuttingDown))
	<-left
	p.brokers.Wait()
	p.telemetry.Close()
	if p.identities != nil {
		p.identities.Close()
	}
	if p.txns != nil {
		p.txns.Close()
	}
	p.metadata.Close()
	p.registry.Close()
	p.shared.Outcomes.CloseReports()
	p.shared.Outcomes.Close()
	p.shared.Log.Flush(lastRecords)
}

func never() bool { return false }
