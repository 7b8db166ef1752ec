package sluice

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Option sets what sarama.Config has no place for.
type Option func(*options) error

type options struct {
	bufferMemory    int64
	deliveryTimeout time.Duration
	report          func(DeliveryReport)
	maxInFlight     int
	anyCluster      bool
	maxRequestBytes int
	maxIdle         time.Duration // 0: for ever
	saramaContract  bool
	fromClient      sarama.Client
	status          *Status
	logger          *slog.Logger
	ignored         [][2]string // settings of ConfigFromProperties that do nothing, and why; for the log
	tracer          Tracer
	metricsPush     bool
}

// saramaContract is what the constructors with sarama's names keep to.
var saramaContract = []Option{func(o *options) error { o.saramaContract = true; return nil }}

// Defaults of the options.
const (
	DefaultBufferMemory            = 32 << 20 // bytes
	DefaultDeliveryTimeout         = 2 * time.Minute
	DefaultMaxInFlightPerPartition = 5
	DefaultConnectionsMaxIdle      = 9 * time.Minute
)

// minBufferMemory is room for the outcome of a refused message and a little more.
const minBufferMemory = 1024

// forever caps the delivery timeout, so that adding it to the clock cannot overflow.
const forever = 100 * 365 * 24 * time.Hour

func newOptions(opts []Option) (options, error) {
	o := options{
		deliveryTimeout: DefaultDeliveryTimeout,
		maxInFlight:     DefaultMaxInFlightPerPartition,
		maxIdle:         DefaultConnectionsMaxIdle,
		metricsPush:     true,
	}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&o); err != nil {
			return o, err
		}
	}
	return o, nil
}

// memoryFor is the bound that was asked for, or else the default, or what is needed for the largest messages that conf
// allows: sarama takes those, too.
func (o *options) memoryFor(conf *sarama.Config) int64 {
	if o.bufferMemory > 0 {
		return o.bufferMemory
	}
	return max(DefaultBufferMemory, 4*int64(conf.Producer.MaxMessageBytes))
}

// configError is an error of the configuration or of an option.
func configError(format string, args ...any) error {
	return sarama.ConfigurationError(fmt.Sprintf(format, args...))
}

// WithBufferMemory bounds the memory of messages from Input to outcome, retries included, in bytes. The default is 32 MiB,
// or four times Producer.MaxMessageBytes if that is more. When it is used up, Input blocks, and Produce and SendMessage
// wait.
//
// A small message is charged with twice its size and about 200 bytes, for itself and its part of a batch's buffer, and
// with 256 bytes until its outcome is handed over. So with 100-byte messages 32 MiB hold about 50,000 of them. What
// waits in the buffers of Input and InputBatch comes on top, and up to 12 MiB of unused buffers that all producers of a
// process share. A larger bound than what keeps the brokers busy costs speed.
//
// The bound is strict for messages without an outcome. Outcomes that nobody takes, from Successes, Errors, a report or a
// callback, may hold more. While somebody waits for memory and none is released, the bound grows for them by an eighth every
// 100 ms, up to five times its size in all; the log is told. So a goroutine that reads Errors and sends again what
// failed goes on, and so does a callback that sends. When all five are used up, such a goroutine stands still: send from
// another goroutine than the one that takes outcomes.
//
// The least is 1,024 bytes; less is a sarama.ConfigurationError.
func WithBufferMemory(bytes int64) Option {
	return func(o *options) error {
		if bytes < minBufferMemory {
			return configError("WithBufferMemory(%d): must be >= %d", bytes, minBufferMemory)
		}
		o.bufferMemory = bytes
		return nil
	}
}

// WithDeliveryTimeout bounds a message's whole life, linger and retries included; the default is 2 minutes. A message
// that has no outcome by then fails with ErrDeliveryTimeout, and with ErrOutcomeUnknown if it may have been written.
// Deadlines are checked every d/50, and at least once a second.
func WithDeliveryTimeout(d time.Duration) Option {
	return func(o *options) error {
		if d <= 0 {
			return configError("WithDeliveryTimeout(%v): must be > 0", d)
		}
		o.deliveryTimeout = min(d, forever)
		return nil
	}
}

// DeliveryReport tells the outcome of messages of one batch, or of messages that were refused together.
type DeliveryReport struct {
	Topic string
	// Partition is -1 if none was chosen.
	Partition int32
	// BaseOffset is the offset of the first message if the batch was written and Kafka told it, else -1. A message's
	// own Offset is what counts: it is BaseOffset plus its index only where no message of the batch was sent by
	// Produce or SendMessage.
	BaseOffset int64
	// Messages are in the order of Input. The slice is the report's to keep, or to send again through InputBatch.
	Messages []*sarama.ProducerMessage
	// Err is nil if the messages were written.
	Err error
}

