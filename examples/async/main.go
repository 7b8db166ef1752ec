// Command async has the two programs that sarama's documentation shows for an AsyncProducer: one goroutine that selects
// over everything, and one that sends while two others read the outcomes. Both end with Ctrl-C. They are written against
// sarama's types; the line that makes them use sluice is the one with the constructor. Without flags they send to a Kafka
// within the process for a fifth of a second.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/examples/internal/embedded"
)

var newAsyncProducer = sluice.NewAsyncProducer // was: sarama.NewAsyncProducer

func main() {
	brokers := flag.String("brokers", "", "the cluster's brokers, comma-separated; without it: a Kafka in this process")
	topic := flag.String("topic", "my-topic", "the topic to write to")
	selects := flag.Bool("select", false, "one goroutine that selects, instead of three")
	flag.Parse()

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt)

	program := withGoroutines
	if *selects {
		program = withSelect
	}
	addrs, stop := embedded.Start(*brokers, *topic)
	defer stop()
	if *brokers == "" {
		time.AfterFunc(200*time.Millisecond, func() { signals <- os.Interrupt })
	}
	sent, failed, err := program(addrs, *topic, signals)
	if err != nil {
		log.Fatalln(err)
	}
	log.Printf("%d sent, %d of them failed", sent, failed)
}

// withSelect reads Errors in the loop that sends. With sarama's defaults, which a nil config means, that is all there is
// to read: successes are not returned.
func withSelect(brokers []string, topic string, signals <-chan os.Signal) (sent, failed int, err error) {
	producer, err := newAsyncProducer(brokers, nil)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = producer.Close() }() // waits for what is under way, and tells what of that failed

	for {
		select {
		case producer.Input() <- message(topic, sent):
			sent++
		case failure := <-producer.Errors():
			log.Println("not delivered:", failure)
			failed++
		case <-signals:
			return sent, failed, nil
		}
	}
}

// withGoroutines wants the successes too, and counts both outcomes until AsyncClose has closed their channels.
func withGoroutines(brokers []string, topic string, signals <-chan os.Signal) (sent, failed int, err error) {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	producer, err := newAsyncProducer(brokers, config)
	if err != nil {
		return 0, 0, err
	}

	var (
		outcomes  sync.WaitGroup
		succeeded int
	)
	outcomes.Go(func() {
		for range producer.Successes() {
			succeeded++
		}
	})
	outcomes.Go(func() {
		for failure := range producer.Errors() {
			log.Println("not delivered:", failure)
			failed++
		}
	})

	for running := true; running; {
		select {
		case producer.Input() <- message(topic, sent):
			sent++
		case <-signals:
			producer.AsyncClose()
			running = false
		}
	}
	outcomes.Wait()

	if succeeded+failed != sent {
		return sent, failed, fmt.Errorf("%d sent, but %d succeeded and %d failed", sent, succeeded, failed)
	}
	return sent, failed, nil
}

// message is the i-th message. Those of one key stay in order.
func message(topic string, i int) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{
		Topic: topic,
		Key:   sarama.StringEncoder(fmt.Sprintf("key-%d", i%10)),
		Value: sarama.StringEncoder(fmt.Sprintf("message %d", i)),
	}
}
