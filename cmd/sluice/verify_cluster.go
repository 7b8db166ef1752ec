package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

const (
	// quietTime is how long the log must not have grown before it is read back: a broker may still have a request of a
	// connection that was cut. It is waited for quietPatience at most, as others may write to the topic too.
	quietTime     = 500 * time.Millisecond
	quietPatience = 10 * time.Second
	// readPatience is how long the read-back waits for the next record.
	readPatience = 30 * time.Second
	adminTimeout = 30 * time.Second
	pollInterval = 100 * time.Millisecond
)

// A verifyTopic is the one topic that verify touches. It uses franz-go's client, which shares no code with ours, and no
// faults stand between it and the brokers.
type verifyTopic struct {
	addrs   []string
	conf    *sarama.Config
	client  *kgo.Client
	name    string
	created bool            // by this run, which deletes it
	begin   map[int32]int64 // ends of the partitions before the run
	other   int64           // records that others wrote meanwhile
}

func openVerifyTopic(ctx context.Context, addrs []string, conf *sarama.Config, name string) (*verifyTopic, error) {
	opts, err := franzConnection(addrs, conf)
	if err != nil {
		return nil, usageError{err}
	}
	client, err := kgo.NewClient(append(opts, kgo.DisableClientMetrics())...)
	if err != nil {
		return nil, err
	}
	t := &verifyTopic{addrs: addrs, conf: conf, client: client, name: name}
	if err := franzPing(ctx, client); err != nil {
		return nil, fmt.Errorf("cannot reach the cluster: %w", err)
	}
	return t, nil
}

func (t *verifyTopic) close() { t.client.Close() }

// create makes the topic. Its replicas, and what else was not said, are the cluster's defaults.
func (t *verifyTopic) create(ctx context.Context, partitions int) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = t.name, int32(partitions), -1
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, topic)
	t.created = true // also if no answer comes: the name is this run's own
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		if failed, ok := errors.AsType[*net.OpError](err); ok && failed.Op == "dial" {
			t.created = false
			err = fmt.Errorf("%w (%s)", err, advertisedHint)
		}
		return fmt.Errorf("creating topic %s: %w", t.name, err)
	}
	for _, answer := range resp.Topics {
		if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
			t.created = false
			return fmt.Errorf("creating topic %s: %w (-topic names one that is there)", t.name, err)
		}
	}
	return nil
}

// remove deletes the topic, if this run created it.
func (t *verifyTopic) remove(ctx context.Context) error {
	if !t.created {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = kmsg.StringPtr(t.name)
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames, req.Topics = []string{t.name}, append(req.Topics, topic) // by the version, one of them is sent
	resp, err := req.RequestWith(ctx, t.client)
	if err == nil {
		for _, answer := range resp.Topics {
			err = kerr.ErrorForCode(answer.ErrorCode)
		}
	}
	if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("topic %s is left behind, it could not be deleted: %w", t.name, err)
	}
	return nil
}

// prepare waits until each partition has a leader, and notes where the log ends now.
func (t *verifyTopic) prepare(ctx context.Context) (partitions int, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	for {
		if t.begin, err = t.ends(ctx); err == nil {
			return len(t.begin), nil
		}
		// A topic that was just created may take a moment to be known everywhere. One that should be there is there.
		missing := errors.Is(err, kerr.UnknownTopicOrPartition) && !t.created
		if missing || !kerr.IsRetriable(err) || flow.Sleep(ctx, pollInterval) != nil {
			return 0, fmt.Errorf("topic %s: %w", t.name, err)
		}
	}
}

// ends are the end offsets of the partitions.
func (t *verifyTopic) ends(ctx context.Context) (map[int32]int64, error) {
	meta := kmsg.NewPtrMetadataRequest()
	metaTopic := kmsg.NewMetadataRequestTopic()
	metaTopic.Topic = kmsg.StringPtr(t.name)
	meta.Topics = append(meta.Topics, metaTopic)
	known, err := meta.RequestWith(ctx, t.client)
	if err != nil {
		return nil, err
	}
	list := kmsg.NewPtrListOffsetsRequest()
	listTopic := kmsg.NewListOffsetsRequestTopic()
	listTopic.Topic = t.name
	for _, answer := range known.Topics {
		if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
			return nil, err
		}
		for _, p := range answer.Partitions {
			part := kmsg.NewListOffsetsRequestTopicPartition()
			part.Partition, part.Timestamp = p.Partition, -1 // the end
			listTopic.Partitions = append(listTopic.Partitions, part)
		}
	}
	if len(listTopic.Partitions) == 0 {
		return nil, kerr.LeaderNotAvailable
	}
	list.Topics = append(list.Topics, listTopic)
	answer, err := list.RequestWith(ctx, t.client)
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, topic := range answer.Topics {
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			ends[p.Partition] = p.Offset
		}
	}
	return ends, nil
}

// quiet waits until the log no longer grows, and returns its ends.
func (t *verifyTopic) quiet(ctx context.Context) (map[int32]int64, error) {
	deadline := time.Now().Add(quietPatience)
	before, err := t.ends(ctx)
	for err == nil && flow.Sleep(ctx, quietTime) == nil {
		var now map[int32]int64
		if now, err = t.ends(ctx); err != nil || maps.Equal(before, now) || time.Now().After(deadline) {
			return now, err
		}
		before = now
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return before, err
}

// read reads all that was written since prepare, and gives each record to the audit whose mark it bears.
func (t *verifyTopic) read(ctx context.Context, audits map[string]*audit) error {
	ends, err := t.quiet(ctx)
	if err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	offsets, left := map[int32]kgo.Offset{}, map[int32]int64{}
	for p, end := range ends {
		if end > t.begin[p] {
			offsets[p], left[p] = kgo.NewOffset().At(t.begin[p]), end
		}
	}
	if len(left) == 0 {
		return nil
	}
	opts, err := franzConnection(t.addrs, t.conf)
	if err != nil {
		return err
	}
	consumer, err := kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.name: offsets}),
		kgo.KeepControlRecords(), // others' transactions: they count as read
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.DisableClientMetrics(),
	)...)
	if err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	defer consumer.Close()
	for len(left) > 0 {
		waiting, cancel := context.WithTimeout(ctx, readPatience)
		fetches := consumer.PollFetches(waiting)
		late := waiting.Err() != nil
		cancel()
		if late && fetches.NumRecords() == 0 {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("reading back was interrupted: %w", context.Cause(ctx))
			}
			return fmt.Errorf("reading back: nothing more came of partitions %v", slices.Sorted(maps.Keys(left)))
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, open := left[r.Partition]
			if !open {
				return // it came after the end that was noted
			}
			switch a := audits[string(r.Key)]; {
			case r.Attrs.IsControl():
			case a == nil:
				t.other++
			default:
				a.record(r)
			}
			if r.Offset+1 >= end {
				delete(left, r.Partition)
			}
		})
	}
	return nil
}
