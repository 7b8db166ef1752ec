// Package brokerproducer is the stage of one broker. It promises no compatibility.
//
// A partition producer opens a Session here and sends its runs of records through it. The session's loop encodes them into
// batches and collects one request at a time. The network goroutine compresses the batches, numbers them and writes the
// request; its answers come back to the loop, which decides the outcomes. When the session ends, the partition producer
// gets back, in order, all that has no outcome.
//
// Where to look:
//
//	producer.go  the broker producer and the pool of all
//	session.go   a partition's session, its batches and its result; mailbox.go: what is sent to the loop
//	loop.go      the select loop; open.go: records into batches; bridge.go: batches into a request
//	network.go   the network goroutine; claims.go: which of both has a batch while it is written
//	answered.go  what the loop does with an ended request; verdict.go: the rules for that; answers.go: error codes
//	outcomes.go  outcomes; expire.go: deadlines and abort; close.go: the end of a session
//	sizes.go     how large a request may be; limits.go: how large a topic's batches may be; metrics.go: sarama's metrics
package brokerproducer
