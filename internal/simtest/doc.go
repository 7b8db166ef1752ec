// Package simtest runs the whole producer in a testing/synctest bubble against an in-process cluster, under faults that
// are drawn from a seed, then reads the log back and checks every promise about it.
//
//	go test ./internal/simtest                                 200 seeds
//	go test ./internal/simtest -seeds 10000                    more
//	go test ./internal/simtest -run TestSim -seed 17 -v        one, with a trace of what happened
//	go test ./internal/simtest -run TestMutations -mutations   that deliberate mistakes are caught
//
// # What is real
//
// The producer is built by its public constructors, and nothing of it is replaced. The cluster is kfake on its virtual
// network. Between the two stands a proxy for each connection (proxy_test.go): it reads whole requests, as a broker's
// socket would, and then lets faults happen to them: lost before or after the append, answered late or never, refused,
// throttled, cut off in the middle. A schedule moves leaders, takes brokers away, and breaks metadata meanwhile. Time is
// the bubble's: an hour of retries takes no time, and a deadlock or a goroutine that is left ends the run.
//
// # A run is a function of its seed
//
// Settings, senders, schedule and each connection's faults come from generators seeded with it. What is not: how the
// runtime orders goroutines that are awake at the same instant, and the producer's own random choices. So a failing
// seed fails again most of the time, not always.
//
// # Where kfake is not Kafka
//
//   - It keeps a producer's epoch once, not once a partition: after a bump in one partition it refuses the old epoch in
//     all others. The proxy gives it another producer id for every partition, and so it keeps what Kafka keeps.
//   - Its sequences wrap one early. No run comes near the wrap; the scripts of package dispatch do.
//   - It answers a duplicate as a success with the first offset, as brokers do that still know the batch. The proxy
//     turns some of these answers into DUPLICATE_SEQUENCE_NUMBER without an offset, as older ones do.
//   - It has no replicas: what is in the log stays there. So for acks=1 the checks are stricter than Kafka's promise.
//
// # Lies that no broker would tell
//
// Faults are only ever such as a broker could cause. A refusal that says "not written" is never given for a batch that
// the proxy has appended under that answer. OUT_OF_ORDER_SEQUENCE_NUMBER, UNKNOWN_PRODUCER_ID and
// INVALID_PRODUCER_EPOCH are made up only for numbers that no broker has seen before.
package simtest
