package sluice

import (
	"cmp"
	"slices"
	"time"

	"github.com/sluice-kafka/sluice/internal/causes"
	"github.com/sluice-kafka/sluice/internal/stats"
)

// Stats is a snapshot of a producer: what it holds now, and what it has done since New. While the producer runs the numbers are read
// one after the other, so their sums may be slightly off.
type Stats struct {
	// Records are all records of the producer, including those of topics that are no longer in Topics.
	Records RecordStats
	Memory  MemoryStats
	// Unread is how many records have an outcome that nobody has taken yet, from Successes, Errors, a report or a callback. It may
	// be less by what the channels hold (ChannelBufferSize).
	Unread int64
	// UnreadErrors is the part of Unread that is in Errors, or waits for room there. It counts each of them. If it stays above 0, nobody
	// reads Errors.
	UnreadErrors int64
	// Requests and Connections are those of all brokers, including those that are only asked for metadata.
	Requests    RequestStats
	Connections ConnectionStats
	// Stages say how long batches took, stage by stage.
	Stages StageStats
	// Brokers are sorted by ID, Topics by name.
	Brokers []BrokerStats
	Topics  []TopicStats
}

// Amount is a number of records and their bytes.
type Amount struct{ Records, Bytes int64 }

// RecordStats are about records. Each accepted record is in Buffered or InFlight, and then in Acknowledged or Failed.
//
// The bytes of Buffered and Failed are sarama's ByteSize: keys, values and headers, plus 36 a record and 10 a header. All other bytes
// are those of batches as they are written: compressed, with the batch's own header.
type RecordStats struct {
	// Buffered are accepted and wait to be written, for the first time or again; records of an Appender from when their batch is sealed.
	// InFlight are written and not answered. Producer.Buffered is another number: it counts every message whose outcome is not handed
	// over yet, and what is in open batches of Appenders.
	Buffered, InFlight Amount
	// Sent are written to a broker. Each attempt counts, even if the connection did not take all of it. Retried are those of Sent
	// that were not the first attempt, including the halves of a batch that was split.
	Sent, Retried Amount
	// Acknowledged are delivered. With acks 0 a record counts as delivered once it is written.
	Acknowledged Amount
	// Failed includes messages that a call refused, such as Produce with ErrBufferFull. If SendMessageContext gives up a message
	// that is already encoded, the message goes on, and its real outcome counts.
	Failed Amount
	// FailedBy is Failed.Records by cause. Causes without records are left out; it is nil if nothing failed.
	FailedBy map[FailureCause]int64
	// OutcomeUnknown is how many of the failed records may be in the log (ErrOutcomeUnknown).
	OutcomeUnknown int64
	// SplitBatches is how many batches were split because a broker found them, or their request, too large.
	SplitBatches int64
}

// FailureCause says why a record failed, as a label of a metric: lower case, with underscores.
type FailureCause string

// Causes of failures.
const (
	CauseDeliveryTimeout FailureCause = "delivery_timeout" // ErrDeliveryTimeout
	CauseTooLarge        FailureCause = "too_large"        // sarama.ErrMessageSizeTooLarge
	CauseInvalid         FailureCause = "invalid"          // it can't be sent: no topic, or an encoder or partitioner that fails
	CauseUnknownTopic    FailureCause = "unknown_topic"    // there is no such topic or partition
	CauseUnavailable     FailureCause = "unavailable"      // no leader, no connection or no answer, and no attempt is left
	CauseNotAuthorized   FailureCause = "not_authorized"   // a login failed, or access was denied
	CauseRefused         FailureCause = "refused"          // any other error that a broker answered
	CauseTransaction     FailureCause = "transaction"      // the transaction failed or was aborted, or there was none
	CauseBufferFull      FailureCause = "buffer_full"      // ErrBufferFull: a call's context ended while it waited for memory
	CauseCancelled       FailureCause = "cancelled"        // a call's context ended before the message was encoded
	CauseClosed          FailureCause = "closed"           // the producer was closed
	CauseOther           FailureCause = "other"
)

// MemoryStats are about the buffer memory (WithBufferMemory), in bytes.
type MemoryStats struct {
	Limit, Used int64
	// Waiting is how many senders wait for memory now. All senders on Input and InputBatch count as one. Waits is how often a
	// sender had to wait, since New.
	Waiting, Waits int64
}

// RequestStats are about requests of any kind, except those of logins.
type RequestStats struct {
	// InFlight are written and not answered.
	InFlight int64
	// Sent, Answered and Lost count since New. Lost got no answer: the connection was lost, or the request timed out. Produce with
	// acks 0 is neither answered nor lost.
	Sent, Answered, Lost int64
	// BytesSent and BytesReceived are bytes of whole requests and answers, with their length fields.
	BytesSent, BytesReceived int64
	// Latency is the time from the start of the write to the answer.
	Latency Histogram
	// Throttled is how long brokers have asked the producer to wait (quotas), in total.
	Throttled time.Duration
}

