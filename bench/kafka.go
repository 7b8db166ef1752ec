package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// adminTimeout bounds what is asked of a real Kafka beside the run.
const adminTimeout = 30 * time.Second

// topicPrefix begins the names of the topics; the process id keeps two runs at one cluster apart.
var topicPrefix = fmt.Sprintf("sluice-bench-%d", os.Getpid())

// kafkaTarget is a real Kafka with topics of this run's own, which finish deletes.
type kafkaTarget struct {
	client     *kgo.Client
	brokers    []string
	names      []string
	made       []string // those of names that exist by now
	partitions int
}

// openKafka makes the topics, and returns when every partition has a leader.
func openKafka(ctx context.Context, s settings, names []string) (_ target, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...), kgo.DisableClientMetrics())
	if err != nil {
		return nil, fmt.Errorf("-brokers: %w", err)
	}
	t := &kafkaTarget{client: client, brokers: s.Brokers, names: names, partitions: s.Partitions}
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("-brokers: no Kafka answers at %v: %w", s.Brokers, err)
	}
	if err := t.create(ctx); err != nil {
		err = errors.Join(err, t.remove(context.WithoutCancel(ctx)))
		client.Close()
		return nil, err
	}
	return t, nil
}

func (t *kafkaTarget) addrs() []string  { return t.brokers }
func (t *kafkaTarget) topics() []string { return t.names }

func (t *kafkaTarget) create(ctx context.Context) error {
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = int32(adminTimeout.Milliseconds())
	for _, name := range t.names {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, int32(t.partitions), -1
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, t.client)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	for _, topic := range response.Topics {
		if topic.ErrorCode == 0 {
			t.made = append(t.made, topic.Topic)
		} else if err == nil {
			err = fmt.Errorf("create topic %s: %w", topic.Topic, kerr.ErrorForCode(topic.ErrorCode))
		}
	}
	if err != nil {
		return err
	}
	for {
		led, err := t.led(ctx)
		if err != nil || led {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for leaders of %s: %w", t.names[0], ctx.Err())
		}
	}
}

// led tells whether every partition has a leader.
func (t *kafkaTarget) led(ctx context.Context) (bool, error) {
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range t.names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, t.client)
	if err != nil {
		return false, fmt.Errorf("metadata: %w", err)
	}
	leaders := 0
	for _, topic := range response.Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode == 0 && p.Leader >= 0 {
				leaders++
			}
		}
	}
	return leaders == len(t.names)*t.partitions, nil
}

// finish counts the records by the partitions' end offsets, and deletes the topics. Where there were transactions, whose
// markers have offsets, too, it reads them.
func (t *kafkaTarget) finish(ctx context.Context, transactional bool) (int64, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	defer t.client.Close()
	count := t.records
	if transactional {
		count = t.committed
	}
	records, err := count(ctx)
	return records, 0, errors.Join(err, t.remove(ctx))
}

// remove deletes the topics that were made.
func (t *kafkaTarget) remove(ctx context.Context) error {
	if len(t.made) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TimeoutMillis = int32(adminTimeout.Milliseconds())
	request.TopicNames = t.made
	for _, name := range t.made {
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, t.client)
	if err != nil {
		return fmt.Errorf("delete topics: %w", err)
	}
	for _, topic := range response.Topics {
		if failed := kerr.ErrorForCode(topic.ErrorCode); failed != nil {
			err = errors.Join(err, fmt.Errorf("delete topic %s: %w", *topic.Topic, failed))
		}
	}
	return err
}

// records sums the end offsets: the topics are new, and nobody else writes to them.
func (t *kafkaTarget) records(ctx context.Context) (sum int64, err error) {
	ends, err := t.ends(ctx)
	for _, end := range ends {
		sum += end
	}
	return sum, err
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// committed counts what a reader of committed records gets. Such a reader does not come past a transaction that was left
// open: then the count ends with ctx.
func (t *kafkaTarget) committed(ctx context.Context) (records int64, err error) {
	ends, err := t.ends(ctx)
	if err != nil {
		return 0, err
	}
	reader, err := kgo.NewClient(
		kgo.SeedBrokers(t.brokers...), kgo.DisableClientMetrics(),
		kgo.ConsumeTopics(t.names...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // a log ends with a marker
	)
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	for at, end := range ends {
		if end == 0 {
			delete(ends, at)
		}
	}
	for len(ends) > 0 {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return records, fmt.Errorf("reading back %d committed records, up to the end of all but %d partitions: %w", records, len(ends), err)
		}
		for record := range fetches.RecordsAll() {
			if !record.Attrs.IsControl() {
				records++
			}
			if at := (place{record.Topic, record.Partition}); record.Offset+1 >= ends[at] {
				delete(ends, at)
			}
		}
	}
	return records, nil
}

// ends are the end offsets of all partitions.
func (t *kafkaTarget) ends(ctx context.Context) (map[place]int64, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	for _, name := range t.names {
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic = name
		for i := range t.partitions {
			partition := kmsg.NewListOffsetsRequestTopicPartition()
			partition.Partition, partition.Timestamp = int32(i), -1
			topic.Partitions = append(topic.Partitions, partition)
		}
		request.Topics = append(request.Topics, topic)
	}
	ends := make(map[place]int64)
	for _, shard := range t.client.RequestSharded(ctx, request) {
		if shard.Err != nil {
			return nil, fmt.Errorf("end offsets: %w", shard.Err)
		}
		for _, topic := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("end offset of %s-%d: %w", topic.Topic, p.Partition, err)
				}
				ends[place{topic.Topic, p.Partition}] = p.Offset
			}
		}
	}
	return ends, nil
}
