package sluiceotel

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/IBM/sarama"
	"github.com/dnwe/otelsarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/sluice-kafka/sluice"
)

// ways are all ways in. Each sends messages, and returns the first error when it knows all outcomes.
var ways = []struct {
	name    string
	context bool // spans are children of the caller's
	copies  bool // the caller's messages get no headers
	send    func(ctx context.Context, t *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error
}{
	{"Input", false, false, func(_ context.Context, t *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		go func() {
			for _, msg := range msgs {
				p.Input() <- msg
			}
		}()
		return outcomes(t, p, len(msgs))
	}},
	{"InputBatch", false, false, func(_ context.Context, t *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		p.InputBatch() <- slices.Clone(msgs)
		return outcomes(t, p, len(msgs))
	}},
	{"Produce", true, false, func(ctx context.Context, t *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		results := make(chan error, len(msgs))
		for _, msg := range msgs {
			if err := p.Produce(ctx, msg, func(_ *sarama.ProducerMessage, err error) { results <- err }); err != nil {
				results <- err
			}
		}
		return first(len(msgs), func(int) error { return receive(t, results) })
	}},
	{"SendMessage", false, false, func(_ context.Context, _ *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return first(len(msgs), func(i int) error { _, _, err := p.SendMessage(msgs[i]); return err })
	}},
	{"SendMessages", false, false, func(_ context.Context, _ *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return p.SendMessages(msgs)
	}},
	{"SendMessageContext", true, true, func(ctx context.Context, _ *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return first(len(msgs), func(i int) error { _, _, err := p.SendMessageContext(ctx, msgs[i]); return err })
	}},
	{"SendMessagesContext", true, true, func(ctx context.Context, _ *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return p.SendMessagesContext(ctx, msgs)
	}},
	{"Transact", true, false, func(ctx context.Context, t *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return p.Transact(ctx, func(tx sluice.Tx) error {
			return first(len(msgs), func(i int) error { return tx.Produce(ctx, msgs[i], nil) })
		})
	}},
}

func first(n int, send func(i int) error) (err error) {
	for i := range n {
		if failed := send(i); err == nil {
			err = failed
		}
	}
	return err
}

// outcomes reads n outcomes from the producer's channels.
func outcomes(t *testing.T, p *sluice.Producer, n int) error {
	ctx := impatient(t)
	return first(n, func(int) error {
		select {
		case <-p.Successes():
			return nil
		case failed := <-p.Errors():
			return failed.Err
		case <-ctx.Done():
			t.Fatal("an outcome is missing")
			return nil
		}
	})
}

// transactional is config for Transact.
func transactional() *sarama.Config {
	conf := config()
	conf.Producer.Idempotent, conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
	conf.Producer.Transaction.ID = "traced"
	return conf
}

// Every message has a span with its partition and offset, whose context a consumer finds in the message's headers.
func TestEachWayInHasSpans(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			c, b := newCluster(t), newBackend()
			conf := config()
			if way.name == "Transact" {
				conf = transactional()
			}
			p := b.producer(t, c, conf)
			const n = 100
			msgs := make([]*sarama.ProducerMessage, n)
			array := append(make([]sarama.RecordHeader, 0, 8), sarama.RecordHeader{Key: []byte("own"), Value: []byte("yes")})
			for i := range msgs {
				msgs[i] = message(int32(i%2), i)
				msgs[i].Headers = array // shared, with room for more
			}
			ctx, caller := b.tracers.Tracer("test").Start(impatient(t), "caller")
			if err := way.send(ctx, t, p, msgs); err != nil {
				t.Fatal(err)
			}
			spans := b.spans.Ended()
			if len(spans) != n {
				t.Fatalf("%d spans of %d messages", len(spans), n)
			}
			for _, h := range array[1:cap(array)] {
				if h.Key != nil {
					t.Fatalf("%q was written into the callers' array", h.Key)
				}
			}
			for _, msg := range msgs {
				if want := map[bool]int{true: 1, false: 2}[way.copies]; len(msg.Headers) != want {
					t.Fatalf("the caller's message has %d headers, want %d", len(msg.Headers), want)
				}
			}
			parent := trace.SpanContext{}
			if way.context {
				parent = caller.SpanContext()
			}
			sent := map[place]sdk.ReadOnlySpan{}
			for _, s := range spans {
				if s.Name() != "send t" || s.SpanKind() != trace.SpanKindProducer || s.Status().Code != codes.Unset {
					t.Fatalf("span %q of kind %v, status %v", s.Name(), s.SpanKind(), s.Status())
				}
				if !s.Parent().Equal(parent) {
					t.Fatalf("parent %v, want %v", s.Parent(), parent)
				}
				got := lines(s.Attributes())
				at := place{got["messaging.destination.partition.id"], got["messaging.kafka.offset"]}
				sent[at] = s
				want := map[string]string{
					"messaging.system": "kafka", "messaging.operation.name": "send", "messaging.operation.type": "send",
					"messaging.destination.name": "t", "messaging.destination.partition.id": at.partition, "messaging.kafka.offset": at.offset,
				}
				if !maps.Equal(got, want) {
					t.Fatalf("attributes %v, want %v", got, want)
				}
				if s.InstrumentationScope().Name != scope || s.InstrumentationScope().SchemaURL != semconv.SchemaURL {
					t.Fatalf("scope %v", s.InstrumentationScope())
				}
			}
			if len(sent) != n {
				t.Fatalf("%d places in the log of %d messages", len(sent), n)
			}
			for at, s := range consumed(t, c, n) {
				if sent[at] == nil || s.Parent().SpanID() != sent[at].SpanContext().SpanID() || s.Parent().TraceID() != sent[at].SpanContext().TraceID() {
					t.Fatalf("at %v the consumer found the context %v, the producer's span is %v", at, s.Parent(), sent[at])
				}
			}
		})
	}
}

