package sluice_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// sendSome makes a producer, sends some messages to the topic "orders", and returns what Stats says then.
func sendSome(values ...string) sluice.Stats {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	for _, value := range values {
		if _, _, err := producer.SendMessage(message(value)); err != nil {
			log.Println(err)
		}
	}
	return producer.Stats()
}

// What a producer holds, and what it has done.
func ExampleProducer_Stats() {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	for range 3 {
		if _, _, err := producer.SendMessage(message("tea")); err != nil {
			log.Fatal(err)
		}
	}

	s := producer.Stats()
	fmt.Println("acknowledged:", s.Records.Acknowledged.Records)
	fmt.Println("failed:", s.Records.Failed.Records)
	fmt.Println("waiting for memory:", s.Memory.Waiting)
	fmt.Println("some at the broker:", s.Stages.Broker.Quantile(0.99) > 0)
	// Output:
	// acknowledged: 3
	// failed: 0
	// waiting for memory: 0
	// some at the broker: true
}

// A line for a health check.
func ExampleStats() {
	s := sendSome("tea")
	fmt.Printf("%d buffered, %d in flight, %d failed, %d outcomes unread\n",
		s.Records.Buffered.Records, s.Records.InFlight.Records, s.Records.Failed.Records, s.Unread)
	// Output: 0 buffered, 0 in flight, 0 failed, 0 outcomes unread
}

// Where did the time go? The stage with the greatest sum has it.
func ExampleStageStats() {
	stages := sendSome("tea", "coffee").Stages
	slowest, longest := "", time.Duration(0)
	for name, h := range map[string]sluice.Histogram{
		"memory": stages.MemoryWait, "queue": stages.Queue, "window": stages.Window, "broker": stages.Broker, "hand-over": stages.HandOver,
	} {
		if h.Sum > longest {
			slowest, longest = name, h.Sum
		}
	}
	fmt.Println(slowest != "", longest > 0)
	// Output: true true
}

// A message that is too large for the producer fails, and the cause says why.
func ExampleRecordStats() {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	large := &sarama.ProducerMessage{Topic: "orders", Value: sarama.ByteEncoder(make([]byte, 2<<20))}
	if err := producer.Produce(context.Background(), large, nil); err != nil {
		records := producer.Stats().Records
		fmt.Println(records.Failed.Records, records.FailedBy)
	}
	// Output: 1 map[too_large:1]
}

// Causes are texts for the label of a metric.
func ExampleFailureCause() {
	fmt.Println(sluice.CauseDeliveryTimeout, sluice.CauseNotAuthorized)
	// Output: delivery_timeout not_authorized
}

// Bytes are those of the record batches: with their header of 61 bytes.
func ExampleAmount() {
	sent := sendSome("tea").Records.Sent
	fmt.Println(sent.Records, sent.Bytes)
	// Output: 1 71
}

func ExampleMemoryStats() {
	memory := sendSome("tea").Memory
	fmt.Printf("%d of %d MiB in use, %d have waited for more\n", memory.Used>>20, memory.Limit>>20, memory.Waits)
	// Output: 0 of 32 MiB in use, 0 have waited for more
}

func ExampleRequestStats() {
	requests := sendSome("tea").Requests
	fmt.Println(requests.InFlight, requests.Sent == requests.Answered, requests.Lost, requests.Throttled)
	// Output: 0 true 0 0s
}

func ExampleConnectionStats() {
	connections := sendSome("tea").Connections
	fmt.Println(connections.Open > 0, connections.Failed, connections.Lost)
	// Output: true 0 0
}

// Brokers with the ID -1 were only asked for metadata or a producer id.
func ExampleBrokerStats() {
	for _, broker := range sendSome("tea").Brokers {
		if broker.ID >= 0 {
			fmt.Println(broker.ID, broker.Records.Acknowledged.Records)
		}
	}
	// Output: 0 1
}

func ExampleTopicStats() {
	for _, topic := range sendSome("tea", "coffee").Topics {
		fmt.Println(topic.Topic, topic.Records.Acknowledged.Records)
	}
	// Output: orders 2
}

func ExampleHistogram_Quantile() {
	broker := sendSome("tea", "coffee").Stages.Broker
	fmt.Println(broker.Count, broker.Quantile(0.5) <= broker.Quantile(0.99), broker.Quantile(1) == broker.Max)
	// Output: 2 true true
}

// The buckets of a histogram, as a monitoring system wants them.
func ExampleHistogramBounds() {
	bounds := sluice.HistogramBounds()
	fmt.Println(len(bounds), bounds[:4], bounds[len(bounds)-1])

	broker := sendSome("tea").Stages.Broker
	fmt.Println(len(broker.Buckets) == len(bounds)+1)
	// Output:
	// 81 [10µs 12.5µs 16µs 20µs] 16m40s
	// true
}
