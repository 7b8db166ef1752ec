package metadata

import (
	"errors"
	"log/slog"
	"maps"
	"slices"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// What is logged about look-ups, on the look-up goroutine.

// logLeaders logs which leaders have changed: one record a topic, with the first of its partitions.
func (l *loop) logLeaders(before *snapshot, changed map[string]*Topic) {
	if l.s.log == nil {
		return
	}
	for _, topic := range slices.Sorted(maps.Keys(changed)) {
		old := before.topics[topic]
		if old == nil || old.ID != changed[topic].ID {
			continue
		}
		var first Partition
		from, n := int32(-1), 0
		for _, p := range changed[topic].Partitions {
			known, ok := old.Partition(p.ID)
			if !ok || p.Leader < 0 || p.Leader == known.Leader {
				continue
			}
			if n++; n == 1 {
				first, from = p, known.Leader
			}
		}
		if n == 0 {
			continue
		}
		attrs := []slog.Attr{
			slog.String("topic", topic), slog.Int("partition", int(first.ID)), flow.BrokerAttr(first.Leader),
			flow.EpochAttr("leader_epoch", first.Epoch), slog.Int("partitions", n),
		}
		if from >= 0 {
			attrs = append(attrs, slog.Int("from_broker", int(from)))
		}
		l.s.log.Event(flow.LeaderChanged, topic, attrs...)
	}
}

// logFailed logs that the look-up of a topic has ended with an error. If no broker answers, all topics share the records.
func (l *loop) logFailed(w *watchedTopic, err error) {
	e, key := flow.LookUpFailed, w.topic
	switch {
	case errors.Is(err, sarama.ErrUnknownTopicOrPartition):
		e = flow.TopicNotFound
	case errors.Is(err, sarama.ErrOutOfBrokers):
		key = ""
	}
	w.trouble.Of = "topics"
	w.trouble.Again(l.s.log, e, key, slog.String("topic", w.topic), flow.Cause(err))
}