// place is where a message is in the log, as text.
type place struct{ partition, offset string }

// consumed reads n messages with otelsarama, and returns its spans, whose parents it finds in the headers.
func consumed(t *testing.T, c *kfake.Cluster, n int) map[place]sdk.ReadOnlySpan {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	conf := config()
	conf.Consumer.MaxWaitTime = 20 * time.Millisecond // Close waits for a fetch
	consumer, err := sarama.NewConsumer(c.ListenAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	wrapped := otelsarama.WrapConsumer(consumer, otelsarama.WithPropagators(w3c),
		otelsarama.WithTracerProvider(sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))))
	read := 0
	for partition := range int32(2) {
		pc, err := wrapped.ConsumePartition("t", partition, sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		for range n / 2 {
			msg := receive(t, pc.Messages())
			if own := slices.ContainsFunc(msg.Headers, func(h *sarama.RecordHeader) bool { return string(h.Key) == "own" && string(h.Value) == "yes" }); !own {
				t.Fatal("the user's own header is not there")
			}
			read++
		}
		if err := pc.Close(); err != nil {
			t.Fatal(err)
		}
		for range pc.Messages() { //nolint:revive // until its goroutine has ended
		}
	}
	all := map[place]sdk.ReadOnlySpan{}
	for _, s := range spans.Ended() {
		got := lines(s.Attributes())
		all[place{got["messaging.kafka.source.partition"], got["messaging.message.id"]}] = s // names of older conventions
	}
	if len(all) != n {
		t.Fatalf("otelsarama made %d spans of %d messages, such as %v", len(all), n, spans.Ended()[0].Attributes())
	}
	return all
}

