package sluiceprom

import (
	"slices"

	"github.com/sluice-kafka/sluice"
)

// The metrics, without the prefix of their scope. A new one also needs a line in README.md and in testdata/metrics.txt, and a way to
// cause it in real_test.go; tests ask for each.

var ofProducer = slices.Concat(
	in(func(s *sluice.Stats) *sluice.RecordStats { return &s.Records }, slices.Concat(written, accepted, failedByCause())),
	[]metric[sluice.Stats]{
		gauge("unread_outcomes", "Records with an outcome that the program has not taken.",
			func(s *sluice.Stats) float64 { return float64(s.Unread) }),
		gauge("unread_errors", "Failures that the program has not taken from Errors.",
			func(s *sluice.Stats) float64 { return float64(s.UnreadErrors) }),
	},
	in(func(s *sluice.Stats) *sluice.MemoryStats { return &s.Memory }, memory),
	in(func(s *sluice.Stats) *sluice.RequestStats { return &s.Requests }, requests),
	in(func(s *sluice.Stats) *sluice.ConnectionStats { return &s.Connections }, connections),
	in(func(s *sluice.Stats) *sluice.StageStats { return &s.Stages }, slices.Concat(stageOfSenders, stagesOfBatches)),
)

var ofBroker = slices.Concat(
	in(func(s *sluice.BrokerStats) *sluice.RecordStats { return &s.Records }, written),
	in(func(s *sluice.BrokerStats) *sluice.RequestStats { return &s.Requests }, requests),
	in(func(s *sluice.BrokerStats) *sluice.ConnectionStats { return &s.Connections }, connections),
	[]metric[sluice.BrokerStats]{
		stage("window", func(s *sluice.BrokerStats) *sluice.Histogram { return &s.Window }),
		stage("broker", func(s *sluice.BrokerStats) *sluice.Histogram { return &s.Broker }),
	},
)

// ofTopic has the failed records without their causes, which would be twelve series a topic.
var ofTopic = in(func(s *sluice.TopicStats) *sluice.RecordStats { return &s.Records },
	slices.Concat(written, accepted, []metric[sluice.RecordStats]{failed}))

// stagesOfTopic are in ofTopic only if they are asked for.
var stagesOfTopic = in(func(s *sluice.TopicStats) *sluice.StageStats { return &s.Stages }, stagesOfBatches)

// written is what is known of records at a broker, too.
var written = []metric[sluice.RecordStats]{
	gauge("in_flight_records", "Records that are written to a broker and not answered.",
		func(r *sluice.RecordStats) float64 { return float64(r.InFlight.Records) }),
	gauge("in_flight_bytes", "Bytes of batches that are written to a broker and not answered.",
		func(r *sluice.RecordStats) float64 { return float64(r.InFlight.Bytes) }),
	counter("sent_records_total", "Records written to a broker, each try anew.",
		func(r *sluice.RecordStats) float64 { return float64(r.Sent.Records) }),
	counter("sent_bytes_total", "Bytes of batches written to a broker, compressed, each try anew.",
		func(r *sluice.RecordStats) float64 { return float64(r.Sent.Bytes) }),
	counter("retried_records_total", "Records written to a broker again.",
		func(r *sluice.RecordStats) float64 { return float64(r.Retried.Records) }),
	counter("retried_bytes_total", "Bytes of batches written to a broker again.",
		func(r *sluice.RecordStats) float64 { return float64(r.Retried.Bytes) }),
	counter("acknowledged_records_total", "Records that were delivered.",
		func(r *sluice.RecordStats) float64 { return float64(r.Acknowledged.Records) }),
	counter("acknowledged_bytes_total", "Bytes of batches that were delivered, compressed.",
		func(r *sluice.RecordStats) float64 { return float64(r.Acknowledged.Bytes) }),
	counter("split_batches_total", "Batches that were divided, as a broker found them too large.",
		func(r *sluice.RecordStats) float64 { return float64(r.SplitBatches) }),
}

// accepted is what is known of records before they are at a broker, and after.
var accepted = []metric[sluice.RecordStats]{
	gauge("buffered_records", "Records that are accepted, not in flight, and without an outcome.",
		func(r *sluice.RecordStats) float64 { return float64(r.Buffered.Records) }),
	gauge("buffered_bytes", "Bytes of keys, values and headers of records that are accepted, not in flight, and without an outcome.",
		func(r *sluice.RecordStats) float64 { return float64(r.Buffered.Bytes) }),
	counter("failed_bytes_total", "Bytes of keys, values and headers of records that were not delivered.",
		func(r *sluice.RecordStats) float64 { return float64(r.Failed.Bytes) }),
	counter("outcome_unknown_records_total", "Failed records that may have been written all the same.",
		func(r *sluice.RecordStats) float64 { return float64(r.OutcomeUnknown) }),
}

