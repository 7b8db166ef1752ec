package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// reader reads the committed messages of the output.
type reader struct {
	t      *testing.T
	client *kgo.Client
	seen   map[string]int
	last   map[string]int // by key
}

func newReader(t *testing.T, cluster *kfake.Cluster) *reader {
	t.Helper()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("to"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &reader{t, client, map[string]int{}, map[string]int{}}
}

// wait reads until n different messages have come. Each must come once, and those of a key in order.
func (r *reader) wait(n int) {
	r.t.Helper()
	for len(r.seen) < n {
		fetches := r.client.PollFetches(r.t.Context())
		if err := fetches.Err(); err != nil {
			r.t.Fatalf("%d of %d messages came: %v", len(r.seen), n, err)
		}
		fetches.EachRecord(r.take)
	}
}

func (r *reader) take(record *kgo.Record) {
	var i int
	if _, err := fmt.Sscanf(string(record.Value), "LINE %d", &i); err != nil {
		r.t.Fatalf("message %q: %v", record.Value, err)
	}
	if r.seen[string(record.Value)]++; r.seen[string(record.Value)] > 1 {
		r.t.Errorf("%q is there %d times", record.Value, r.seen[string(record.Value)])
	}
	if last, ok := r.last[string(record.Key)]; ok && i <= last {
		r.t.Errorf("key %s: line %d comes after line %d", record.Key, i, last)
	}
	r.last[string(record.Key)] = i
}

// end reads what is left when nobody writes any more, and expects n messages in all.
func (r *reader) end(cluster *kfake.Cluster, n int) {
	r.t.Helper()
	r.wait(n)
	marker := newMarker(r.t, cluster)
	for left := partitions; left > 0; {
		fetches := r.client.PollFetches(r.t.Context())
		if err := fetches.Err(); err != nil {
			r.t.Fatal(err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if string(record.Value) == marker {
				left--
			} else {
				r.take(record)
			}
		})
	}
	if len(r.seen) != n {
		r.t.Errorf("%d messages, want %d", len(r.seen), n)
	}
}

// newMarker writes a message to the end of each partition of the output.
func newMarker(t *testing.T, cluster *kfake.Cluster) string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for p := range int32(partitions) {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "to", Partition: p, Value: []byte("end")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return "end"
}