// A message's own headers name the parent where the caller has no span; otherwise they are a link. What they held of the
// propagator's is replaced as a whole.
func TestContextOfHeaders(t *testing.T) {
	const (
		traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
		spanID  = "00f067aa0ba902b7"
	)
	own := func() *sarama.ProducerMessage {
		msg := message(0, 0)
		msg.Headers = []sarama.RecordHeader{
			{Key: []byte("first"), Value: []byte("1")},
			{Key: []byte("traceparent"), Value: []byte("00-" + traceID + "-" + spanID + "-01")},
			{Key: []byte("tracestate"), Value: []byte("vendor=x")},
			{Key: []byte("baggage"), Value: []byte("user=7")},
			{Key: []byte("last"), Value: []byte("2")},
		}
		return msg
	}
	headersOf := func(msg *sarama.ProducerMessage) map[string]string {
		all := map[string]string{}
		for _, h := range msg.Headers {
			if _, twice := all[string(h.Key)]; twice {
				t.Errorf("header %q is there twice", h.Key)
			}
			all[string(h.Key)] = string(h.Value)
		}
		return all
	}

	b := newBackend()
	tracer := NewTracer(b.options()...)
	msg := own()
	before := slices.Clone(msg.Headers)
	array := msg.Headers
	tracer.Begin(t.Context(), msg)(0, 0, nil)
	span := b.spans.Ended()[0]
	if span.Parent().TraceID().String() != traceID || span.Parent().SpanID().String() != spanID || !span.Parent().IsRemote() {
		t.Errorf("parent %v", span.Parent())
	}
	want := map[string]string{
		"first": "1", "last": "2", "tracestate": "vendor=x", "baggage": "user=7",
		"traceparent": "00-" + traceID + "-" + span.SpanContext().SpanID().String() + "-01",
	}
	if got := headersOf(msg); !maps.Equal(got, want) {
		t.Errorf("headers %v, want %v", got, want)
	}
	for i := range array {
		if string(array[i].Key) != string(before[i].Key) || string(array[i].Value) != string(before[i].Value) {
			t.Error("the caller's array was written to")
		}
	}

	// Sent again, as after a failure: a child of the first span, and no header twice.
	tracer.Begin(t.Context(), msg)(0, 1, nil)
	again := b.spans.Ended()[1]
	if again.Parent().SpanID() != span.SpanContext().SpanID() {
		t.Errorf("the parent is %v, want the first span %v", again.Parent(), span.SpanContext())
	}
	want["traceparent"] = "00-" + traceID + "-" + again.SpanContext().SpanID().String() + "-01"
	if got := headersOf(msg); !maps.Equal(got, want) {
		t.Errorf("sent again: headers %v, want %v", got, want)
	}

	// The caller has a span, and no baggage.
	ctx, caller := b.tracers.Tracer("test").Start(t.Context(), "caller")
	msg = own()
	tracer.Begin(ctx, msg)(0, 2, nil)
	span = b.spans.Ended()[2]
	if span.Parent().SpanID() != caller.SpanContext().SpanID() {
		t.Errorf("the parent is %v, want the caller's %v", span.Parent(), caller.SpanContext())
	}
	if links := span.Links(); len(links) != 1 || links[0].SpanContext.SpanID().String() != spanID {
		t.Errorf("links %v", links)
	}
	want = map[string]string{
		"first": "1", "last": "2",
		"traceparent": "00-" + caller.SpanContext().TraceID().String() + "-" + span.SpanContext().SpanID().String() + "-01",
	}
	if got := headersOf(msg); !maps.Equal(got, want) {
		t.Errorf("with a caller's span: headers %v, want %v", got, want)
	}

	// The caller's baggage goes along.
	member, _ := baggage.NewMember("user", "8")
	bag, _ := baggage.New(member)
	msg = message(0, 0)
	tracer.Begin(baggage.ContextWithBaggage(ctx, bag), msg)(0, 3, nil)
	if got := headersOf(msg)["baggage"]; got != "user=8" {
		t.Errorf("baggage %q", got)
	}
}

// Without a TracerProvider the context still travels, and nobody asks for the outcome. Without a propagator headers stay as they are.
func TestWithoutSDK(t *testing.T) {
	quiet := NewTracer(WithTracerProvider(noop.NewTracerProvider()), WithPropagator(w3c))
	ctx, caller := newBackend().tracers.Tracer("test").Start(t.Context(), "caller")
	msg := message(0, 0)
	if quiet.Begin(ctx, msg) != nil {
		t.Error("it asks for the outcome")
	}
	if len(msg.Headers) != 1 || !strings.Contains(string(msg.Headers[0].Value), caller.SpanContext().SpanID().String()) {
		t.Errorf("headers %s do not carry the caller's context", msg.Headers)
	}
	msg = message(0, 0)
	if quiet.Begin(t.Context(), msg) != nil || msg.Headers != nil {
		t.Errorf("headers %s with nothing to carry", msg.Headers)
	}
	NewTracer(newBackend().options(WithPropagator(propagation.NewCompositeTextMapPropagator()))...).Begin(ctx, msg)
	if msg.Headers != nil {
		t.Errorf("headers %s without a propagator", msg.Headers)
	}
}

