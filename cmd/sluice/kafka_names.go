package main

// kafkaHints answer Kafka's names that are something else on the command line.
var kafkaHints = map[string]string{
	"key.serializer":   "keys are bytes here; -key-separator tells them from values",
	"value.serializer": "values are bytes here",
}
