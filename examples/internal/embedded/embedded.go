// Package embedded lets the examples run without a broker.
package embedded

import (
	"log"
	"os"
	"strings"

	"github.com/sluice-kafka/sluice/mocks"
)

// Start returns the brokers that a flag names, comma-separated, or those of a Kafka within this process if it names none,
// which keeps nothing. That one has the topics; stop ends it.
func Start(brokers string, topics ...string) (addrs []string, stop func()) {
	if brokers != "" {
		return strings.Split(brokers, ","), func() {}
	}
	opts := []mocks.ClusterOption{mocks.WithBrokers(1)}
	for _, topic := range topics {
		opts = append(opts, mocks.WithTopic(topic, 2))
	}
	cluster, err := mocks.StartCluster(opts...)
	if err != nil {
		log.Fatalln(err)
	}
	log.Println("without -brokers: a Kafka within this process, which keeps nothing")
	return cluster.Brokers(), cluster.Close
}

// Piped tells whether a file is a pipe or a file on disk, not a terminal and not
// /dev/null.
func Piped(in *os.File) bool {
	info, err := in.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}
