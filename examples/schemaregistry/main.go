// Command schemaregistry writes messages whose values have a schema in a schema registry, in the form that Confluent's
// serializers write. Without flags it uses a Kafka and a registry within the process, and ends by itself. It is a module of
// its own, so that the registry's client is in no other program.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// Order is what is written.
type Order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

const orderSchema = `{
	"type": "object",
	"properties": {"item": {"type": "string"}, "count": {"type": "integer"}},
	"required": ["item", "count"]
}`

func main() {
	brokers := flag.String("brokers", "", "the cluster's brokers, comma-separated; without it: a Kafka in this process")
	registry := flag.String("registry", "", "the schema registry's URL; without it: one in this process")
	topic := flag.String("topic", "orders", "the topic to write to")
	flag.Parse()

	addrs := strings.Split(*brokers, ",")
	if *brokers == "" {
		cluster, err := mocks.StartCluster(mocks.WithBrokers(1), mocks.WithAutoCreateTopics(1))
		if err != nil {
			log.Fatalln(err)
		}
		defer cluster.Close()
		addrs = cluster.Brokers()
	}
	if *registry == "" {
		fake := srfake.New()
		defer fake.Close()
		*registry = fake.URL()
	}
	if err := run(context.Background(), addrs, *registry, *topic, os.Stdout); err != nil {
		log.Fatalln(err)
	}
}

func run(ctx context.Context, brokers []string, registryURL, topic string, out io.Writer) error {
	registry, err := sr.NewClient(sr.URLs(registryURL))
	if err != nil {
		return err
	}
	value, err := registered[Order](ctx, registry, topic+"-value", orderSchema)
	if err != nil {
		return err
	}
	producer, err := sluice.New(brokers, sluice.NewConfig())
	if err != nil {
		return err
	}
	orders := sluice.NewTyped(producer, sluice.StringSerializer, value)
	defer orders.Close()
	for i, item := range []string{"tea", "coffee"} {
		written, err := orders.Send(ctx, topic, "user-7", Order{item, i + 1}).Get(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s/%d/%d: %s\n", written.Topic, written.Partition, written.Offset, item)
	}
	return nil
}

// registered registers a JSON schema for a subject, unless it is there, and returns a serializer that writes its id before
// each value. The registry is asked once: a serializer that asks for each message would be slow, and fail with the registry.
func registered[T any](ctx context.Context, registry *sr.Client, subject, schema string) (sluice.Serializer[T], error) {
	created, err := registry.CreateSchema(ctx, subject, sr.Schema{Schema: schema, Type: sr.TypeJSON})
	if err != nil {
		return nil, fmt.Errorf("registering %s: %w", subject, err)
	}
	var none T
	serde := sr.NewSerde()
	serde.Register(created.ID, none, sr.EncodeFn(json.Marshal))
	return func(_ string, v T) ([]byte, error) { return serde.Encode(v) }, nil
}
