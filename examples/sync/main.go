// Command sync is the program that sarama's documentation shows for a SyncProducer: it sends the lines of standard input
// one at a time, each when the one before is known to be written, and tells where it was written to. It is written
// against sarama's types; the line that makes it use sluice is the one with the constructor. Without flags and without
// input it sends three lines to a Kafka within the process.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/examples/internal/embedded"
)

var newSyncProducer = sluice.NewSyncProducer // was: sarama.NewSyncProducer

func main() {
	brokers := flag.String("brokers", "", "the cluster's brokers, comma-separated; without it: a Kafka in this process")
	topic := flag.String("topic", "my-topic", "the topic to write to")
	flag.Parse()

	addrs, stop := embedded.Start(*brokers, *topic)
	defer stop()
	var in io.Reader = os.Stdin
	if *brokers == "" && !embedded.Piped(os.Stdin) {
		in = strings.NewReader("one\ntwo\nthree\n")
	}
	if err := run(addrs, *topic, in, os.Stdout); err != nil {
		log.Fatalln(err)
	}
}

func run(brokers []string, topic string, in io.Reader, out io.Writer) (err error) {
	producer, err := newSyncProducer(brokers, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, producer.Close()) }()

	lines := bufio.NewScanner(in)
	for lines.Scan() {
		msg := &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(lines.Text())}
		partition, offset, err := producer.SendMessage(msg)
		if err != nil {
			fmt.Fprintf(out, "%s: not sent: %v\n", lines.Text(), err)
			continue
		}
		fmt.Fprintf(out, "%s: %s/%d/%d\n", lines.Text(), topic, partition, offset)
	}
	return lines.Err()
}
