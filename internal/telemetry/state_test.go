package telemetry

import (
	"errors"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var id1 = [16]byte{1}

// answer is a subscription to everything, each 10 s.
func answer(change func(*kmsg.GetTelemetrySubscriptionsResponse)) *kmsg.GetTelemetrySubscriptionsResponse {
	resp := kmsg.NewPtrGetTelemetrySubscriptionsResponse()
	resp.ClientInstanceID, resp.SubscriptionID, resp.PushIntervalMillis = id1, 7, 10_000
	resp.TelemetryMaxBytes, resp.RequestedMetrics, resp.DeltaTemporality = 1<<20, []string{"*"}, true
	if change != nil {
		change(resp)
	}
	return resp
}

// TestStateTable: each state, each answer, what comes next and when.
func TestStateTable(t *testing.T) {
	type resp = kmsg.GetTelemetrySubscriptionsResponse
	code := func(c sarama.KError) func(*resp) { return func(r *resp) { *r = resp{ErrorCode: int16(c)} } }
	fresh := state{}
	pushing := state{next: push, instance: id1, sub: subscription{id: 7, interval: 10 * time.Second}}
	asking := pushing
	asking.next = subscribe
	subscribed := func(random float64, change func(*resp)) func(*state) error {
		return func(s *state) error { return s.subscribed(answer(change), random) }
	}
	pushed := func(c sarama.KError) func(*state) error { return func(s *state) error { return s.pushed(c, 1000) } }
	unanswered := func(s *state) error { s.unanswered(); return nil }
	for _, tt := range []struct {
		name string
		from state
		in   func(*state) error
		next step
		wait time.Duration
		err  error // that the result wraps
	}{
		{"first answer, earliest push", fresh, subscribed(0, nil), push, 5 * time.Second, nil},
		{"first answer, latest push", fresh, subscribed(1, nil), push, 15 * time.Second, nil},
		{"later answer", asking, subscribed(0.5, nil), push, 10 * time.Second, nil},
		{"no metrics wanted", fresh, subscribed(0, func(r *resp) { r.RequestedMetrics = nil }), subscribe, 10 * time.Second, nil},
		{"no interval", fresh, subscribed(0.5, func(r *resp) { r.PushIntervalMillis = 0 }), push, 5 * time.Minute, nil},
		{"negative interval", fresh, subscribed(0.5, func(r *resp) { r.PushIntervalMillis = -1 }), push, 5 * time.Minute, nil},
		{"tiny interval", fresh, subscribed(0.5, func(r *resp) { r.PushIntervalMillis = 1 }), push, 100 * time.Millisecond, nil},
		{"no instance id", fresh, subscribed(0.5, func(r *resp) { r.ClientInstanceID = [16]byte{} }), subscribe, 5 * time.Minute, sarama.ErrIncompleteResponse},
		{"no instance id again", asking, subscribed(0.5, func(r *resp) { r.ClientInstanceID = [16]byte{} }), push, 10 * time.Second, nil},
		{"first answer throttled", fresh, subscribed(0, code(sarama.ErrThrottlingQuotaExceeded)), subscribe, 5 * time.Minute, sarama.ErrThrottlingQuotaExceeded},
		{"later answer throttled", asking, subscribed(0, code(sarama.ErrThrottlingQuotaExceeded)), subscribe, 10 * time.Second, sarama.ErrThrottlingQuotaExceeded},
		{"subscription not known to the request for one", asking, subscribed(0, code(errUnknownSubscription)), subscribe, 10 * time.Second, errUnknownSubscription},
		{"compression unknown to the request for one", asking, subscribed(0, code(sarama.ErrUnsupportedCompressionType)), subscribe, 10 * time.Second, sarama.ErrUnsupportedCompressionType},
		{"request invalid", fresh, subscribed(0, code(sarama.ErrInvalidRequest)), over, 5 * time.Minute, sarama.ErrInvalidRequest},
		{"version lost", asking, subscribed(0, code(sarama.ErrUnsupportedVersion)), subscribe, 5 * time.Minute, sarama.ErrUnsupportedVersion},
		{"not allowed", fresh, subscribed(0, code(sarama.ErrClusterAuthorizationFailed)), subscribe, 5 * time.Minute, sarama.ErrClusterAuthorizationFailed},
		{"no answer at first", fresh, unanswered, subscribe, 5 * time.Minute, nil},
		{"no answer later", asking, unanswered, subscribe, 10 * time.Second, nil},

		{"push taken", pushing, pushed(sarama.ErrNoError), push, 10 * time.Second, nil},
		{"push without an answer", pushing, unanswered, push, 10 * time.Second, nil},
		{"subscription changed", pushing, pushed(errUnknownSubscription), subscribe, 0, errUnknownSubscription},
		{"compression refused", pushing, pushed(sarama.ErrUnsupportedCompressionType), subscribe, 0, sarama.ErrUnsupportedCompressionType},
		{"push too large", pushing, pushed(errTooLarge), subscribe, 10 * time.Second, errTooLarge},
		{"push throttled", pushing, pushed(sarama.ErrThrottlingQuotaExceeded), subscribe, 10 * time.Second, sarama.ErrThrottlingQuotaExceeded},
		{"push not decoded", pushing, pushed(sarama.ErrInvalidRecord), over, 10 * time.Second, sarama.ErrInvalidRecord},
		{"push after the last", pushing, pushed(sarama.ErrInvalidRequest), over, 10 * time.Second, sarama.ErrInvalidRequest},
		{"configuration invalid", pushing, pushed(sarama.ErrInvalidConfig), subscribe, 5 * time.Minute, sarama.ErrInvalidConfig},
		{"code of a later Kafka", pushing, pushed(sarama.KError(999)), subscribe, 5 * time.Minute, sarama.KError(999)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.from
			if err := tt.in(&s); !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if s.next != tt.next || s.wait != tt.wait {
				t.Errorf("%v after %v, want %v after %v", s.next, s.wait, tt.next, tt.wait)
			}
			if tt.from.instance == id1 && s.instance != id1 {
				t.Errorf("the client instance id changed to %v", s.instance)
			}
		})
	}
}

