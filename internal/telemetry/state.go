package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// KIP-714's error codes, for which sarama has no names.
const (
	errUnknownSubscription = sarama.KError(117)
	errTooLarge            = sarama.KError(118)
)

const (
	// defaultInterval is Kafka's interval.ms, for where a broker names none that can be used.
	defaultInterval = 5 * time.Minute
	// leastInterval is the least that Kafka allows.
	leastInterval = 100 * time.Millisecond
)

// step is what a producer does next about its telemetry.
type step int

const (
	subscribe step = iota // ask for a subscription
	push                  // push the metrics that it names
	over                  // nothing: a broker has found the pushes invalid
)

func (s step) String() string { return [...]string{"subscribe", "push", "over"}[s] }

// subscription is what a broker has asked for.
type subscription struct {
	id       int32
	interval time.Duration
	codecs   []int8 // that the broker takes, the best first
	maxBytes int
	delta    bool // sums are since the last push, not since the start
	metrics  []string
}

// wants tells whether a metric is asked for: by a prefix of its name, or by "*", which Kafka sends for all. KIP-714 says "" for all,
// which is every name's prefix.
func (s *subscription) wants(name string) bool {
	return slices.ContainsFunc(s.metrics, func(prefix string) bool { return prefix == "*" || strings.HasPrefix(name, prefix) })
}

// text is for the log.
func (s *subscription) text() string {
	if len(s.metrics) == 1 && s.metrics[0] == "" {
		return "*"
	}
	return flow.BrokerText(strings.Join(s.metrics, ","))
}

// state decides what comes next. It knows neither time nor connections.
type state struct {
	next step
	wait time.Duration // before next
	// instance is the client instance id. The first broker gives it, and it is kept for the producer's life.
	instance [16]byte
	sub      subscription
	refused  int // bytes of the last push that was too large; 0: none since it was taken
}

// subscribed takes in an answer to GetTelemetrySubscriptions. random is from 0 to 1: the first push comes after half an interval to
// one and a half, so that producers that were started together don't push together. An error is the broker's, or says what is wrong
// with the answer.
func (s *state) subscribed(resp *kmsg.GetTelemetrySubscriptionsResponse, random float64) error {
	if resp.ErrorCode != 0 {
		return s.failed(subscribe, sarama.KError(resp.ErrorCode), 0)
	}
	if s.instance == ([16]byte{}) {
		s.instance = resp.ClientInstanceID
	}
	if s.instance == ([16]byte{}) {
		s.next, s.wait = subscribe, defaultInterval
		return fmt.Errorf("GetTelemetrySubscriptions was answered without a client instance id: %w", sarama.ErrIncompleteResponse)
	}
	interval := time.Duration(resp.PushIntervalMillis) * time.Millisecond
	if interval <= 0 {
		interval = defaultInterval
	}
	s.sub = subscription{
		id: resp.SubscriptionID, interval: max(interval, leastInterval), codecs: resp.AcceptedCompressionTypes,
		maxBytes: int(resp.TelemetryMaxBytes), delta: resp.DeltaTemporality, metrics: resp.RequestedMetrics,
	}
	if len(s.sub.metrics) == 0 { // the operator may ask for some later
		s.next, s.wait = subscribe, s.sub.interval
		return nil
	}
	s.next, s.wait = push, time.Duration((0.5+random)*float64(s.sub.interval))
	return nil
}

// pushed takes in an answer to a PushTelemetry of so many bytes.
func (s *state) pushed(code sarama.KError, size int) error {
	if code != sarama.ErrNoError {
		return s.failed(push, code, size)
	}
	s.refused = 0
	s.next, s.wait = push, s.sub.interval
	return nil
}

// failed takes in an error code of a broker.
func (s *state) failed(asked step, code sarama.KError, size int) error {
	s.next, s.wait = subscribe, s.interval()
	switch code {
	case sarama.ErrInvalidRequest, sarama.ErrInvalidRecord:
		s.next = over // the next one would be as invalid
	case errUnknownSubscription, sarama.ErrUnsupportedCompressionType:
		if asked == push { // else a broker could have it asked for ever
			s.wait = 0
		}
	case errTooLarge:
		s.refused = size
	case sarama.ErrThrottlingQuotaExceeded:
	default:
		s.wait = max(s.wait, defaultInterval)
	}
	name := kmsg.GetTelemetrySubscriptions
	if asked == push {
		name = kmsg.PushTelemetry
	}
	return fmt.Errorf("%s: %w", kmsg.NameForKey(int16(name)), named(code))
}

// unanswered is for a request without an answer, or that could not be sent: the same comes again.
func (s *state) unanswered() { s.wait = s.interval() }

// interval is how long to wait where no answer says so.
func (s *state) interval() time.Duration {
	if s.sub.interval == 0 {
		return defaultInterval
	}
	return s.sub.interval
}

// limit is how many bytes of metrics a push may have: TelemetryMaxBytes, or half of what was too large. A broker without a bound has
// Kafka's default.
func (s *state) limit() int {
	limit := s.sub.maxBytes
	if limit <= 0 {
		limit = 1 << 20
	}
	if s.refused > 0 {
		limit = min(limit, s.refused/2)
	}
	return limit
}

// named is the error of a code, with a name where sarama has none.
func named(code sarama.KError) error {
	switch code {
	case errUnknownSubscription:
		return fmt.Errorf("UNKNOWN_SUBSCRIPTION_ID: %w", code)
	case errTooLarge:
		return fmt.Errorf("TELEMETRY_TOO_LARGE: %w", code)
	}
	return code
}
