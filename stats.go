package sluice

import (
	"cmp"
	"slices"
	"time"

	"github.com/sluice-kafka/sluice/internal/causes"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/stats"
)

// Stats is what a producer holds at one moment, and what it has done since New. Its numbers are read one after the other while the
// producer runs, so that their sums may be off by what happened meanwhile.
type Stats struct {
	// Records are all records of the producer. Topics that are not used any more are in it too.
	Records RecordStats
	Memory  MemoryStats
	// Unread is how many records have an outcome that nobody has taken yet, from Successes, Errors, a report or a callback. It may
	// be less by what the channels hold (ChannelBufferSize).
	Unread int64
	// Requests and Connections are of all brokers, also of those that are only asked for metadata.
	Requests    RequestStats
	Connections ConnectionStats
	Stages      StageStats
	// Brokers are sorted by ID, Topics by name.
	Brokers []BrokerStats
	Topics  []TopicStats
}

// Amount is a number of records, and of bytes.
type Amount struct{ Records, Bytes int64 }

// RecordStats are about records. Each accepted one is in Buffered or InFlight, and then in Acknowledged or Failed. Bytes of Buffered
// and Failed are sarama's ByteSize: those of keys, values and headers, with 36 more a record and 10 more a header. The others are
// those of batches as they are written, compressed and with their headers.
type RecordStats struct {
	// Buffered are accepted, and neither in flight nor failed or acknowledged. Records of an Appender count once their batch is
	// sealed; Producer.Buffered has those of open ones too. InFlight are written, and not answered.
	Buffered, InFlight Amount
	// Sent are written to a broker, each try anew, also one that the connection has not taken whole. Retried are the part of Sent
	// that was not the first try; the halves of a batch that was split are.
	Sent, Retried Amount
	// Acknowledged are delivered. With acks 0 that is all that was written.
	Acknowledged Amount
	// Failed are also those that a call has refused, such as Produce with ErrBufferFull. A message that its sender has given up
	// (SendMessageContext) after it was encoded goes on, and counts by what becomes of it.
	Failed Amount
	// FailedBy divides Failed.Records by cause. Causes without records are left out.
	FailedBy map[FailureCause]int64
	// OutcomeUnknown is how many of the failed records may have been written all the same (ErrOutcomeUnknown).
	OutcomeUnknown int64
	// SplitBatches is how many batches were divided because a broker found them too large, alone or in their request.
	SplitBatches int64
}

// FailureCause is the kind of a failure, in few words, for the label of a metric.
type FailureCause string

// Causes of failures.
const (
	CauseDeliveryTimeout FailureCause = "delivery_timeout" // ErrDeliveryTimeout
	CauseTooLarge        FailureCause = "too_large"        // sarama.ErrMessageSizeTooLarge
	CauseInvalid         FailureCause = "invalid"          // it can't be sent as it is: no topic, an encoder or a partitioner that fails
	CauseUnknownTopic    FailureCause = "unknown_topic"    // there is no such topic or partition
	CauseUnavailable     FailureCause = "unavailable"      // no leader, no connection, or no answer, and the tries are over
	CauseNotAuthorized   FailureCause = "not_authorized"   // a login failed, or an access was refused
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
	// Waiting is how many senders wait for memory now. The dispatcher, which waits for all of Input, is one. Waits is how many had
	// to since New.
	Waiting, Waits int64
}

// RequestStats are about requests of any kind.
type RequestStats struct {
	// InFlight are written and not answered.
	InFlight int64
	// Sent and Answered count since New. Lost had no answer: the connection was lost, or the time was over. Produce with acks 0 is
	// neither answered nor lost. What a login sends is not in here.
	Sent, Answered, Lost int64
	// BytesSent and BytesReceived are bytes of frames.
	BytesSent, BytesReceived int64
	// Latency is the time from the beginning of the write to the answer.
	Latency Histogram
	// Throttled is how long brokers have asked to wait (quotas), in all.
	Throttled time.Duration
}

// ConnectionStats are about connections.
type ConnectionStats struct {
	Open int64
	// Opened count since New, with their logins. Failed are dials, TLS handshakes and logins that failed. Lost had ended before the
	// producer closed them.
	Opened, Failed, Lost int64
}

