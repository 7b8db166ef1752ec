package sluiceprom

import (
	"sync"
	"time"

	"github.com/sluice-kafka/sluice"
)

// fake is a Source whose Stats a test sets.
type fake struct {
	mu    sync.Mutex
	stats sluice.Stats
}

func (f *fake) Stats() sluice.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats
}

func (f *fake) set(stats sluice.Stats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats = stats
}

// numbers gives each number of a Stats another value, so that a mistaken one is seen.
type numbers int64

func (n *numbers) next() int64 {
	*n++
	return int64(*n)
}

func (n *numbers) amount() sluice.Amount {
	records := n.next()
	return sluice.Amount{Records: records, Bytes: 1000 + records}
}

func (n *numbers) records() sluice.RecordStats {
	r := sluice.RecordStats{
		Buffered: n.amount(), InFlight: n.amount(), Sent: n.amount(), Retried: n.amount(), Acknowledged: n.amount(), Failed: n.amount(),
		OutcomeUnknown: n.next(), SplitBatches: n.next(), FailedBy: map[sluice.FailureCause]int64{},
	}
	for _, cause := range causes {
		r.FailedBy[cause] = n.next()
	}
	return r
}

func (n *numbers) requests() sluice.RequestStats {
	return sluice.RequestStats{
		InFlight: n.next(), Sent: n.next(), Answered: n.next(), Lost: n.next(), BytesSent: n.next(), BytesReceived: n.next(),
		Latency: n.histogram(), Throttled: time.Duration(n.next()) * time.Second,
	}
}

func (n *numbers) connections() sluice.ConnectionStats {
	return sluice.ConnectionStats{Open: n.next(), Opened: n.next(), Failed: n.next(), Lost: n.next()}
}

// histogram has one duration in the first bucket, one of a millisecond, and the rest above all bounds.
func (n *numbers) histogram() sluice.Histogram {
	count := 2 + n.next()
	h := sluice.Histogram{Count: count, Sum: time.Duration(count) * time.Second, Max: time.Hour, Buckets: make([]int64, len(statsBounds)+1)}
	h.Buckets[0], h.Buckets[bucketOf(time.Millisecond)], h.Buckets[len(statsBounds)] = 1, 1, count-2
	return h
}

// bucketOf is where Stats counts a duration.
func bucketOf(d time.Duration) int {
	for i, bound := range statsBounds {
		if d <= bound {
			return i
		}
	}
	return len(statsBounds)
}

func (n *numbers) stages() sluice.StageStats {
	return sluice.StageStats{
		MemoryWait: n.histogram(), Queue: n.histogram(), Window: n.histogram(), Broker: n.histogram(), HandOver: n.histogram(),
	}
}

// everything has a number for each field, of one broker and one topic.
func everything() sluice.Stats {
	var n numbers
	return sluice.Stats{
		Records:     n.records(),
		Memory:      sluice.MemoryStats{Limit: n.next(), Used: n.next(), Waiting: n.next(), Waits: n.next()},
		Unread:      n.next(),
		Requests:    n.requests(),
		Connections: n.connections(),
		Stages:      n.stages(),
		Brokers: []sluice.BrokerStats{{
			ID: 7, Addr: "kafka-7:9092", Records: n.records(), Requests: n.requests(), Connections: n.connections(),
			Window: n.histogram(), Broker: n.histogram(),
		}},
		Topics: []sluice.TopicStats{{Topic: "orders", Records: n.records(), Stages: n.stages()}},

		UnreadErrors: n.next(), // the last one: the others keep their values in testdata/metrics.txt
	}
}

// topic is one of which so many records were acknowledged, and as many are buffered.
func topic(name string, acknowledged int64) sluice.TopicStats {
	var n numbers
	t := sluice.TopicStats{Topic: name}
	t.Records.Acknowledged.Records, t.Records.Buffered.Records = acknowledged, acknowledged
	t.Stages.Broker = n.histogram()
	return t
}