// ConnectionStats are about connections. A connection counts once it is logged in.
type ConnectionStats struct {
	// Open is how many there are now.
	Open int64
	// Opened, Failed and Lost count since New. Failed are dials, TLS handshakes and logins that failed. Lost ended before the
	// producer closed them.
	Opened, Failed, Lost int64
}

// BrokerStats are about one broker. A broker that has no connection, and was not dialled for ten minutes, is left out. If it is dialled
// again, its numbers start from 0.
type BrokerStats struct {
	// ID is -1 for the addresses that New was given: which broker answers there is not known.
	ID   int32
	Addr string // host:port
	// In Records, Buffered, Failed, FailedBy and OutcomeUnknown are 0: a record belongs to no broker before it is written.
	Records     RecordStats
	Requests    RequestStats
	Connections ConnectionStats
	// Window and Broker are as in StageStats, of batches.
	Window, Broker Histogram
}

// TopicStats are about one topic. A topic is left out if nothing was sent to it for five minutes, or for the delivery timeout if that is
// longer. If it is used again, its numbers start from 0.
type TopicStats struct {
	Topic   string
	Records RecordStats
	// Stages.MemoryWait is empty: that wait comes before the topic.
	Stages StageStats
}

// StageStats say where the time went: how long batches were in each stage, in the order of the fields. MemoryWait counts senders
// instead.
type StageStats struct {
	// MemoryWait is how long senders waited for memory, including those that gave up. Senders that did not have to wait don't count.
	MemoryWait Histogram
	// Queue is the time from when a batch's first record was accepted to when the batch is put into a request: look-ups, linger,
	// and earlier batches of the partition in flight. A batch that is sent again counts again, back-off included.
	Queue Histogram
	// Window is the time from there until the request is about to be written: compression, a dial if one is needed, and the
	// connection's window of open requests (Net.MaxOpenRequests).
	Window Histogram
	// Broker is the time from there until the answer. With acks 0 there is none.
	Broker Histogram
	// HandOver is the time from when the outcome is known until it is in its channel, or its report or callback has returned. Time
	// in a channel's buffer (ChannelBufferSize) does not count, nor does SendMessage, which gets its outcome at once.
	HandOver Histogram
}

// Histogram counts durations.
type Histogram struct {
	Count    int64
	Sum, Max time.Duration
	// Buckets[i] is how many were > HistogramBounds()[i-1] and <= HistogramBounds()[i]. The last bucket, one more than there are
	// bounds, has those above all bounds. Buckets is nil if Count is 0.
	Buckets []int64
}

// Stats returns a snapshot. It may be called concurrently, and after Close. It takes some microseconds for each topic and broker, and
// allocates only its result. Sending does not wait for it.
//
// An outcome is counted before anybody gets it: after SendMessage or Flush, Stats has it. A message that its sender has withdrawn
// (SendMessageContext) is in Buffered, and holds memory, until the pipeline comes to it: at its delivery timeout at the latest.
func (p *Producer) Stats() Stats {
	s := Stats{Memory: p.memory()}
	var all stats.Counts
	var stages stats.Stages
	var requests stats.Requests
	var connections stats.Connections
	var latency, window, broker stats.Durations // of all brokers; the latter two are in stages, by topic
	p.shared.Stats.Read(func(topics, brokers int) {
		s.Topics, s.Brokers = make([]TopicStats, 0, topics), make([]BrokerStats, 0, brokers)
	}, func(t *stats.Topic, listed bool) {
		t.AddTo(&all)
		t.AddStagesTo(&stages)
		if listed {
			s.Topics = append(s.Topics, topicStats(t))
		}
	}, func(b *stats.Broker, listed bool) {
		b.AddRequestsTo(&requests)
		b.AddConnectionsTo(&connections)
		b.AddTimesTo(&latency, &window, &broker)
		if listed {
			s.Brokers = append(s.Brokers, brokerStats(b))
		}
	})
	s.Records = recordStats(&all)
	s.Unread, s.UnreadErrors = p.unread(&all), p.unreadErrors()
	s.Requests, s.Connections = requestStats(&requests, &latency), ConnectionStats(connections)
	s.Stages = stageStats(&stages)
	var waited stats.Durations
	p.shared.Budget.Waited().AddTo(&waited)
	s.Stages.MemoryWait = histogram(&waited)
	slices.SortFunc(s.Topics, func(a, b TopicStats) int { return cmp.Compare(a.Topic, b.Topic) })
	slices.SortFunc(s.Brokers, func(a, b BrokerStats) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Addr, b.Addr)) })
	return s
}

