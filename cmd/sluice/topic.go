package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/suggest"
)

const (
	// creationPatience is how long a topic that the brokers create by themselves may take to appear.
	creationPatience = 2 * time.Second
	creationPause    = 200 * time.Millisecond
)

// checkTopic finds what would fail every message alike: a topic or a partition that is not there, a topic that may not be
// seen. partition is -1 if any will do.
func (c *cluster) checkTopic(ctx context.Context, name string, partition int32) error {
	topic, err := c.topic(ctx, name)
	if err != nil {
		return err
	}
	n := len(topic.Partitions)
	if int(partition) >= n {
		return fmt.Errorf("there is no partition %d of %s: it has %s", partition, name, partitionsOf(n))
	}
	return nil
}

// topic looks a topic up. If it is not there, the brokers may create it, and it is asked for again meanwhile.
func (c *cluster) topic(ctx context.Context, name string) (*kmsg.MetadataResponseTopic, error) {
	create := c.conf.Metadata.AllowAutoTopicCreation
	for begin := time.Now(); ; {
		md, err := c.metadata(ctx, create, name)
		if err != nil {
			return nil, err
		}
		if len(md.Topics) != 1 {
			return nil, fmt.Errorf("the brokers answered %d topics when asked for %s", len(md.Topics), name)
		}
		topic := &md.Topics[0]
		switch code := sarama.KError(topic.ErrorCode); code {
		case sarama.ErrNoError, sarama.ErrLeaderNotAvailable, sarama.ErrReplicaNotAvailable:
			if len(topic.Partitions) > 0 {
				return topic, nil // one without a leader is waited for by the producer
			}
		case sarama.ErrUnknownTopicOrPartition:
			if !create || time.Since(begin) >= creationPatience {
				return nil, c.noTopic(ctx, name)
			}
		case sarama.ErrTopicAuthorizationFailed:
			return nil, fmt.Errorf("topic %s: not authorized: this user may not see it, if it is there", name)
		default:
			return nil, fmt.Errorf("topic %s: %w", name, code)
		}
		if time.Since(begin) >= max(creationPatience, c.timeout) {
			return nil, fmt.Errorf("topic %s: the brokers don't say what partitions it has", name)
		}
		if err := flow.Sleep(ctx, creationPause); err != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// noTopic says what topics there are that may have been meant.
func (c *cluster) noTopic(ctx context.Context, name string) error {
	text := "there is no topic " + name
	if md, err := c.metadata(ctx, false); err == nil {
		var names []string
		for _, t := range md.Topics {
			if t.Topic != nil {
				names = append(names, *t.Topic)
			}
		}
		if near := suggest.Nearest(name, names); len(near) > 0 {
			text += "; did you mean " + strings.Join(near, ", ") + "?"
		}
	}
	return noTopicError{text}
}

// A noTopicError says that the topic is not there.
type noTopicError struct{ text string }

func (e noTopicError) Error() string { return e.text }

func partitionsOf(n int) string {
	if n == 1 {
		return "partition 0 only"
	}
	return fmt.Sprintf("partitions 0 to %d", n-1)
}

// A creation is what -create asks for.
type creation struct {
	partitions int32
	replicas   int16 // -1: the brokers' default
}

// parseCreation parses "6:3" and "6".
func parseCreation(text string) (creation, error) {
	partitions, replicas, both := strings.Cut(text, ":")
	p, err := strconv.ParseInt(partitions, 10, 32)
	r, err2 := int64(-1), error(nil)
	if both {
		r, err2 = strconv.ParseInt(replicas, 10, 16)
	}
	if err != nil || err2 != nil || p < 1 || both && r < 1 {
		return creation{}, fmt.Errorf("%q is not partitions:replicas such as 6:3, or partitions alone", text)
	}
	return creation{int32(p), int16(r)}, nil
}

// create creates a topic. One that is there stays as it is: created is false then.
func (c *cluster) create(ctx context.Context, name string, how creation) (created bool, err error) {
	md, err := c.metadata(ctx, false, name)
	if err != nil {
		return false, err
	}
	if len(md.Topics) == 1 && md.Topics[0].ErrorCode == 0 {
		return false, nil
	}
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, how.partitions, how.replicas
	controller := c.addrs
	for _, b := range md.Brokers {
		if b.NodeID == md.ControllerID {
			controller = []string{address(b)}
		}
	}
	resp, err := c.ask(ctx, controller, func() kmsg.Request {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = int32(c.timeout.Milliseconds())
		req.Topics = []kmsg.CreateTopicsRequestTopic{topic}
		return req
	})
	if err != nil {
		return false, fmt.Errorf("creating topic %s: %w", name, err)
	}
	for _, t := range resp.(*kmsg.CreateTopicsResponse).Topics {
		switch code := sarama.KError(t.ErrorCode); {
		case code == sarama.ErrTopicAlreadyExists:
			return false, nil
		case code != sarama.ErrNoError && t.ErrorMessage != nil && *t.ErrorMessage != "":
			return false, fmt.Errorf("creating topic %s: %s", name, flow.BrokerText(*t.ErrorMessage))
		case code != sarama.ErrNoError:
			return false, fmt.Errorf("creating topic %s: %w", name, code)
		}
	}
	return true, nil
}
