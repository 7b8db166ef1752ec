package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/sluice-kafka/sluice/mocks"
)

// TestReadBack reads what was written as a consumer with a schema registry does.
func TestReadBack(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 1))
	fake := srfake.New()
	defer fake.Close()
	var out strings.Builder
	if err := run(t.Context(), cluster.Brokers(), fake.URL(), "orders", &out); err != nil {
		t.Fatal(err)
	}
	if want := "orders/0/0: tea\norders/0/1: coffee\n"; out.String() != want {
		t.Errorf("it printed %q", out.String())
	}
	client, err := sr.NewClient(sr.URLs(fake.URL()))
	if err != nil {
		t.Fatal(err)
	}
	var items []string
	for _, m := range cluster.Messages("orders") {
		id, value, err := sr.NewSerde().DecodeID(m.Value)
		if err != nil {
			t.Fatal(err)
		}
		schema, err := client.SchemaByID(t.Context(), id)
		if err != nil || schema.Type != sr.TypeJSON {
			t.Errorf("schema %d: %v, %v", id, schema, err)
		}
		var o Order
		if err := json.Unmarshal(value, &o); err != nil {
			t.Fatal(err)
		}
		items = append(items, o.Item)
	}
	if strings.Join(items, " ") != "tea coffee" {
		t.Errorf("the topic has %v", items)
	}
}

// A registry that does not answer is an error before anything is sent.
func TestNoRegistry(t *testing.T) {
	fake := srfake.New()
	url := fake.URL()
	fake.Close()
	err := run(t.Context(), []string{"localhost:1"}, url, "orders", nil)
	if err == nil || !strings.Contains(err.Error(), "registering orders-value") {
		t.Errorf("%v", err)
	}
}
