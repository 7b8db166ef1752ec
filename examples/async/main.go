// Command async is the program that sarama's documentation shows for its AsyncProducer: one goroutine sends until a
// signal comes, two others read Successes and Errors. It is written against sarama's types; what makes it use sluice is
// the one line with the constructor.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

func main() {
	brokers := flag.String("brokers", "localhost:9092", "the cluster's brokers, comma-separated")
	topic := flag.String("topic", "my-topic", "the topic to write to")
	flag.Parse()

	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	producer, err := sluice.NewAsyncProducer(strings.Split(*brokers, ","), config) // was: sarama.NewAsyncProducer
	if err != nil {
		log.Fatalln(err)
	}

	// Trap SIGINT to trigger a graceful shutdown.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)

	enqueued, successes, producerErrors := run(producer, *topic, signals)
	log.Printf("Enqueued: %d; successfully produced: %d; errors: %d\n", enqueued, successes, producerErrors)
}

// run sends numbered messages until a signal comes, and returns when each of them has its outcome.
func run(producer sarama.AsyncProducer, topic string, signals <-chan os.Signal) (enqueued, successes, producerErrors int) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for range producer.Successes() {
			successes++
		}
	})
	wg.Go(func() {
		for err := range producer.Errors() {
			log.Println("Failed to produce message:", err)
			producerErrors++
		}
	})

ProducerLoop:
	for {
		message := &sarama.ProducerMessage{
			Topic: topic,
			Key:   sarama.StringEncoder(fmt.Sprintf("key-%d", enqueued%10)),
			Value: sarama.StringEncoder(fmt.Sprintf("message %d", enqueued)),
		}
		select {
		case producer.Input() <- message:
			enqueued++
		case <-signals:
			producer.AsyncClose() // what was accepted still gets its outcome; then both channels are closed
			break ProducerLoop
		}
	}

	wg.Wait()
	return enqueued, successes, producerErrors
}
