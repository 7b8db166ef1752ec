// Command transactions reads a topic, transforms each message, and writes the result to another topic, exactly once: it can be
// stopped or killed at any point, and started again, and nothing is lost or doubled for those who read committed messages
// (sarama.ReadCommitted). The offsets of what was read are committed in the transaction with what was written (KIP-98, KIP-447).
//
// Without flags it does so with three lines and a Kafka within the process, and ends.
//
// Several processes may share the work. Each has a transactional id of its own, which stays the same when it is restarted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/examples/internal/embedded"
)

func main() {
	brokers := flag.String("brokers", "", "the cluster's brokers, comma-separated; without it: a Kafka in this process")
	from := flag.String("from", "lines", "the topic to read")
	to := flag.String("to", "upper-case-lines", "the topic to write to")
	group := flag.String("group", "upper-case", "the consumer group")
	id := flag.String("transactional-id", "upper-case-1", "of this process, and of no other one")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	addrs, end := embedded.Start(*brokers, *from, *to)
	defer end()
	conf := config(*id)
	if *brokers == "" {
		if err := demonstrate(ctx, addrs, conf, *from, *to, *group, os.Stdout); err != nil {
			log.Fatalln(err)
		}
		return
	}
	if err := run(ctx, addrs, conf, *from, *to, *group); err != nil {
		log.Fatalln(err)
	}
}

// demonstrate writes some lines to the topic that is read, and works until all of them are in the other one.
func demonstrate(ctx context.Context, brokers []string, conf *sarama.Config, from, to, group string, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	lines := []string{"one", "two", "three"}
	producer, err := sluice.New(brokers, sluice.NewConfig())
	if err != nil {
		return err
	}
	defer producer.Close()
	for _, line := range lines {
		if _, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: from, Value: sarama.StringEncoder(line)}); err != nil {
			return err
		}
	}
	worked := make(chan error, 1)
	go func() {
		defer stop() // there is nothing to wait for any more
		worked <- run(ctx, brokers, conf, from, to, group)
	}()
	printErr := printCommitted(ctx, brokers, conf, to, len(lines), out)
	stop()
	return errors.Join(printErr, <-worked)
}

// printCommitted prints the first n messages of a topic that are committed.
func printCommitted(ctx context.Context, brokers []string, conf *sarama.Config, topic string, n int, out io.Writer) error {
	consumer, err := sarama.NewConsumer(brokers, conf)
	if err != nil {
		return err
	}
	defer consumer.Close()
	partitions, err := consumer.Partitions(topic)
	if err != nil {
		return err
	}
	messages := make(chan *sarama.ConsumerMessage)
	for _, partition := range partitions {
		reader, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
		if err != nil {
			return err
		}
		defer reader.Close()
		go func() {
			for msg := range reader.Messages() {
				select {
				case messages <- msg:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	for range n {
		select {
		case msg := <-messages:
			fmt.Fprintf(out, "%s\n", msg.Value)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// config suits both the producer and the consumer.
func config(id string) *sarama.Config {
	c := sluice.NewConfig()
	c.ClientID = id
	c.Producer.Transaction.ID = id

	c.Version = sarama.V2_5_0_0                      // before, sarama's consumers can't ask for stable offsets
	c.Consumer.IsolationLevel = sarama.ReadCommitted // reads no aborted messages, and asks for stable offsets
	c.Consumer.Offsets.AutoCommit.Enable = false     // only transactions commit offsets
	c.Consumer.Offsets.Initial = sarama.OffsetOldest // of a partition without a committed offset
	return c
}

// run works until ctx ends, or until the producer can't go on, because another one has its transactional id.
func run(ctx context.Context, brokers []string, conf *sarama.Config, from, to, group string) error {
	// The producer comes first. With it, what an earlier process with this id has left open is aborted, and what that one
	// was committing is committed. Only then are its offsets known.
	producer, err := sluice.New(brokers, conf)
	if err != nil {
		return err
	}
	defer producer.Close()
	consumer, err := sarama.NewConsumerGroup(brokers, group, conf)
	if err != nil {
		return err
	}
	defer consumer.Close()

	t := &transformer{producer: producer, group: group, to: to}
	for {
		// A session ends with ctx, when the group's partitions are shared out anew, and when a transaction has failed. The
		// next one begins at the committed offsets: what was aborted is read again. These may take a while to be stable,
		// where another process was killed; until then Consume returns an error.
		err := consumer.Consume(ctx, []string{from}, t)
		if ctx.Err() != nil {
			return nil
		}
		if t.fatal != nil {
			return t.fatal
		}
		if err != nil {
			log.Println("reading:", err)
		}
		if err != nil || t.failed {
			select {
			case <-time.After(conf.Consumer.Retry.Backoff):
			case <-ctx.Done():
				return nil
			}
		}
	}
}
