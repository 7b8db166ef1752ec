package main

// kafkaHints answer Kafka's names that are something else on the command line.
var kafkaHints = map[string]string{
	"bootstrap.servers":    "brokers are given with -brokers",
	"metadata.broker.list": "brokers are given with -brokers",
	"key.serializer":       "keys are bytes here; -key-separator tells them from values",
	"value.serializer":     "values are bytes here",
}
