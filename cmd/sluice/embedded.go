package main

import (
	"fmt"
	"strconv"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
)

// kafkaMessageMaxBytes is the default of Kafka's own message.max.bytes: a megabyte and the batch's header.
const kafkaMessageMaxBytes = 1<<20 + 12

// startCluster starts one broker inside the process that has the topic. It holds what is written in memory; with
// discard it forgets it. Its limit on messages is Kafka's default unless conf asks for more.
func startCluster(topic string, partitions int, conf *sarama.Config, discard bool) (*kfake.Cluster, error) {
	limit := max(kafkaMessageMaxBytes, conf.Producer.MaxMessageBytes+12)
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.SeedTopics(int32(partitions), topic),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": strconv.Itoa(limit)}),
	}
	if discard {
		opts = append(opts, kfake.BlackholeProduce())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("cannot start the embedded cluster: %w", err)
	}
	return cluster, nil
}