var failed = counter("failed_records_total", "Records that were not delivered.",
	func(r *sluice.RecordStats) float64 { return float64(r.Failed.Records) })

// causes are all of sluice's. Each has a series from the beginning: increase() does not see the first failure of one that begins at 1.
var causes = []sluice.FailureCause{
	sluice.CauseDeliveryTimeout, sluice.CauseTooLarge, sluice.CauseInvalid, sluice.CauseUnknownTopic, sluice.CauseUnavailable,
	sluice.CauseNotAuthorized, sluice.CauseRefused, sluice.CauseTransaction, sluice.CauseBufferFull,
	sluice.CauseCancelled, sluice.CauseClosed, sluice.CauseOther,
}

func failedByCause() []metric[sluice.RecordStats] {
	var all []metric[sluice.RecordStats]
	for _, cause := range causes {
		m := counter(failed.name, "Records that were not delivered, by cause.",
			func(r *sluice.RecordStats) float64 { return float64(r.FailedBy[cause]) })
		all = append(all, m.with("cause", string(cause)))
	}
	return all
}

var memory = []metric[sluice.MemoryStats]{
	gauge("memory_limit_bytes", "Bound of the buffer memory.",
		func(m *sluice.MemoryStats) float64 { return float64(m.Limit) }),
	gauge("memory_used_bytes", "Buffer memory in use.",
		func(m *sluice.MemoryStats) float64 { return float64(m.Used) }),
	gauge("memory_waiting_senders", "Senders that wait for buffer memory; all of Input is one.",
		func(m *sluice.MemoryStats) float64 { return float64(m.Waiting) }),
	counter("memory_waits_total", "How often a sender had to wait for buffer memory.",
		func(m *sluice.MemoryStats) float64 { return float64(m.Waits) }),
}

var requests = []metric[sluice.RequestStats]{
	gauge("requests_in_flight", "Requests of any kind that are written and not answered.",
		func(r *sluice.RequestStats) float64 { return float64(r.InFlight) }),
	counter("requests_sent_total", "Requests of any kind that were written.",
		func(r *sluice.RequestStats) float64 { return float64(r.Sent) }),
	counter("requests_answered_total", "Requests that were answered.",
		func(r *sluice.RequestStats) float64 { return float64(r.Answered) }),
	counter("requests_lost_total", "Requests without an answer: the connection was lost, or the time was over.",
		func(r *sluice.RequestStats) float64 { return float64(r.Lost) }),
	counter("request_bytes_total", "Bytes of requests.",
		func(r *sluice.RequestStats) float64 { return float64(r.BytesSent) }),
	counter("response_bytes_total", "Bytes of answers.",
		func(r *sluice.RequestStats) float64 { return float64(r.BytesReceived) }),
	histogram("request_duration_seconds", "Time from the written request to its answer.",
		func(r *sluice.RequestStats) *sluice.Histogram { return &r.Latency }),
	counter("throttled_seconds_total", "How long brokers have asked to wait, by quotas.",
		func(r *sluice.RequestStats) float64 { return r.Throttled.Seconds() }),
}

var connections = []metric[sluice.ConnectionStats]{
	gauge("connections", "Open connections.",
		func(c *sluice.ConnectionStats) float64 { return float64(c.Open) }),
	counter("connections_opened_total", "Connections that were opened, with their logins.",
		func(c *sluice.ConnectionStats) float64 { return float64(c.Opened) }),
	counter("connections_failed_total", "Dials, TLS handshakes and logins that failed.",
		func(c *sluice.ConnectionStats) float64 { return float64(c.Failed) }),
	counter("connections_lost_total", "Connections that ended before the producer closed them.",
		func(c *sluice.ConnectionStats) float64 { return float64(c.Lost) }),
}

func stage[S any](name string, h func(*S) *sluice.Histogram) metric[S] {
	return histogram("stage_duration_seconds", "How long batches, or in the stage memory_wait senders, were in a stage.", h).with("stage", name)
}

var stageOfSenders = []metric[sluice.StageStats]{
	stage("memory_wait", func(s *sluice.StageStats) *sluice.Histogram { return &s.MemoryWait }),
}

var stagesOfBatches = []metric[sluice.StageStats]{
	stage("queue", func(s *sluice.StageStats) *sluice.Histogram { return &s.Queue }),
	stage("window", func(s *sluice.StageStats) *sluice.Histogram { return &s.Window }),
	stage("broker", func(s *sluice.StageStats) *sluice.Histogram { return &s.Broker }),
	stage("hand_over", func(s *sluice.StageStats) *sluice.Histogram { return &s.HandOver }),
}
