// Command interceptor shows two ways to trace what a producer sends, both written against sarama's types and both at
// work around sluice's producer unchanged:
//
//   - a sarama.ProducerInterceptor that puts a W3C trace context into each message's headers (interceptor.go);
//   - a wrapper around sarama.AsyncProducer, of the kind that OpenTelemetry's instrumentation for sarama is, whose spans
//     last from Input to the outcome (wrap.go).
//
// It sends a few messages and prints the spans. A real program would hand them to its tracing library.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"strings"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

func main() {
	brokers := flag.String("brokers", "localhost:9092", "the cluster's brokers, comma-separated")
	topic := flag.String("topic", "my-topic", "the topic to write to")
	wrap := flag.Bool("wrap", false, "wrap the producer instead of using an interceptor")
	flag.Parse()

	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	if !*wrap {
		config.Producer.Interceptors = []sarama.ProducerInterceptor{TraceInterceptor{}}
	}
	var producer sarama.AsyncProducer
	producer, err := sluice.NewAsyncProducer(strings.Split(*brokers, ","), config) // was: sarama.NewAsyncProducer
	if err != nil {
		log.Fatalln(err)
	}
	if *wrap {
		producer = WrapAsyncProducer(config, producer, func(s Span) { fmt.Println(s) })
	}
	if err := run(producer, *topic, 10); err != nil {
		log.Fatalln(err)
	}
}

// run sends so many messages and prints where each was written and what its trace context is.
func run(producer sarama.AsyncProducer, topic string, messages int) error {
	go func() {
		for i := range messages {
			producer.Input() <- &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprintf("message %d", i))}
		}
		producer.AsyncClose()
	}()
	var failed []error
	done := make(chan struct{})
	go func() {
		defer close(done)
		for err := range producer.Errors() {
			failed = append(failed, err)
		}
	}()
	for msg := range producer.Successes() {
		context, _ := contextOf(msg)
		fmt.Printf("%s/%d/%d: %s\n", msg.Topic, msg.Partition, msg.Offset, context)
	}
	<-done
	return errors.Join(failed...)
}