// BrokerStats are about one broker. One that was not dialled for ten minutes, and has no connection, is left out; they begin anew when
// it is dialled again.
type BrokerStats struct {
	// ID is -1 for brokers that are known by their address only: those that New was given.
	ID   int32
	Addr string
	// Records have no Buffered, Failed, FailedBy and OutcomeUnknown: these are no broker's.
	Records     RecordStats
	Requests    RequestStats
	Connections ConnectionStats
	// Window and Broker are as in StageStats, of batches.
	Window, Broker Histogram
}

// TopicStats are about one topic. They begin anew when a topic is used again after it was forgotten, as nothing was sent to it for
// Metadata.RefreshFrequency.
type TopicStats struct {
	Topic   string
	Records RecordStats
	// Stages have no MemoryWait: that comes before the topic.
	Stages StageStats
}

// StageStats say where the time goes: how long batches were in each stage. MemoryWait alone is of senders.
type StageStats struct {
	// MemoryWait is how long senders have waited for memory, also those that gave up. Those that need not wait don't count.
	MemoryWait Histogram
	// Queue is the time from the acceptance of a batch's first record to the moment at which the batch is taken into a request:
	// look-ups, linger, and the window of the partition. A batch that is sent again is in Queue again, back-off included.
	Queue Histogram
	// Window is the time from then until the request begins to be written: compression, the dial, if one is needed, and the
	// connection's window of open requests.
	Window Histogram
	// Broker is the time from then until the answer. With acks 0 there is none.
	Broker Histogram
	// HandOver is the time from the outcome until it is in its channel, or its report or callback has returned. What waits in a
	// channel (ChannelBufferSize) is not timed, nor is SendMessage, which has its outcome at once.
	HandOver Histogram
}

// Histogram counts durations.
type Histogram struct {
	Count    int64
	Sum, Max time.Duration
	// Buckets[i] is how many were above HistogramBounds()[i-1] and not above HistogramBounds()[i]. The last one has what was above
	// all bounds. It is nil if Count is 0.
	Buckets []int64
}

// Stats returns what the producer holds and has done. It costs some microseconds a topic and broker, and the memory of its result;
// it takes no lock that sending waits for. It may be called concurrently, and after Close.
//
// Whoever was told of an outcome finds it counted.
func (p *Producer) Stats() Stats {
	s := Stats{Memory: p.memory()}
	var all stats.Counts
	var stages stats.Stages
	var requests stats.Requests
	var connections stats.Connections
	var latency, window, broker stats.Sum // of all brokers; the latter two are in stages, by topic
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
	s.Unread = p.unread(&all)
	s.Requests, s.Connections = requestStats(&requests, &latency), ConnectionStats(connections)
	s.Stages = stageStats(&stages)
	var waited stats.Sum
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

// unread is how many records have an outcome that nobody has taken: those that are not handed over, or what is in the channels.
// Some may be both, as a batch is handed over as a whole: so the greater one counts.
func (p *Producer) unread(all *stats.Counts) int64 {
	outcomes := p.shared.Outcomes
	return max(int64(outcomes.Buffered())-all.Undecided(), int64(outcomes.InChannels()))
}

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
	var latency, window, broker stats.Sum
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

func requestStats(r *stats.Requests, latency *stats.Sum) RequestStats {
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

// countRefused counts a message that a call has not taken.
func (p *Producer) countRefused(rec *flow.Record, err error) {
	of := p.shared.Stats.TopicOrRest(rec.Msg.Topic)
	bytes := int64(rec.Size)
	of.Accepted(1, bytes)
	of.Failed(stats.Amount{Records: 1, Bytes: bytes}, causes.Of(err), false)
}

// HistogramBounds are the upper bounds of buckets, from 10 µs to 1,000 s, ten for each power of ten: 1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5,
// 6.3 and 8 times. The slice is the caller's.
func HistogramBounds() []time.Duration {
	bounds := make([]time.Duration, stats.Bounds)
	for i := range bounds {
		bounds[i] = stats.Bound(i)
	}
	return bounds
}

func histogram(s *stats.Sum) Histogram {
	n := s.Count()
	if n == 0 {
		return Histogram{}
	}
	return Histogram{Count: n, Sum: s.Sum, Max: s.Max, Buckets: slices.Clone(s.Buckets[:])}
}

// Quantile is the duration that a part q of those counted, from 0 to 1, did not exceed: h.Quantile(0.99) is the 99th percentile. It is
// interpolated within a bucket, and off by a quarter at most; 0 if nothing was counted.
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
