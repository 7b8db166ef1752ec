// Package sluice is a Kafka producer with sarama's API and types, and a pipeline of its own underneath. A program that
// uses sarama's producer changes one constructor call.
//
// # The pipeline
//
//	Input ─────▶ dispatcher ─▶ topic ─▶ partition producer ─▶ broker producer ─(bridge)─▶ network ─▶ broker
//	InputBatch ─▶    ▲         one a    one a   select loop,                goroutine    │
//	Produce ─────────┘         topic    partition  produce set                 │         │
//	SendMessage                                        ▲                  writes frames  │
//	                                                   └──── answers ◀──── reader ◀──────┘
//	Successes ◀┐                                       │
//	Errors    ◀┼─ outcomes ◀── fates of batches ◀──────┘
//	reports   ◀┘
//
// Messages travel in runs: after one blocking receive a stage takes what is already waiting, and hands it on together.
// The dispatcher makes the run, and each stage hands on what it got, copied only where it has to be divided.
// Between the stages are mailboxes: putting never blocks, the owner takes all at once. They have no bound of their own,
// because the memory budget (WithBufferMemory) bounds what is in all of them. On the way of a message only two
// goroutines may wait for more than their own mailbox and timers: the dispatcher, for memory, and a broker's network
// goroutine, for its socket and its window of open requests. So no two stages can wait for each other, and a dead
// broker stops its own partitions only, until the budget is used up.
//
// # Goroutines
//
//	dispatcher    one. Started by the constructor, ended by Close. Waits for the inputs, for Produce, for control
//	              (Flush, Close), and for memory. Runs the user's interceptors, and the encoders' Length for the
//	              inputs; Produce and SendMessage run Length on their callers' goroutines.
//	topic         one a topic. Started with the topic's first message, ended by the dispatcher's end. Waits for its
//	              mailboxes and a timer (partition producers held back, deadlines before the first look-up). Runs the user's
//	              partitioner. Sends to the broker producer itself, for partition producers that have direct it their session. A
//	              topic that was written to once is kept until Close.
//	partition producer          one a partition. Started with the partition's first message, ended by the topic's end, after the
//	              broker producer has handed its last session back. Waits for its mailboxes and a timer (back-off,
//	              deadline). It owns the order of its partition. While all is well it lets the topic send directly to its session to the topic
//	              and sleeps; whatever goes wrong wakes it, and it takes the session back before it ends it. The
//	              two share a lock, under which nothing blocks.
//	loop          one a broker that a partition producer is at. Started by the first partition producer's session there, ended when the last
//	              one has ended. Waits for its mailbox and two timers (linger, deadlines). Runs the user's encoders.
//	network       one a loop. Ended by the loop, which closes the bridge. Waits for the bridge; dials; waits for the
//	              window and the socket. Compresses, on as many goroutines as there are processors, which it waits for.
//	reader        one a connection (internal/wire). Ended by the connection's end. Waits for the broker's answers.
//	              While a connection is made there are two more, for SASL and for a proxy's dialer that knows no
//	              context; the latter ends when the dialer returns.
//	look-up       one (internal/metadata), and one more for each request that it has under way. Started by the
//	              constructor, ended by Close. Waits for requests to look a topic up, timers, and brokers.
//	identity      one (internal/txn) while an idempotent producer asks for a producer id. Started by the constructor,
//	              ended by the answer, or by Close. Waits for brokers and a timer (back-off).
//	successes     one. Waits for its mailbox and for the reader of Successes. Ended by Close, when the channel has
//	              taken everything.
//	errors        one. The same for Errors.
//	reports       one. Waits for its mailbox; runs the user's delivery reports and callbacks.
//	shutdown      one, from AsyncClose to the end of all others; with it one that waits for topics and partition producers, and one
//	              for each Close that drains Successes.
//
// A panic of the user's partitioner or encoder fails one message; of an interceptor it is logged, as in sarama; of a
// callback, a report or a BackoffFunc it goes to sarama.PanicHandler, and ends the program if there is none.
//
// # Order and outcomes
//
// Every accepted message has exactly one outcome: its callback (Produce), its caller (SendMessage), or else the
// delivery report and the channels that Producer.Return asks for. A partition's log has the order of Input, of
// InputBatch, and of the calls of one goroutine to Produce and SendMessage; there is no order between these.
//
// Until its outcome a message is the producer's, with the bytes of its key, value and headers. Where nothing is compressed,
// values beyond 8 KiB are not copied but written from there: who changes one earlier may have the change written, or the
// whole batch refused. Where nothing tells the outcome, the bytes are free after Close.
//
// Without idempotence one batch of a partition is in flight at a time. A broker that still works on the request of a
// lost connection may write it after its successor: only idempotence excludes that.
//
// # Settings of sarama.Config
//
// Honoured as in sarama: Producer.MaxMessageBytes, RequiredAcks, Timeout, Compression, CompressionLevel, Partitioner,
// Return, Flush, Retry.Backoff, Retry.BackoffFunc, Idempotent, Interceptors; all of Net, but for what is said below; Metadata.Retry,
// RefreshFrequency, Timeout and AllowAutoTopicCreation; ClientID, ChannelBufferSize, Version, ApiVersionsRequest and
// MetricRegistry, with sarama's metric names. Of a request with more than 64 batches, batch-size and compression-ratio
// measure every n-th.
//
// Refused: Producer.Transaction.ID, as transactions are not supported yet, and RequiredAcks above 1.
//
// Without a meaning here:
//
//   - Producer.Retry.MaxBufferLength and MaxBufferBytes: there is no buffer of retries besides the memory that
//     WithBufferMemory bounds, which counts them.
//   - Metadata.Full, but for the first request, which asks for all topics: later ones ask for those that are written to.
//   - Metadata.SingleFlight: look-ups are always shared.
//   - Net.ResolveCanonicalBootstrapServers: addresses are dialled as they are given.
//   - RackID, Admin and Consumer: they are not about producers.
//
// docs/from-sarama.md has what is different from sarama.
package sluice
