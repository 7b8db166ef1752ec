package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A kafkaName says what one of Kafka's own setting names means here: the same value for each of fields, with unit put
// after it; or, where values maps Kafka's values, those of the fields in turn.
type kafkaName struct {
	fields []string
	unit   string
	values map[string][]string
}

// kafkaNames are the names of the Java producer that have a meaning here. batch.size is the size at which a batch is
// sent without waiting for linger; what bounds a batch is max.request.size, as a message's bound does in sarama.
var kafkaNames = map[string]kafkaName{
	"acks":                                  {fields: []string{"Producer.RequiredAcks"}},
	"batch.size":                            {fields: []string{"Producer.Flush.Bytes"}},
	"buffer.memory":                         {fields: []string{"BufferMemory"}},
	"client.id":                             {fields: []string{"ClientID"}},
	"client.rack":                           {fields: []string{"RackID"}},
	"compression.gzip.level":                {fields: []string{"Producer.CompressionLevel"}},
	"compression.lz4.level":                 {fields: []string{"Producer.CompressionLevel"}},
	"compression.type":                      {fields: []string{"Producer.Compression"}},
	"compression.zstd.level":                {fields: []string{"Producer.CompressionLevel"}},
	"connections.max.idle.ms":               {fields: []string{"ConnectionsMaxIdle"}, unit: "ms"},
	"delivery.timeout.ms":                   {fields: []string{"DeliveryTimeout"}, unit: "ms"},
	"enable.idempotence":                    {fields: []string{"Producer.Idempotent"}},
	"linger.ms":                             {fields: []string{"Producer.Flush.Frequency"}, unit: "ms"},
	"max.in.flight.requests.per.connection": {fields: []string{"Net.MaxOpenRequests", "MaxInFlightPerPartition"}},
	"max.request.size":                      {fields: []string{"Producer.MaxMessageBytes"}},
	"metadata.max.age.ms":                   {fields: []string{"Metadata.RefreshFrequency"}, unit: "ms"},
	"request.timeout.ms":                    {fields: []string{"Producer.Timeout", "Net.ReadTimeout"}, unit: "ms"},
	"retries":                               {fields: []string{"Producer.Retry.Max"}},
	"retry.backoff.ms":                      {fields: []string{"Producer.Retry.Backoff"}, unit: "ms"},
	"sasl.mechanism":                        {fields: []string{"Net.SASL.Mechanism"}},
	"sasl.password":                         {fields: []string{"Net.SASL.Password"}},
	"sasl.username":                         {fields: []string{"Net.SASL.User"}},
	"security.protocol":                     {fields: []string{"Net.TLS.Enable", "Net.SASL.Enable"}, values: securityProtocols},
	"socket.connection.setup.timeout.ms":    {fields: []string{"Net.DialTimeout"}, unit: "ms"},
	"transaction.timeout.ms":                {fields: []string{"Producer.Transaction.Timeout"}, unit: "ms"},
	"transactional.id":                      {fields: []string{"Producer.Transaction.ID"}},
}

// kafkaHints answer Kafka's names that are something else here.
var kafkaHints = map[string]string{
	"bootstrap.servers": "brokers are given with -brokers",
	"key.serializer":    "keys are bytes here; -key-separator tells them from values",
	"value.serializer":  "values are bytes here",
	"partitioner.class": "set Producer.Partitioner to hash, murmur2, random, round-robin or sticky instead",
	"sasl.jaas.config":  "set sasl.username and sasl.password instead",
}

var securityProtocols = map[string][]string{
	"PLAINTEXT":      {"false", "false"},
	"SSL":            {"true", "false"},
	"SASL_PLAINTEXT": {"false", "true"},
	"SASL_SSL":       {"true", "true"},
}

func (s *settings) setKafka(k kafkaName, value string) error {
	if k.unit != "" && (value == "" || strings.Trim(strings.TrimPrefix(value, "-"), "0123456789") != "") {
		return fmt.Errorf("%q is not a whole number of milliseconds", value)
	}
	values, known := k.values[strings.ToUpper(value)]
	if k.values != nil && !known {
		return fmt.Errorf("%q is not one of %s", value, strings.Join(slices.Sorted(maps.Keys(k.values)), ", "))
	}
	for i, field := range k.fields {
		v := value + k.unit
		if known {
			v = values[i]
		}
		if err := s.set(field, v); err != nil {
			return err
		}
	}
	return nil
}
