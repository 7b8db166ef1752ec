package sluiceprom

import (
	"slices"
	"unicode/utf8"

	"github.com/sluice-kafka/sluice"
)

// otherTopics is the label of topics that have none of their own. Kafka allows no parenthesis in a topic's name.
const otherTopics = "(other)"

// topicLabels decides which topics have a label of their own, and sums up the others. A topic keeps its label as long as Stats has
// it.
//
// The sum of counters may never fall: Prometheus would take that for a restart, and count all of it again. But Stats loses the
// topics that the producer forgets. So what they have grown by is summed, not what they have.
//
// It is not for concurrent use.
type topicLabels struct {
	limit int
	own   map[string]bool              // topics with a label of their own
	last  map[string]sluice.TopicStats // of the others, as they were when they were read last
	grown sluice.TopicStats            // the counters of the others, summed up since the first scrape
}

// divide returns the topics with labels of their own, and then, if there ever were others, their sum.
func (l *topicLabels) divide(all []sluice.TopicStats) []sluice.TopicStats {
	if l.limit <= 0 {
		return nil
	}
	l.forget(all)
	var labelled []sluice.TopicStats
	var buffered, inFlight sluice.Amount // of the others
	now := map[string]sluice.TopicStats{}
	for _, t := range all {
		if l.hasOwn(t.Topic) {
			labelled = append(labelled, t)
			continue
		}
		last := l.last[t.Topic]
		growTopic(&l.grown, &last, &t)
		now[t.Topic] = t
		buffered, inFlight = sum(buffered, t.Records.Buffered), sum(inFlight, t.Records.InFlight)
	}
	l.last = now
	if len(now) == 0 && l.grown.Topic == "" {
		return labelled
	}
	l.grown.Topic = otherTopics
	other := l.grown
	other.Records.Buffered, other.Records.InFlight = buffered, inFlight
	for _, h := range stagesOf(&other.Stages) {
		h.Buckets = slices.Clone(h.Buckets) // the caller may keep them
	}
	return append(labelled, other)
}

// forget takes the labels of topics that are not there any more.
func (l *topicLabels) forget(all []sluice.TopicStats) {
	there := make(map[string]bool, len(all))
	for _, t := range all {
		there[t.Topic] = true
	}
	for topic := range l.own {
		if !there[topic] {
			delete(l.own, topic)
		}
	}
}

// hasOwn tells whether a topic has a label of its own, and gives it one while there are some left. A name that is no valid label
// never gets one; the broker refuses such a topic, but a program may ask for it.
func (l *topicLabels) hasOwn(topic string) bool {
	if l.own[topic] {
		return true
	}
	if _, other := l.last[topic]; other || len(l.own) >= l.limit || topic == otherTopics || !utf8.ValidString(topic) {
		return false
	}
	if l.own == nil {
		l.own = map[string]bool{}
	}
	l.own[topic] = true
	return true
}

func sum(a, b sluice.Amount) sluice.Amount {
	return sluice.Amount{Records: a.Records + b.Records, Bytes: a.Bytes + b.Bytes}
}

// growTopic adds to the counters of total by how much a topic's have grown.
func growTopic(total, last, now *sluice.TopicStats) {
	t, l, n := &total.Records, &last.Records, &now.Records
	growAmount(&t.Sent, l.Sent, n.Sent)
	growAmount(&t.Retried, l.Retried, n.Retried)
	growAmount(&t.Acknowledged, l.Acknowledged, n.Acknowledged)
	growAmount(&t.Failed, l.Failed, n.Failed)
	grow(&t.OutcomeUnknown, l.OutcomeUnknown, n.OutcomeUnknown)
	grow(&t.SplitBatches, l.SplitBatches, n.SplitBatches)
	lastStages, nowStages := stagesOf(&last.Stages), stagesOf(&now.Stages)
	for i, h := range stagesOf(&total.Stages) {
		growHistogram(h, lastStages[i], nowStages[i])
	}
}

// grow adds by how much a counter has grown: all of it, if it has begun anew.
func grow[N ~int64](total *N, last, now N) {
	if now < last {
		last = 0
	}
	*total += now - last
}

func growAmount(total *sluice.Amount, last, now sluice.Amount) {
	grow(&total.Records, last.Records, now.Records)
	grow(&total.Bytes, last.Bytes, now.Bytes)
}

func growHistogram(total, last, now *sluice.Histogram) {
	if now.Count == 0 {
		return
	}
	anew := now.Count < last.Count || len(last.Buckets) != len(now.Buckets)
	if anew {
		last = &sluice.Histogram{Buckets: make([]int64, len(now.Buckets))}
	}
	if total.Buckets == nil {
		total.Buckets = make([]int64, len(now.Buckets))
	}
	grow(&total.Sum, last.Sum, now.Sum)
	grow(&total.Count, last.Count, now.Count)
	for i := range now.Buckets {
		grow(&total.Buckets[i], last.Buckets[i], now.Buckets[i])
	}
}

func stagesOf(s *sluice.StageStats) [5]*sluice.Histogram {
	return [5]*sluice.Histogram{&s.MemoryWait, &s.Queue, &s.Window, &s.Broker, &s.HandOver}
}
