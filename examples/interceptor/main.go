// Command interceptor sends a few messages at every tick and traces them, in the two ways that sarama's users do: with a
// producer interceptor, as sarama's example of that name does, and, with -wrap, with a wrapper that is assigned back to
// the producer's variable. It is written against sarama's types; the line that makes it use sluice is the one with the
// constructor. Without flags it does so three times, with a Kafka within the process.
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
	wrapped := flag.Bool("wrap", false, "trace by a wrapper too, to the outcome")
	flag.Parse()

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt)

	var ended func(span)
	if *wrapped {
		ended = func(s span) { log.Printf("%+v", s) }
	}
	addrs, stop := embedded.Start(*brokers, *topic)
	defer stop()
	every := 5 * time.Second
	if *brokers == "" {
		every = 50 * time.Millisecond
		time.AfterFunc(3*every+every/2, func() { signals <- os.Interrupt }) // three ticks
	}
	if err := run(addrs, *topic, time.Tick(every), signals, ended); err != nil {
		log.Fatalln(err)
	}
}

// run sends two messages a tick until a signal comes. It wraps the producer if ended is set.
func run(brokers []string, topic string, ticks <-chan time.Time, signals <-chan os.Signal, ended func(span)) error {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	config.Producer.Interceptors = []sarama.ProducerInterceptor{traceInterceptor{}}
	producer, err := newAsyncProducer(brokers, config)
	if err != nil {
		return err
	}
	if ended != nil {
		producer = wrapAsyncProducer(config, producer, ended)
	}

	var outcomes sync.WaitGroup
	outcomes.Go(func() {
		for msg := range producer.Successes() {
			log.Printf("%s/%d/%d has the trace %s", msg.Topic, msg.Partition, msg.Offset, traceOf(msg))
		}
	})
	outcomes.Go(func() {
		for failure := range producer.Errors() {
			log.Println("not delivered:", failure)
		}
	})
	defer outcomes.Wait()
	defer producer.AsyncClose()

	for sent := 0; ; {
		select {
		case <-ticks:
			for range 2 {
				producer.Input() <- &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprintf("message %d", sent))}
				sent++
			}
		case <-signals:
			return nil
		}
	}
}
