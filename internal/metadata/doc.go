// Package metadata finds brokers, partitions and leaders. One look-up goroutine sends the Metadata requests, over
// connections of its own, and publishes immutable snapshots. Everyone else reads these without a lock, and asks for
// look-ups without waiting. So a silent broker delays a look-up, never a stage of the pipeline. The package promises no
// compatibility.
//
// # Settings
//
// Metadata.Retry.Max, Retry.Backoff, Retry.BackoffFunc, RefreshFrequency, Timeout and AllowAutoTopicCreation mean what
// they mean in sarama; but only a look-up that a message waits for may create its topic. With Metadata.Full the first
// request asks for all topics, and a topic in its answer needs no look-up before it is used. Later requests ask for
// watched topics only. Topics that nobody watches are dropped by the next periodic refresh, when they are more than the
// watched ones, and when one of them is watched again. Metadata.SingleFlight has no effect: there is one look-up round
// at a time, which may ask several brokers side by side.
//
// # Goroutines
//
//	loop    started by Start, ended by Close. Owns the watched topics, the spacing, the retries, and alone publishes
//	        snapshots. Waits for requests, its timer, the answer of a round and Close only.
//	round   started by the loop, one at a time. Ends with its answer, its deadline or Close. Owns the client, and with
//	        it the connection, until it answers. Waits for its attempts.
//	attempt started by the round, one for each broker that it asks, side by side. Ends before the round does. Waits for the
//	        network.
//	reseed  started by a round that no broker answered, one at a time. Asks the user's client for more seeds; Close does
//	        not wait for it.
package metadata
