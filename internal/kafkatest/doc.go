//go:build unix

// Package kafkatest starts a real Apache Kafka for tests, one node or several, in KRaft mode with combined roles. It
// needs java (17 or newer) and, the first time, mvn to fetch the jars into the user's cache folder. Where they are
// missing a test is skipped; with SLUICE_REQUIRE_KAFKA=1 it fails. Each version of Kafka has a folder of its own there.
//
// A node's broker id is its index. So a test can kill a partition's leader by its id.
//
// Each node is a process group of its own. One goroutine starts it and waits for its end (process.go). The test's clean-up
// kills every node. If the test binary itself is killed, Linux kills the nodes (PR_SET_PDEATHSIG), and the next run that
// takes the same slot removes their data (slot.go).
package kafkatest
