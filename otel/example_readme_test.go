package sluiceotel_test

import (
	"log"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	sluiceotel "github.com/sluice-kafka/sluice/otel"
)

// It needs a cluster and the program's providers, so it is only built. README.md has it.
func Example_switchOn() {
	var addrs []string
	var conf *sarama.Config

	producer, err := sluice.New(addrs, conf, sluice.WithTracer(sluiceotel.NewTracer()))
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	stop, err := sluiceotel.Observe(producer)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
}
