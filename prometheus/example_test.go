package sluiceprom_test

import (
	"fmt"
	"log"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
	sluiceprom "github.com/sluice-kafka/sluice/prometheus"
)

func ExampleNewCollector() {
	cluster, err := mocks.StartCluster(mocks.WithTopic("orders", 1))
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	producer, err := sluice.New(cluster.Brokers(), cluster.Config())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()

	registry := prometheus.NewRegistry() // or prometheus.DefaultRegisterer
	registry.MustRegister(sluiceprom.NewCollector(producer, "shop", sluiceprom.WithTopics(10), sluiceprom.WithTopicStages()))

	if _, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder("tea")}); err != nil {
		log.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "sluice_producer_topic_acknowledged_records_total" {
			m := family.GetMetric()[0]
			fmt.Println(m.GetLabel()[1].GetValue(), m.GetCounter().GetValue())
		}
	}
	// Output: orders 1
}
