// Command transactions reads a topic, transforms each message, and writes the result to another topic, exactly once: it can be
// stopped or killed at any point, and started again, and nothing is lost or doubled for those who read committed messages
// (sarama.ReadCommitted). The offsets of what was read are committed in the transaction with what was written (KIP-98, KIP-447).
//
// Several processes may share the work. Each has a transactional id of its own, which stays the same when it is restarted.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

func main() {
	brokers := flag.String("brokers", "localhost:9092", "the cluster's brokers, comma-separated")
	from := flag.String("from", "lines", "the topic to read")
	to := flag.String("to", "upper-case-lines", "the topic to write to")
	group := flag.String("group", "upper-case", "the consumer group")
	id := flag.String("transactional-id", "upper-case-1", "of this process, and of no other one")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Split(*brokers, ","), config(*id), *from, *to, *group); err != nil {
		log.Fatalln(err)
	}
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