func (p *Producer) memory() MemoryStats {
	budget := p.shared.Budget
	waits, waiting := budget.Waits()
	return MemoryStats{Limit: budget.Limit(), Used: budget.Used(), Waiting: waiting, Waits: waits}
}

// unread is how many records have an outcome that nobody has taken: those that are not handed over, or what is in the channels
// and waits for Errors. Some may be both, as a batch is handed over as a whole: so the greater one counts.
func (p *Producer) unread(all *stats.Counts) int64 {
	outcomes := p.shared.Outcomes
	return max(int64(outcomes.Buffered())-all.Undecided(), int64(outcomes.InChannels()))
}

func (p *Producer) unreadErrors() int64 { return int64(p.shared.Outcomes.UnreadErrors()) }

func topicStats(t *stats.Topic) TopicStats {
	var counts stats.Counts
	var stages stats.Stages
	t.AddTo(&counts)
	t.AddStagesTo(&stages)
	return TopicStats{Topic: t.Name(), Records: recordStats(&counts), Stages: stageStats(&stages)}
}

func brokerStats(b *stats.Broker) BrokerStats {
	var counts stats.Counts
	var requests stats.Requests
	var connections stats.Connections
	var latency, window, broker stats.Durations
	b.AddTo(&counts)
	b.AddRequestsTo(&requests)
	b.AddConnectionsTo(&connections)
	b.AddTimesTo(&latency, &window, &broker)
	counts.Accepted = stats.Amount{} // no broker's
	return BrokerStats{
		ID: b.ID(), Addr: b.Addr(), Records: recordStats(&counts),
		Requests: requestStats(&requests, &latency), Connections: ConnectionStats(connections),
		Window: histogram(&window), Broker: histogram(&broker),
	}
}

func recordStats(c *stats.Counts) RecordStats {
	r := RecordStats{
		Buffered: Amount(c.Buffered()), InFlight: Amount(c.InFlight),
		Sent: Amount(c.Sent), Retried: Amount(c.Retried),
		Acknowledged: Amount(c.Acknowledged), Failed: Amount(c.Failed),
		OutcomeUnknown: c.Unknown, SplitBatches: c.Splits,
	}
	if c.Failed.Records == 0 {
		return r
	}
	r.FailedBy = make(map[FailureCause]int64)
	for cause, n := range c.FailedBy {
		if n > 0 {
			r.FailedBy[FailureCause(stats.Cause(cause).String())] = n
		}
	}
	return r
}

func requestStats(r *stats.Requests, latency *stats.Durations) RequestStats {
	return RequestStats{
		InFlight: max(0, r.InFlight), Sent: r.Sent, Answered: r.Answered, Lost: r.Lost,
		BytesSent: r.BytesSent, BytesReceived: r.BytesReceived,
		Latency: histogram(latency), Throttled: r.Throttled,
	}
}

func stageStats(s *stats.Stages) StageStats {
	return StageStats{
		Queue: histogram(&s.Queue), Window: histogram(&s.Window), Broker: histogram(&s.Broker), HandOver: histogram(&s.HandOver),
	}
}

// countRefused counts a message that a call has refused.
func (p *Producer) countRefused(topic string, bytes int64, err error) {
	of := p.shared.Stats.TopicOrRest(topic)
	of.Accepted(1, bytes)
	of.Failed(stats.Amount{Records: 1, Bytes: bytes}, causes.Of(err), false)
}

// HistogramBounds returns the upper bounds of the buckets of each Histogram, from 10 µs to 1,000 s. There are ten for each power of ten:
// 1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3 and 8 times. The slice is the caller's.
func HistogramBounds() []time.Duration {
	bounds := make([]time.Duration, stats.Bounds)
	for i := range bounds {
		bounds[i] = stats.Bound(i)
	}
	return bounds
}

func histogram(s *stats.Durations) Histogram {
	n := s.Count()
	if n == 0 {
		return Histogram{}
	}
	return Histogram{Count: n, Sum: s.Sum, Max: s.Max, Buckets: slices.Clone(s.Buckets[:])}
}

// Quantile estimates a quantile: h.Quantile(0.99) is the 99th percentile. q is limited to 0 … 1. The result is interpolated within a
// bucket, and off by a quarter at most. It is 0 if nothing was counted.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.Count == 0 {
		return 0
	}
	rank := min(max(q, 0), 1) * float64(h.Count)
	var below float64
	for i, n := range h.Buckets {
		if n == 0 || below+float64(n) < rank {
			below += float64(n)
			continue
		}
		var from time.Duration
		if i > 0 {
			from = stats.Bound(i - 1)
		}
		to := h.Max
		if i < stats.Bounds {
			to = min(to, stats.Bound(i))
		}
		from = min(from, to) // Max was read later than the buckets, or earlier
		return from + time.Duration((rank-below)/float64(n)*float64(to-from))
	}
	return h.Max
}