// What is not sampled says so in the headers, for the consumer's sampler; it has no span, but is measured.
func TestNotSampled(t *testing.T) {
	c, b := newCluster(t), newBackend()
	b.tracers = sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample()), sdk.WithSpanProcessor(b.spans))
	p := b.producer(t, c, config())
	msg := message(0, 0)
	if _, _, err := p.SendMessage(msg); err != nil {
		t.Fatal(err)
	}
	if len(b.spans.Ended()) > 0 || len(msg.Headers) != 1 || !strings.HasSuffix(string(msg.Headers[0].Value), "-00") {
		t.Errorf("%d spans, headers %s", len(b.spans.Ended()), msg.Headers)
	}
	if n := b.metric(t, "messaging.client.sent.messages").Data.(metricdata.Sum[int64]).DataPoints[0].Value; n != 1 {
		t.Errorf("%d messages are counted", n)
	}
}

// A message that fails has a span with the status and the kind of the error, whichever way it came, and is measured as failed.
func TestEachWayInTellsFailures(t *testing.T) {
	for _, way := range ways {
		for _, failure := range []struct {
			class string
			msg   *sarama.ProducerMessage
		}{
			{"INVALID_RECORD", message(0, 0)}, // refused by the broker
			{"INVALID_TOPIC_EXCEPTION", &sarama.ProducerMessage{}},
			{"MESSAGE_TOO_LARGE", &sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, 2<<20))}},
			{"invalid", message(7, 0)},
		} {
			t.Run(way.name+"/"+failure.class, func(t *testing.T) {
				c, b := newCluster(t), newBackend()
				c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Partitions: []int32{0}, Err: kerr.InvalidRecord, Count: 1})
				conf := config()
				if way.name == "Transact" {
					conf = transactional()
				}
				p := b.producer(t, c, conf)
				msg := *failure.msg
				err := single(way.send(impatient(t), t, p, []*sarama.ProducerMessage{&msg}))
				if err == nil {
					t.Fatal("it does not fail")
				}
				if len(b.spans.Ended()) != 1 {
					t.Fatalf("%d spans", len(b.spans.Ended()))
				}
				span := b.spans.Ended()[0]
				got := lines(span.Attributes())
				if span.Status().Code != codes.Error || span.Status().Description == "" || got["error.type"] != failure.class {
					t.Errorf("%v: status %v, attributes %v", err, span.Status(), got)
				}
				if _, ok := got["messaging.kafka.offset"]; ok || got["messaging.destination.name"] != msg.Topic {
					t.Errorf("attributes %v", got)
				}
				points := b.metric(t, "messaging.client.sent.messages").Data.(metricdata.Sum[int64]).DataPoints
				if class, _ := points[0].Attributes.Value("error.type"); len(points) != 1 || points[0].Value != 1 || class.AsString() != failure.class {
					t.Errorf("measured as %v", points)
				}
			})
		}
	}
}

// A sender that gives up has a canceled span, if it takes the message back; else the span waits for the truth.
func TestSenderGivesUp(t *testing.T) {
	for _, held := range []kmsg.Key{kmsg.Metadata, kmsg.Produce} {
		t.Run(held.Name(), func(t *testing.T) {
			c, b := newCluster(t), newBackend()
			conf := config()
			conf.Metadata.Full = false // the topic must be looked up
			p := b.producer(t, c, conf)
			arrived, open := make(chan struct{}), make(chan struct{})
			c.ControlKey(held.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
				close(arrived)
				c.SleepControl(func() { <-open })
				return nil, nil, false
			})
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-arrived
				cancel()
			}()
			_, _, err := p.SendMessageContext(ctx, message(0, 0))
			if held == kmsg.Metadata {
				if spans := b.spans.Ended(); !errors.Is(err, context.Canceled) || len(spans) != 1 || lines(spans[0].Attributes())["error.type"] != typeCanceled {
					t.Errorf("%v, spans %v", err, spans)
				}
			} else if !errors.Is(err, sluice.ErrOutcomeUnknown) || len(b.spans.Ended()) != 0 {
				t.Errorf("%v, %d spans have ended", err, len(b.spans.Ended()))
			}
			close(open)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			spans := b.spans.Ended()
			if len(spans) != 1 {
				t.Fatalf("%d spans", len(spans))
			}
			if held == kmsg.Produce && (spans[0].Status().Code != codes.Unset || lines(spans[0].Attributes())["messaging.kafka.offset"] != "0") {
				t.Errorf("status %v, attributes %v", spans[0].Status(), spans[0].Attributes())
			}
		})
	}
}

