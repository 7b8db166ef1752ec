// Command sync sends the lines of standard input one at a time, each when the one before is known to be written, and
// tells where it was written to. Nothing but the constructor tells it from a program that uses sarama.
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
)

func main() {
	brokers := flag.String("brokers", "localhost:9092", "the cluster's brokers, comma-separated")
	topic := flag.String("topic", "my-topic", "the topic to write to")
	flag.Parse()

	config := sarama.NewConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true                                       // sarama wants it of a SyncProducer
	producer, err := sluice.NewSyncProducer(strings.Split(*brokers, ","), config) // was: sarama.NewSyncProducer
	if err != nil {
		log.Fatalln(err)
	}
	if err := errors.Join(run(producer, *topic, os.Stdin, os.Stdout), producer.Close()); err != nil {
		log.Fatalln(err)
	}
}

func run(producer sarama.SyncProducer, topic string, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		partition, offset, err := producer.SendMessage(&sarama.ProducerMessage{
			Topic: topic,
			Value: sarama.StringEncoder(lines.Text()),
		})
		if err != nil {
			return fmt.Errorf("sending %q: %w", lines.Text(), err)
		}
		fmt.Fprintf(out, "%s/%d/%d: %s\n", topic, partition, offset, lines.Text())
	}
	return lines.Err()
}
