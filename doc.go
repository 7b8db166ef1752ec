// Package sluice sends messages to Kafka. It has the API and the types of sarama's producer, and is new underneath.
//
// # How to use it
//
// Make one producer for a program, with [New], and close it at the end. It may be used by any number of goroutines.
//
//	producer, err := sluice.New([]string{"localhost:9092"}, sluice.NewConfig())
//	if err != nil {
//		return err
//	}
//	defer producer.Close()
//
// Then send in the way that suits:
//
//   - [Producer.SendMessageContext]: one message; returns when it is written, failed, or ctx ended.
//   - [Producer.Produce]: one message; calls a function with its outcome.
//   - [Producer.Input], [Producer.Successes], [Producer.Errors]: channels, as sarama's AsyncProducer has them.
//   - [Producer.InputBatch] and [WithDeliveryReport]: many messages in one operation, and their outcomes in one call.
//   - [NewAppender]: records that are bytes already, copied into batches as they are. Several times as fast as messages.
//   - [NewTyped]: keys and values of types of your own, with serializers, as in Java and Python.
//   - [Producer.Transact]: all or nothing.
//
// A program that uses sarama's producer changes one constructor call, and keeps the rest:
//
//	producer, err := sluice.NewAsyncProducer(brokers, config) // was sarama.NewAsyncProducer
//
// [NewAsyncProducer], [NewAsyncProducerFromClient], [NewSyncProducer] and [NewSyncProducerFromClient] have sarama's types
// and keep sarama's contract. What they return is a [*Producer] underneath.
//
// [NewConfig] has the settings that we recommend; any *sarama.Config will do, and the With functions set what that has no
// place for. Compare errors with errors.Is; [IsRetriable] tells whether to send a message again, [ErrOutcomeUnknown] that it
// may be written. Package mocks has what tests need: a mock of *Producer, and a Kafka in the process.
//
// # Order and outcomes
//
// Every accepted message has exactly one outcome: its callback (Produce), its caller (SendMessage), or else the delivery
// report and the channels that Producer.Return asks for. A partition's log has the order of Input, of InputBatch, and of
// the calls of one goroutine to Produce and SendMessage. There is no order between these.
//
// An [Appender] keeps the order of its own records in each partition. They belong to no message: their outcomes come to its report, and
// its bytes are the caller's again as Append returns.
//
// Until its outcome a message is the producer's, with the bytes of its key, value and headers. Values beyond 8 KiB that
// are not compressed are written from there, without a copy: if you change one earlier, the broker may get the change, or
// reject the whole batch. If neither Producer.Return nor a report tells you the outcome, do not reuse the bytes before Close
// has returned.
//
// Without idempotence one batch of a partition is in flight at a time. A broker that still works on the request of a
// lost connection may write it after its successor: only idempotence (Producer.Idempotent) prevents that.
//
// A panic of the user's partitioner or encoder fails one message. A panic of an interceptor or a tracer is logged, as
// sarama does. A panic of a callback, a report or a BackoffFunc goes to sarama.PanicHandler, and ends the program if there is none.
//
// # Transactions
//
// Producer.Transaction.ID makes a transactional producer. Its constructor returns when it has its producer id: earlier
// instances with the same id are fenced then. Between BeginTxn and CommitTxn or AbortTxn every message and every offset that is
// added belongs to the transaction. [Producer.Transact] does all of it in one call.
//
//   - A message that fails, or whose outcome is unknown, makes the transaction abortable: CommitTxn returns an error that wraps
//     the first cause, AbortTxn is what remains, and the producer goes on after it. See [IsTxnAbortable].
//   - After a fatal error the producer is of no more use: see [IsTxnFatal].
//   - CommitTxn waits for outcomes, not until they are read. It returns nil only if the transaction is committed.
//   - Close aborts the transaction that is open.
//
// Whoever consumes offsets that a transaction commits must make the producer before it fetches them, and read with
// Consumer.IsolationLevel sarama.ReadCommitted, or it may read what an earlier instance is about to abort.
//
// # Logs, metrics and traces
//
// Each has a page, which lists all that there is:
//
//   - [WithLogger]: a *slog.Logger in place of sarama.Logger. docs/logs.md says what each event means, and what to do.
//   - [Producer.Stats]: what the producer holds, what it has done, and how long batches took in each stage; also as gauges in
//     MetricRegistry, beside sarama's metrics (docs/metrics.md). Module github.com/sluice-kafka/sluice/prometheus has a collector, a
//     dashboard and alerts.
//   - [WithTracer]: is called when a message begins and ends. Module github.com/sluice-kafka/sluice/otel has a tracer for
//     OpenTelemetry.
//   - [WithMetricsPush]: some metrics go to brokers that ask for them (KIP-714); docs/telemetry.md.
//
// # Settings of sarama.Config
//
// Honoured as in sarama: Producer.MaxMessageBytes, RequiredAcks, Timeout, Compression, CompressionLevel, Partitioner,
// Return, Flush, Retry, Idempotent, Transaction, Interceptors, and all of Net, but for what is said below;
// Metadata.Retry, RefreshFrequency, Timeout and AllowAutoTopicCreation; ClientID, ChannelBufferSize, Version,
// ApiVersionsRequest and MetricRegistry, with sarama's metric names. Of a request with more than 64 batches, batch-size
// and compression-ratio measure every n-th.
//
// Different:
//
//   - Producer.Flush.Bytes and Messages without Frequency: what never comes to that size is sent after half of the delivery
//     timeout.
//   - Producer.Retry.Max counts attempts that were sent and failed. Through New, a failed dial or look-up is none.
//   - Producer.Retry.BackoffFunc gets retries from 1 to Retry.Max, 30 at most.
//   - Net.MaxOpenRequests bounds a connection's open requests without Idempotent. With it, WithMaxInFlightPerPartition
//     counts.
//   - Producer.Transaction.Retry paces the asking for a producer id. Its Max counts with sarama's constructors; through New a
//     request of a transaction is tried again until Producer.Transaction.Timeout is over.
//
// Refused: RequiredAcks above 1.
//
// Without a meaning here:
//
//   - Producer.Retry.MaxBufferLength and MaxBufferBytes: there is no buffer of retries besides the memory that
//     WithBufferMemory bounds, which counts them.
//   - Metadata.Full, but for the constructor's request, which asks for all topics: later ones ask for those that are written
//     to. Sarama's FromClient constructors make no request.
//   - Metadata.SingleFlight: look-ups are always shared.
//   - Net.ResolveCanonicalBootstrapServers: addresses are dialled as they are given.
//   - RackID, Admin and Consumer: they are not about producers. Pushed metrics (WithMetricsPush) name the RackID.
//
// docs/from-sarama.md has what is different from sarama.
package sluice
