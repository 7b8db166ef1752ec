package sluiceprom_test

import (
	"log"
	"net/http"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	sluiceprom "github.com/sluice-kafka/sluice/prometheus"
)

// It needs a cluster, so it is only built. README.md has it, imports and all.
func Example_switchOn() {
	var brokers []string
	var config *sarama.Config

	producer, err := sluice.New(brokers, config)
	if err != nil {
		log.Fatal(err)
	}
	prometheus.MustRegister(sluiceprom.NewCollector(producer, "orders"))
	http.Handle("/metrics", promhttp.Handler())
}