func TestClosedProducerHasSpans(t *testing.T) {
	c, b := newCluster(t), newBackend()
	p := b.producer(t, c, config())
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.SendMessage(message(0, 0)); !errors.Is(err, sarama.ErrShuttingDown) {
		t.Error(err)
	}
	if spans := b.spans.Ended(); len(spans) != 1 || lines(spans[0].Attributes())["error.type"] != typeClosed {
		t.Errorf("spans %v", spans)
	}
}

// The two metrics of the conventions: names, units, boundaries, attributes, and what they count.
func TestMessageMetrics(t *testing.T) {
	c, b := newCluster(t), newBackend()
	tracer := NewTracer(b.options(WithAttributes(semconv.MessagingClientID("orders")))...)
	p := newProducer(t, c, config(), sluice.WithTracer(tracer))
	const n = 10
	for i := range n {
		if _, _, err := p.SendMessage(message(0, i)); err != nil {
			t.Fatal(err)
		}
	}
	want := attribute.NewSet(semconv.MessagingSystemKafka, semconv.MessagingOperationName("send"), semconv.MessagingOperationTypeSend,
		semconv.MessagingDestinationName("t"), semconv.MessagingClientID("orders"))
	sent := b.metric(t, "messaging.client.sent.messages")
	sum, ok := sent.Data.(metricdata.Sum[int64])
	if !ok || !sum.IsMonotonic || sent.Unit != "{message}" || len(sum.DataPoints) != 1 {
		t.Fatalf("%+v", sent)
	}
	if point := sum.DataPoints[0]; point.Value != n || !point.Attributes.Equals(&want) {
		t.Errorf("%d messages with %v", point.Value, point.Attributes.ToSlice())
	}
	duration := b.metric(t, "messaging.client.operation.duration")
	histogram, ok := duration.Data.(metricdata.Histogram[float64])
	if !ok || duration.Unit != "s" || len(histogram.DataPoints) != 1 {
		t.Fatalf("%+v", duration)
	}
	point := histogram.DataPoints[0]
	if point.Count != n || point.Sum <= 0 || !point.Attributes.Equals(&want) || !slices.Equal(point.Bounds, durationBounds) {
		t.Errorf("%+v", point)
	}
	if len(b.spans.Ended()) != n || lines(b.spans.Ended()[0].Attributes())["messaging.client.id"] != "orders" {
		t.Error("spans lack the attribute of WithAttributes")
	}
}

// Keys are told only if the program asks for it, and where they are text. A message without a value is a tombstone.
func TestKeysAndTombstones(t *testing.T) {
	for _, test := range []struct {
		key, value sarama.Encoder
		want       map[string]string // beside those that all have
	}{
		{sarama.StringEncoder("k"), sarama.StringEncoder(""), map[string]string{"messaging.kafka.message.key": "k"}},
		{sarama.ByteEncoder("k"), sarama.ByteEncoder{}, map[string]string{"messaging.kafka.message.key": "k"}},
		{sarama.ByteEncoder{0xff}, sarama.StringEncoder("x"), nil},
		{sarama.ByteEncoder(nil), sarama.ByteEncoder(nil), map[string]string{"messaging.kafka.message.tombstone": "true"}},
		{nil, nil, map[string]string{"messaging.kafka.message.tombstone": "true"}},
	} {
		for _, keys := range []bool{true, false} {
			b := newBackend()
			opts := b.options()
			if keys {
				opts = append(opts, WithMessageKeys())
			}
			NewTracer(opts...).Begin(t.Context(), &sarama.ProducerMessage{Topic: "t", Key: test.key, Value: test.value})(-1, -1, nil)
			got := lines(b.spans.Ended()[0].Attributes())
			for _, common := range []string{"messaging.system", "messaging.operation.name", "messaging.operation.type", "messaging.destination.name"} {
				delete(got, common)
			}
			want := maps.Clone(test.want)
			if !keys {
				delete(want, "messaging.kafka.message.key")
			}
			if !maps.Equal(got, want) {
				t.Errorf("key %v, value %v: %v, want %v", test.key, test.value, got, want)
			}
		}
	}
}