// WithDeliveryReport calls report once a batch, in the order of each partition, from one goroutine of the producer. It
// tells all messages but those of Produce, SendMessage and SendMessages; they go to Successes and Errors too if
// Producer.Return asks for it. The report may call everything of the producer but Close and CloseContext; while it runs,
// later reports and callbacks wait.
func WithDeliveryReport(report func(DeliveryReport)) Option {
	return func(o *options) error {
		o.report = report
		return nil
	}
}

// WithMaxInFlightPerPartition sets how many batches of one partition may be sent and unanswered at a time, from 1 to
// 5; the default is 5. It counts for an idempotent producer only, where it is also the bound of open requests of a
// connection, in place of Net.MaxOpenRequests. Without idempotence one batch of a partition is in flight, so that order
// holds.
func WithMaxInFlightPerPartition(n int) Option {
	return func(o *options) error {
		if n < 1 || n > 5 {
			return configError("WithMaxInFlightPerPartition(%d): must be 1 to 5", n)
		}
		o.maxInFlight = n
		return nil
	}
}

// WithClusterIDCheck sets whether brokers of another cluster are refused; the default is true. The producer belongs to the
// cluster of the first broker that answers it. Before the first message is sent over a new connection, the broker is asked
// for its cluster's id, which costs one round trip. If another cluster has taken over its address, messages wait for a
// broker of the right one, and fail with ErrOtherCluster when they are given up. An id that either side does not tell is
// not checked.
//
// Switch it off if a name is to be moved to another cluster while producers run.
func WithClusterIDCheck(check bool) Option {
	return func(o *options) error {
		o.anyCluster = !check
		return nil
	}
}

// minRequestBytes is room for a request's header and a small message.
const minRequestBytes = 4096

// WithMaxRequestBytes bounds a produce request, its header and all its batches included, in bytes, as Java's
// max.request.size does: for a broker or a proxy that closes the connection on larger ones (socket.request.max.bytes;
// Event Hubs: 1,046,528). Producer.MaxMessageBytes is lowered so that a batch fits in, and larger messages are refused
// with sarama.ErrMessageSizeTooLarge. The default is sarama.MaxRequestSize, 100 MiB; a larger value counts as that. At
// least 4,096, else a sarama.ConfigurationError.
func WithMaxRequestBytes(n int) Option {
	return func(o *options) error {
		if n < minRequestBytes {
			return configError("WithMaxRequestBytes(%d): must be >= %d", n, minRequestBytes)
		}
		o.maxRequestBytes = n
		return nil
	}
}

// WithConnectionsMaxIdle bounds how long a connection may be open with nothing under way, as Java's connections.max.idle.ms
// does. Then the producer closes it, and the next request dials; nothing fails or is looked up for that. It counts for
// produce connections and for that of look-ups. The default is 9 minutes, a minute less than brokers' own; choose less than
// what a firewall or a load balancer allows (AWS NLB: 350 s, Azure: 240 s), since those may drop a connection without a
// word. A negative d is for ever. 0 is a sarama.ConfigurationError.
func WithConnectionsMaxIdle(d time.Duration) Option {
	return func(o *options) error {
		if d == 0 {
			return configError("WithConnectionsMaxIdle(0): must be > 0, or negative for connections that are never closed")
		}
		o.maxIdle = min(max(d, 0), forever)
		return nil
	}
}

// WithLogger makes l the producer's log, in place of sarama.Logger, which is the default and what nil means. l gets one record a
// change of state: a connection was made or lost, a leader moved, a partition is retried, all is well again. docs/logs.md lists all
// events, and what to do. A state that lasts is logged once, then at growing intervals: a broker that is down for an hour costs some
// tens of records. No record has a message's key, value or headers, or a secret.
//
// At the debug level there is also a record a request. The handler's Enabled is asked for that level once a second.
//
// The producer does not wait for l: a goroutine calls the handler, which may call the producer. Up to 1,000 records wait for it; more
// are dropped and counted. Close waits for the last records, for a second at most. A panic of the handler goes to
// sarama.PanicHandler, and ends the program if there is none.
//
// What happens before there is a producer, or concerns several, also goes to sarama.Logger: ConfigFromProperties, TLSFiles, package
// oauth.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error {
		o.logger = l
		return nil
	}
}

// WithMetricsPush sets whether the producer pushes metrics to brokers that ask for them (KIP-714), like Java's enable.metrics.push. The
// default is true. Brokers ask only if their operator has set up a receiver and a subscription; others get no request.
//
// The producer pushes at the broker's interval, 5 minutes by default, over a connection of its own, and once more at Close, which
// waits for it for a second at most. docs/telemetry.md lists the metrics. They hold nothing of a message, and no topic's name.
//
// The constructors with sarama's names push nothing.
func WithMetricsPush(push bool) Option {
	return func(o *options) error {
		o.metricsPush = push
		return nil
	}
}

// flowReport makes the report that the outcome stage calls; nil if none is wanted.
func (o *options) flowReport() func(flow.Report) {
	if o.report == nil {
		return nil
	}
	report := o.report
	return func(r flow.Report) { report(DeliveryReport(r)) }
}
