// Package integration holds the tests of the whole producer against a real Apache Kafka (internal/kafkatest). What was
// written is read back with clients that share no code with the producer: franz-go's, which tells how a record was
// stored, and sarama's.
package integration
