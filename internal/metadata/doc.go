// Package metadata finds brokers, partitions and leaders. One look-up goroutine makes the Metadata requests, over
// connections of its own, and publishes immutable snapshots; everyone else reads them without a lock, asks for
// look-ups without waiting, and is told of the end of each round. So a silent broker holds up a look-up, never a stage
// of the pipeline. The package promises no compatibility.
//
// # Settings
//
// Metadata.Retry.Max, Retry.Backoff, Retry.BackoffFunc, RefreshFrequency, Timeout and AllowAutoTopicCreation mean what
// they mean in sarama. With Metadata.Full the first request asks for all topics, and a topic that it tells of needs no
// look-up before it is used. After that only topics that are watched are asked for; what was told of others is dropped
// at the first periodic refresh, and kept if RefreshFrequency is 0. Metadata.SingleFlight has no meaning here: there is
// never more than one request under way.
//
// # Goroutines
//
//	loop    started by Start, ended by Close. Sole owner of watches, spacing, retries and of the snapshot's next
//	        value. Waits for its wake-up, its timer, the answer of a round and Close only.
//	round   started by the loop, one at a time; ended by its answer, its deadline or Close. It is direct the finder,
//	        with the connection, and gives it back with its answer. Waits for the network.
package metadata