// Topics without end don't take memory without end.
func TestTopicsKept(t *testing.T) {
	b := newBackend()
	tracer := NewTracer(b.options()...)
	for i := range topicsKept + 100 {
		msg := message(0, 0)
		msg.Topic = "t" + strings.Repeat("x", i)
		tracer.Begin(t.Context(), msg)(0, 0, nil)
		if name := b.spans.Ended()[i].Name(); name != "send "+msg.Topic {
			t.Fatalf("span %q of topic %q", name, msg.Topic)
		}
	}
	kept := 0
	tracer.topics.known.Range(func(any, any) bool { kept++; return true })
	if kept != topicsKept {
		t.Errorf("%d topics are kept", kept)
	}
}

// Under otelsarama's wrapper, which the program may keep, our span is a child of the wrapper's, and the consumer finds ours.
func TestUnderOtelsaramasWrapper(t *testing.T) {
	for _, way := range []string{"sync", "async"} {
		t.Run(way, func(t *testing.T) {
			c, b := newCluster(t), newBackend()
			conf := config()
			p := b.producer(t, c, conf)
			outer := tracetest.NewSpanRecorder()
			opts := []otelsarama.Option{
				otelsarama.WithTracerProvider(sdk.NewTracerProvider(sdk.WithSpanProcessor(outer))), otelsarama.WithPropagators(w3c),
			}
			msgs := []*sarama.ProducerMessage{message(0, 0), message(1, 1)}
			for _, msg := range msgs {
				msg.Headers = []sarama.RecordHeader{{Key: []byte("own"), Value: []byte("yes")}}
			}
			if way == "sync" {
				wrapped := otelsarama.WrapSyncProducer(conf, p, opts...)
				if err := wrapped.SendMessages(msgs); err != nil {
					t.Fatal(err)
				}
			} else {
				wrapped := otelsarama.WrapAsyncProducer(conf, p, opts...)
				for _, msg := range msgs {
					wrapped.Input() <- msg
				}
				for range msgs {
					receive(t, wrapped.Successes())
				}
				if err := wrapped.Close(); err != nil {
					t.Fatal(err)
				}
			}
			wrappers := map[trace.SpanID]bool{}
			for _, s := range outer.Ended() {
				wrappers[s.SpanContext().SpanID()] = true
			}
			ours := map[trace.SpanID]bool{}
			for _, s := range b.spans.Ended() {
				ours[s.SpanContext().SpanID()] = true
				if !wrappers[s.Parent().SpanID()] {
					t.Errorf("the parent %v is not one of the wrapper's %d spans", s.Parent(), len(wrappers))
				}
			}
			if len(wrappers) != len(msgs) || len(ours) != len(msgs) {
				t.Errorf("%d spans of the wrapper, %d of ours", len(wrappers), len(ours))
			}
			for _, s := range consumed(t, c, len(msgs)) {
				if !ours[s.Parent().SpanID()] {
					t.Errorf("the consumer found %v", s.Parent())
				}
			}
		})
	}
}

// OTLP's texts must be UTF-8: with any other the export of a whole batch fails. A program may ask for any topic.
func TestTextsAreUTF8(t *testing.T) {
	b := newBackend()
	tracer := NewTracer(b.options()...)
	end := tracer.Begin(t.Context(), &sarama.ProducerMessage{Topic: "a\xff"})
	end(-1, -1, errors.New("refused: \xfe"))
	stats := someStats()
	stats.Topics[0].Topic, stats.Brokers[0].Addr = "b\xff", "\xff:9092"
	stop, err := Observe(&numbers{stats}, b.options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	span := b.spans.Ended()[0]
	texts := []string{span.Name(), span.Status().Description}
	for _, a := range span.Attributes() {
		texts = append(texts, a.Value.String())
	}
	for _, name := range []string{"sluice.producer.records.buffered", "sluice.producer.requests.sent"} {
		values, _, _ := b.observed(t, name)
		texts = slices.AppendSeq(texts, maps.Keys(values))
	}
	for _, text := range texts {
		if !utf8.ValidString(text) {
			t.Errorf("%q", text)
		}
	}
}
