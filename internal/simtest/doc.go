// Package simtest runs the whole producer in a testing/synctest bubble against an in-process cluster, under faults that
// are drawn from a seed, then reads the log back and checks every promise about it.
//
//	go test ./internal/simtest                                           200 seeds, and 2,000 of transactions
//	go test ./internal/simtest -run 'TestSim$' -seeds 10000 -from 201    more, from another one on
//	go test ./internal/simtest -run 'TestTxn$' -seed 17 -v               one, with a trace of what happened
//	go test ./internal/simtest -run TestMutations -mutations             that deliberate mistakes are caught
//
// # What is real
//
// The producer is built by its public constructors, and nothing of it is replaced. The cluster is kfake on its virtual
// network. Between the two stands a proxy for each connection (proxy_test.go): it reads whole requests, as a broker's
// socket would, and then lets faults happen to them: lost before or after the append, answered late or never, refused,
// throttled, cut off in the middle. A schedule moves leaders, takes brokers away, and breaks metadata meanwhile. Time is
// the bubble's: an hour of retries takes no time, and a deadlock or a goroutine that is left ends the run.
//
// # Faults that last
//
// Most faults end before the producer is closed, and so does all that they hid. Some may go on to the end of the run, so
// that no message is delivered by waiting for better times (leaders_test.go, lasting_test.go):
//
//   - A leader that was deposed and does not know it answers NOT_ENOUGH_REPLICAS or REQUEST_TIMED_OUT, which say nothing
//     about the leader. With acks 0 and 1 there is none: what it would acknowledge is lost, and no producer can help that.
//   - A broker's metadata lag behind: an old leader, none, or no such topic. It is one broker, and another that it
//     knows of knows better.
//   - Leader epochs begin again at 1, under the same topic ids. In such a run a broker lags for a while only, for with two
//     brokers that do not agree neither is believed.
//   - Brokers take no producer epoch that they have not given out themselves.
//   - Brokers close the connection on a request above their own limit, before or after all of it was taken from the
//     producer.
//
// A run of 200 seeds or more fails if one of these is met in few of them, so that they can't get lost unnoticed.
//
// # Transactions
//
// TestTxn has runs of its own (txn_scenario_test.go). A program uses transactional producers as their documentation allows
// (txn_program_test.go, txn_body_test.go, txn_end_test.go): it begins, sends from several goroutines, adds offsets, commits or
// aborts, alone or by Transact, with contexts that end; it aborts what can only be aborted, repeats a commit that has no answer or
// gives it up, and replaces a producer that can't go on. Sometimes a rival takes the transactional id, and may have a
// transaction open when the older producer ends. Some goroutines send whether or not there is a transaction.
//
// Between the proxies and kfake stands a transaction coordinator with Kafka's states and answers (txn_coordinator_test.go). kfake
// keeps the log, the markers and the groups' offsets, and is asked for the same things, so that both have the same epoch. The
// coordinator has both versions, and may be upgraded in the middle; it moves, loads, times transactions out, writes markers for a
// while after its answer, and may do a request that it refuses, or much later one whose connection was lost (a stray).
//
// It checks what every request must keep (txn_rules_test.go): the versions of requests, that a transaction has one version, that
// a partition is added before it is written to and not twice, offsets only after their group, that an EndTxn without an answer is
// repeated as it was, that nobody has an epoch that was not given, and that an older producer does not take the id back.
//
// After the run the log is read as it is, and as read-committed readers get it (txn_check_test.go): each message of a committed
// transaction is there once, in order, with the transaction's offsets; nothing of another is; an unknown one is there as a whole
// or not at all; no transaction is left open. When faults are over, a transaction has to be committed.
//
// What no producer can help, the coordinator does not do: a stray InitProducerId would fence its own producer, and with brokers of
// 2.4, which can't give it another epoch, any stray could reach its next transaction. And where a stray reached the coordinator
// between a transaction and the next epoch, the producer may be fenced, but no promise may break.
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
//     all others. The proxy gives it another producer id for every partition, and so it keeps what Kafka keeps. With
//     transactions it has the real id, whose epoch the coordinator gives for all partitions.
//   - Its sequences wrap one early. No run comes near the wrap; the scripts of package dispatch do.
//   - It answers a duplicate as a success with the first offset, as brokers do that still know the batch. The proxy
//     turns some of these answers into DUPLICATE_SEQUENCE_NUMBER without an offset, as older ones do.
//   - It ends transactions at once, takes a transactional id back for an older producer, and answers a commit of nothing with
//     success. The simulator's own coordinator decides about all of that.
//   - Its leader epochs never go back. The proxy adds 100 to them, and takes that and more away when they begin again.
//   - It has no replicas: what is in the log stays there. So for acks=1 the checks are stricter than Kafka's promise.
//
// # Lies that no broker would tell
//
// Faults are only ever such as a broker could cause. A refusal that says "not written" is never given for a batch that
// the proxy has appended under that answer. OUT_OF_ORDER_SEQUENCE_NUMBER and UNKNOWN_PRODUCER_ID are made up only for
// numbers that no broker has seen before. Brokers that take no raised epoch take none throughout the run.
package simtest
