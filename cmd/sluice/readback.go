package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readBackPatience is how long a read-back waits for the next message before it says that there is none. Only acks none
// needs it: there a message may be on its way to the log still when its outcome is known.
const readBackPatience = 5 * time.Second

// readBack reads the topic with a client that shares no code with the producer, and holds every message against proof.
// It returns how many messages there were, and the first thing that was wrong with them.
func readBack(ctx context.Context, cluster *kfake.Cluster, topic string, expect int64, proof *proof) (n int64, err error) {
	consumer, err := kgo.NewClient(
		kgo.SeedBrokers(cluster.ListenAddrs()...),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond),
	)
	if err != nil {
		return 0, fmt.Errorf("reading back: %w", err)
	}
	defer consumer.Close()
	var wrong error
	note := func(err error) {
		if wrong == nil {
			wrong = err
		}
	}
	for n < max(expect, written(cluster, topic)) {
		waiting, cancel := context.WithTimeout(ctx, readBackPatience)
		fetches := consumer.PollFetches(waiting)
		cancel()
		before := n
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			if err := proof.readBack(r); err != nil {
				note(err)
			}
		})
		if n > before {
			continue
		}
		if ctx.Err() != nil {
			return n, fmt.Errorf("reading back was interrupted: %w", context.Cause(ctx))
		}
		if err := fetches.Err0(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return n, fmt.Errorf("reading back: %w", err)
		}
		note(proof.missing())
		break
	}
	if wrong != nil {
		return n, fmt.Errorf("reading back: %w", wrong)
	}
	if n != expect {
		return n, fmt.Errorf("reading back: %d messages were delivered, and the log holds %d", expect, n)
	}
	return n, nil
}

// written is the number of messages in the topic's log.
func written(cluster *kfake.Cluster, topic string) (n int64) {
	for _, p := range cluster.PartitionInfos(topic) {
		n += p.HighWatermark
	}
	return n
}
