//go:build unix

package kafkatest

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const topicTimeout = 30 * time.Second

// CreateTopic creates a topic and waits until every node that is up and not paused knows the leaders of all its partitions.
// configs are the topic's properties (may be nil). "replication.factor" may be one of them; its default is 3, or the number
// of nodes if that is less.
func (c *Cluster) CreateTopic(tb testing.TB, name string, partitions int, configs map[string]string) {
	tb.Helper()
	if err := c.createTopic(tb.Context(), name, partitions, configs); err != nil {
		tb.Fatalf("kafkatest: create topic %q: %v", name, err)
	}
}

// topicNumber makes the names of NewTopic unique, even when a test runs again with -count.
var topicNumber atomic.Int64

// NewTopic is CreateTopic with a new name, derived from the test's. It returns the name.
func (c *Cluster) NewTopic(tb testing.TB, partitions int, configs map[string]string) string {
	tb.Helper()
	legal := strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return '-'
	}, tb.Name())
	// Kafka allows 249 bytes.
	name := fmt.Sprintf("%.200s-%d", legal, topicNumber.Add(1))
	c.CreateTopic(tb, name, partitions, configs)
	return name
}

func (c *Cluster) createTopic(ctx context.Context, name string, partitions int, configs map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	req, err := c.createTopicsRequest(name, partitions, configs)
	if err != nil {
		return err
	}
	resp, err := c.ask(ctx, req)
	if err != nil {
		return err
	}
	for _, t := range resp.(*kmsg.CreateTopicsResponse).Topics {
		if err := withMessage(t.ErrorCode, t.ErrorMessage); err != nil {
			return err
		}
	}
	return c.awaitLeaders(ctx, name, partitions)
}

func (c *Cluster) createTopicsRequest(name string, partitions int, configs map[string]string) (*kmsg.CreateTopicsRequest, error) {
	replicas := min(3, len(c.nodes))
	configs = maps.Clone(configs)
	if given, ok := configs["replication.factor"]; ok {
		n, err := strconv.ParseInt(given, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("replication.factor: %w", err)
		}
		replicas = int(n)
		delete(configs, "replication.factor")
	}
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic = name
	topic.NumPartitions = int32(partitions)
	topic.ReplicationFactor = int16(replicas)
	for key, value := range configs {
		conf := kmsg.NewCreateTopicsRequestTopicConfig()
		conf.Name, conf.Value = key, kmsg.StringPtr(value)
		topic.Configs = append(topic.Configs, conf)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(topicTimeout.Milliseconds())
	req.Topics = append(req.Topics, topic)
	return req, nil
}

// awaitLeaders waits until each node that is up and not paused knows a leader for each partition of a topic.
func (c *Cluster) awaitLeaders(ctx context.Context, name string, partitions int) error {
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(name)
	req.Topics = append(req.Topics, topic)
	return pollAll(ctx, c, req, func(meta *kmsg.MetadataResponse) bool {
		if len(meta.Topics) != 1 || meta.Topics[0].ErrorCode != 0 || len(meta.Topics[0].Partitions) != partitions {
			return false
		}
		for _, p := range meta.Topics[0].Partitions {
			if p.ErrorCode != 0 || p.Leader < 0 {
				return false
			}
		}
		return true
	})
}