// TestLimit: what was too large is halved until a push is taken.
func TestLimit(t *testing.T) {
	s := state{}
	if err := s.subscribed(answer(func(r *kmsg.GetTelemetrySubscriptionsResponse) { r.TelemetryMaxBytes = 500 }), 0); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		code        sarama.KError
		size, limit int
	}{{errTooLarge, 400, 200}, {errTooLarge, 180, 90}, {sarama.ErrThrottlingQuotaExceeded, 90, 90}, {sarama.ErrNoError, 80, 500}} {
		_ = s.pushed(step.code, step.size)
		if s.limit() != step.limit {
			t.Errorf("after %v to %d bytes up to %d, want %d", step.code, step.size, s.limit(), step.limit)
		}
	}
	if s = (state{}); s.limit() != 1<<20 {
		t.Errorf("without a bound: %d", s.limit())
	}
}

// TestWants: the prefixes of a subscription.
func TestWants(t *testing.T) {
	const name = "org.apache.kafka.producer.connection.creation.total"
	for _, tt := range []struct {
		metrics []string
		want    bool
	}{
		{nil, false},
		{[]string{"*"}, true},
		{[]string{""}, true},
		{[]string{name}, true},
		{[]string{"org.apache.kafka.producer."}, true},
		{[]string{"org.apache.kafka.consumer.", "org.apache.kafka.producer.connection"}, true},
		{[]string{"org.apache.kafka.consumer."}, false},
		{[]string{"kafka.producer"}, false},
		{[]string{name + ".more"}, false},
	} {
		if got := (&subscription{metrics: tt.metrics}).wants(name); got != tt.want {
			t.Errorf("%q: %v", tt.metrics, got)
		}
	}
}
