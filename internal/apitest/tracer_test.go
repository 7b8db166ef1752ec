package apitest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
)

// tracer numbers messages by a header, and keeps what it hears of them.
type tracer struct {
	panicAtBegin, panicAtEnd any
	deaf                     bool // it does not ask for outcomes

	mu     sync.Mutex
	traces []*trace
}

type trace struct {
	topic string
	from  any // the value in the caller's context
	ends  []ending
}

type ending struct {
	partition int32
	offset    int64
	err       error
}

type callerKey struct{}

const traceHeader = "trace"

func (tr *tracer) Begin(ctx context.Context, msg *sarama.ProducerMessage) func(int32, int64, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	t := &trace{topic: msg.Topic, from: ctx.Value(callerKey{})}
	headers := slices.DeleteFunc(slices.Clone(msg.Headers), func(h sarama.RecordHeader) bool { return string(h.Key) == traceHeader })
	msg.Headers = append(headers, sarama.RecordHeader{Key: []byte(traceHeader), Value: fmt.Append(nil, len(tr.traces))})
	tr.traces = append(tr.traces, t)
	if tr.panicAtBegin != nil {
		panic(tr.panicAtBegin)
	}
	if tr.deaf {
		return nil
	}
	return func(partition int32, offset int64, err error) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		t.ends = append(t.ends, ending{partition, offset, err})
		if tr.panicAtEnd != nil {
			panic(tr.panicAtEnd)
		}
	}
}

// all waits until each of n messages has ended, and checks that none did twice.
func (tr *tracer) all(t testing.TB, n int) []*trace {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.traces) != n {
		t.Fatalf("%d messages began, want %d", len(tr.traces), n)
	}
	for i, trace := range tr.traces {
		if len(trace.ends) != 1 {
			t.Fatalf("message %d of %d ended %d times: %v", i, n, len(trace.ends), trace.ends)
		}
	}
	return tr.traces
}

// errors are those of n messages that have ended.
func (tr *tracer) errors(t testing.TB, n int) (errs []error) {
	t.Helper()
	for _, trace := range tr.all(t, n) {
		errs = append(errs, trace.ends[0].err)
	}
	return errs
}

// wantTraces compares what the tracer heard of n messages with the log, which has so many markers beside them: each record has
// the header of a message with its partition and offset.
func (tr *tracer) wantTraces(t testing.TB, c *kfake.Cluster, n, markers int) {
	t.Helper()
	traces := tr.all(t, n)
	for _, r := range readTopic(t, c, "t", n+markers, kgo.KeepControlRecords()) {
		if r.Attrs.IsControl() {
			continue
		}
		var number int
		if _, err := fmt.Sscan(headerOf(r, traceHeader), &number); err != nil || headerOf(r, "own") != "yes" || len(r.Headers) != 2 {
			t.Fatalf("headers %v: %v", r.Headers, err)
		}
		if want := (ending{r.Partition, r.Offset, nil}); traces[number].ends[0] != want {
			t.Errorf("message %d ended as %v, and is %v in the log", number, traces[number].ends[0], want)
		}
	}
}

func headerOf(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// tracedWays are all ways in. Each sends messages, and returns when it knows their outcomes.
var tracedWays = []struct {
	name    string
	context bool // the caller's is the tracer's
	copies  bool // the caller's messages stay as they are
	send    func(ctx context.Context, t *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error
}{
	{"Input", false, false, func(_ context.Context, t *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		go send(p, msgs...)
		successes(t, p, len(msgs))
		return nil
	}},
	{"InputBatch", false, false, func(_ context.Context, t *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		p.InputBatch() <- slices.Clone(msgs)
		successes(t, p, len(msgs))
		return nil
	}},
	{"Produce", true, false, func(ctx context.Context, t *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return produceAll(ctx, p, msgs)
	}},
	{"SendMessage", false, false, func(_ context.Context, _ *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return each(msgs, func(msg *sarama.ProducerMessage) error { _, _, err := p.SendMessage(msg); return err })
	}},
	{"SendMessages", false, false, func(_ context.Context, _ *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return p.SendMessages(msgs)
	}},
	{"SendMessageContext", true, true, func(ctx context.Context, _ *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return each(msgs, func(msg *sarama.ProducerMessage) error { _, _, err := p.SendMessageContext(ctx, msg); return err })
	}},
	{"SendMessagesContext", true, true, func(ctx context.Context, _ *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return p.SendMessagesContext(ctx, msgs)
	}},
	{"SendMessagesContext without an end", true, true, func(ctx context.Context, _ *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		return p.SendMessagesContext(context.WithoutCancel(ctx), msgs)
	}},
	{"Typed", true, true, func(ctx context.Context, _ *testing.T, p *sluice.Producer, msgs []*sarama.ProducerMessage) error {
		typed := sluice.NewTyped(p, sluice.StringSerializer, sluice.StringSerializer)
		return each(msgs, func(msg *sarama.ProducerMessage) error {
			value, _ := msg.Value.Encode()
			_, err := typed.Send(ctx, msg.Topic, "", string(value),
				sluice.MessagePartition(msg.Partition), sluice.MessageHeader("own", []byte("yes"))).Get(ctx)
			return err
		})
	}},
}

func each(msgs []*sarama.ProducerMessage, send func(*sarama.ProducerMessage) error) (err error) {
	for _, msg := range msgs {
		if failed := send(msg); err == nil {
			err = failed
		}
	}
	return err
}

// produceAll sends by Produce, and waits for the outcomes.
func produceAll(ctx context.Context, p sluice.MessageProducer, msgs []*sarama.ProducerMessage) error {
	outcomes := make(chan error, len(msgs))
	for _, msg := range msgs {
		if err := p.Produce(ctx, msg, func(_ *sarama.ProducerMessage, err error) { outcomes <- err }); err != nil {
			outcomes <- err
		}
	}
	return each(msgs, func(*sarama.ProducerMessage) error { return <-outcomes })
}

// ownHeaders gives messages one array of headers that has room behind it, which must stay as it is.
func ownHeaders(msgs []*sarama.ProducerMessage) (array []sarama.RecordHeader) {
	array = append(make([]sarama.RecordHeader, 0, 4), sarama.RecordHeader{Key: []byte("own"), Value: []byte("yes")})
	for _, msg := range msgs {
		msg.Headers = array
	}
	return array[:cap(array)]
}

// However a message comes in, the tracer hears of it once, with its caller's context, and of its outcome before the sender.
func TestTracerHearsOfEachWay(t *testing.T) {
	for _, way := range tracedWays {
		t.Run(way.name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 2)
			tr := &tracer{}
			p := newAsync(t, c, testConfig(), sluice.WithTracer(tr))
			const n = 200
			msgs := messages(n, 2)
			array := ownHeaders(msgs)
			if err := way.send(context.WithValue(impatient(t), callerKey{}, "caller"), t, p, msgs); err != nil {
				t.Fatal(err)
			}
			for _, trace := range tr.all(t, n) {
				if want := map[bool]any{true: "caller"}[way.context]; trace.from != want || trace.topic != "t" {
					t.Fatalf("began for topic %q with a context of %v, want %v", trace.topic, trace.from, want)
				}
			}
			for _, msg := range msgs {
				if got, want := len(msg.Headers), map[bool]int{true: 1, false: 2}[way.copies]; got != want {
					t.Fatalf("the caller's message has %d headers, want %d", got, want)
				}
			}
			for _, h := range array[1:] {
				if h.Key != nil {
					t.Fatalf("%q was written into the caller's array", h.Key)
				}
			}
			tr.wantTraces(t, c, n, 0)
		})
	}
}

func TestTracerInTransaction(t *testing.T) {
	c := newTopicCluster(t, 1, 2)
	tr := &tracer{}
	conf := testConfig()
	conf.Producer.Idempotent, conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
	conf.Producer.Transaction.ID = "traced"
	p := newAsync(t, c, conf, sluice.WithTracer(tr))
	_, _, err := p.SendMessage(message(0, 0)) // there is no transaction
	wantError(t, err, causes(sarama.ErrTransactionNotReady))
	wantError(t, tr.errors(t, 1)[0], causes(sarama.ErrTransactionNotReady))

	tr.traces = nil
	msgs := messages(20, 2)
	ownHeaders(msgs)
	err = p.Transact(t.Context(), func(tx sluice.Tx) error {
		go send(p, msgs[:10]...)
		successes(t, p, 10)
		return produceAll(t.Context(), tx, msgs[10:])
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.wantTraces(t, c, 20, 2)
}

// Every message that fails ends once, with the error that its sender gets.
func TestTracerHearsOfFailures(t *testing.T) {
	tooLarge := message(0, 0)
	tooLarge.Value = sarama.StringEncoder(strings.Repeat("x", 2<<20))
	failures := []struct {
		name  string
		msg   *sarama.ProducerMessage
		cause error // nil if it has none by name
	}{
		{"no topic", &sarama.ProducerMessage{}, sarama.ErrInvalidTopic},
		{"too large", tooLarge, sarama.ErrMessageSizeTooLarge},
		{"no such partition", message(7, 0), sarama.ErrInvalidPartition},
		{"encoder fails", &sarama.ProducerMessage{Topic: "t", Value: encoder{panics: true}}, nil},
		{"length panics", &sarama.ProducerMessage{Topic: "t", Value: encoder{length: func() int { panic("no length") }}}, nil},
		{"refused by the broker", message(0, 0), kerrInvalidRecord},
	}
	for _, way := range tracedWays {
		if way.name == "Typed" {
			continue // it makes messages of its own
		}
		for _, failure := range failures {
			t.Run(way.name+"/"+failure.name, func(t *testing.T) {
				t.Parallel()
				c := newTopicCluster(t, 1, 2)
				failProduce(c, kerr.InvalidRecord, 1)
				tr := &tracer{}
				p := newAsync(t, c, testConfig(), sluice.WithTracer(tr))
				msg := *failure.msg
				var err error
				if strings.HasPrefix(way.name, "Input") {
					if way.name == "Input" {
						send(p, &msg)
					} else {
						p.InputBatch() <- []*sarama.ProducerMessage{&msg}
					}
					err = receive(t, p.Errors()).Err
				} else {
					err = way.send(impatient(t), t, p, []*sarama.ProducerMessage{&msg})
				}
				heard := tr.errors(t, 1)[0]
				if err = single(err); err == nil || heard != err {
					t.Fatalf("the sender got %v, the tracer %v", err, heard)
				}
				if failure.cause != nil && !errors.Is(heard, failure.cause) {
					t.Errorf("%v does not wrap %v", heard, failure.cause)
				}
			})
		}
	}
}

// kerrInvalidRecord is INVALID_RECORD, as sarama has it.
var kerrInvalidRecord error = sarama.KError(kerr.InvalidRecord.Code)

// What a caller takes back ends at once. What it gives up, though it may be written, ends when the truth is known.
func TestTracerHearsTheTruth(t *testing.T) {
	for _, way := range tracedWays {
		if !strings.HasPrefix(way.name, "SendMessage") || !way.context {
			continue
		}
		if strings.HasSuffix(way.name, "without an end") {
			continue
		}
		t.Run(way.name+", withdrawn", func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			held := holdLookUps(t, c)
			conf := testConfig()
			conf.Metadata.Full = false // else the topic is known from the start
			tr := &tracer{}
			p := newAsync(t, c, conf, sluice.WithTracer(tr))
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-held.arrived
				cancel()
			}()
			wantError(t, single(way.send(ctx, t, p, messages(1, 1))), nil, "withdrawn")
			wantError(t, tr.errors(t, 1)[0], causes(context.Canceled), "withdrawn")
			held.open()
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			tr.errors(t, 1) // the pipeline has come to it, and tells nothing
		})
		t.Run(way.name+", given up", func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			held := holdProduce(t, c, nil)
			tr := &tracer{}
			p := newAsync(t, c, testConfig(), sluice.WithTracer(tr))
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-held.arrived
				cancel()
			}()
			msgs := messages(1, 1)
			ownHeaders(msgs)
			wantError(t, single(way.send(ctx, t, p, msgs)), causes(sluice.ErrOutcomeUnknown))
			held.open()
			if err := p.Flush(impatient(t)); err != nil {
				t.Fatal(err)
			}
			tr.wantTraces(t, c, 1, 0)
		})
	}
}

// single is the error of the first message that failed in a call.
func single(err error) error {
	if failed, ok := errors.AsType[sarama.ProducerErrors](err); ok {
		return failed[0].Err
	}
	return err
}

// Nothing is left without an end when the producer is closed, however it is.
func TestTracerHearsOfTheRestAtClose(t *testing.T) {
	for _, way := range []string{"delivered", "cut short", "expired"} {
		t.Run(way, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			held := holdProduce(t, c, nil)
			tr := &tracer{}
			opts := []sluice.Option{sluice.WithTracer(tr)}
			if way == "expired" {
				opts = append(opts, sluice.WithDeliveryTimeout(50*time.Millisecond))
			}
			p := newAsync(t, c, testConfig(), opts...)
			const n = 100
			go func() {
				for range p.Successes() { //nolint:revive // drained
				}
			}()
			failed := make(chan int, 1)
			go func() {
				failures := 0
				for range p.Errors() {
					failures++
				}
				failed <- failures
			}()
			send(p, messages(n, 1)...)
			receive(t, held.arrived)
			want := 0
			switch way {
			case "delivered":
				held.open()
				_ = p.Close()
			case "cut short":
				_ = p.CloseContext(ended())
				want = n
			case "expired":
				_ = p.Close()
				want = n
			}
			held.open()
			receive(t, failed)
			got := 0
			for _, err := range tr.errors(t, n) {
				if err != nil {
					got++
				}
			}
			if got != want {
				t.Errorf("the tracer heard of %d failures, want %d", got, want)
			}
			_, _, err := p.SendMessage(message(0, n))
			wantError(t, err, causes(sarama.ErrShuttingDown))
			wantError(t, tr.errors(t, n+1)[n], causes(sarama.ErrShuttingDown))
			wantError(t, p.Produce(t.Context(), message(0, n), nil), causes(sarama.ErrShuttingDown))
			wantError(t, single(p.SendMessages(messages(2, 1))), causes(sarama.ErrShuttingDown))
			wantError(t, single(p.SendMessagesContext(impatient(t), messages(2, 1))), causes(sarama.ErrShuttingDown))
			tr.errors(t, n+6)
		})
	}
}

// A message that does not get memory ends as well.
func TestTracerHearsOfFullMemory(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	held := holdProduce(t, c, nil)
	defer held.open()
	tr := &tracer{}
	p := newAsync(t, c, testConfig(), sluice.WithTracer(tr), sluice.WithBufferMemory(1<<10))
	most := message(0, 0)
	most.Value = sarama.StringEncoder(strings.Repeat("x", 200)) // most of the memory
	if err := p.Produce(t.Context(), most, nil); err != nil {
		t.Fatal(err)
	}
	receive(t, held.arrived)
	wantError(t, p.Produce(ended(), message(0, 1), nil), causes(sluice.ErrBufferFull))
	wantError(t, single(p.SendMessagesContext(ended(), messages(2, 1))), causes(sluice.ErrBufferFull))
	held.open()
	if err := p.Flush(impatient(t)); err != nil {
		t.Fatal(err)
	}
	for i, err := range tr.errors(t, 4) {
		if i > 0 != errors.Is(err, sluice.ErrBufferFull) {
			t.Errorf("message %d: %v", i, err)
		}
	}
}

// A panic of the tracer is logged. The message goes on, and an end that is not wanted is not called.
func TestTracerPanics(t *testing.T) {
	for name, tr := range map[string]*tracer{
		"at begin": {panicAtBegin: "broken tracer"}, "at end": {panicAtEnd: "broken tracer"}, "never, and hears nothing": {deaf: true},
	} {
		t.Run(name, func(t *testing.T) {
			lines := captureLog(t)
			c := newTopicCluster(t, 1, 1)
			p := newAsync(t, c, testConfig(), sluice.WithTracer(tr))
			send(p, message(0, 0))
			successes(t, p, 1)
			if _, _, err := p.SendMessage(message(0, 1)); err != nil {
				t.Error(err)
			}
			if err := p.SendMessages(messages(4, 1)[2:]); err != nil {
				t.Error(err)
			}
			if err := produceAll(t.Context(), p, messages(5, 1)[4:]); err != nil {
				t.Error(err)
			}
			wantInOrder(t, c, 5)
			if want := map[bool]int{false: 5}[tr.deaf]; lines.count("broken tracer") != want {
				t.Errorf("%d lines of the log tell of it, want %d", lines.count("broken tracer"), want)
			}
			if tr.panicAtEnd != nil {
				tr.all(t, 5)
			}
		})
	}
}

// The interceptors come after the tracer: they see its headers, and may change the message's size and topic.
func TestTracerComesBeforeInterceptors(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	var seen []string
	conf.Producer.Interceptors = []sarama.ProducerInterceptor{interceptor(func(msg *sarama.ProducerMessage) {
		for _, h := range msg.Headers {
			seen = append(seen, string(h.Key))
		}
	})}
	tr := &tracer{}
	p := newAsync(t, c, conf, sluice.WithTracer(tr))
	send(p, message(0, 0))
	successes(t, p, 1)
	if _, _, err := p.SendMessageContext(impatient(t), message(0, 1)); err != nil {
		t.Fatal(err)
	}
	tr.all(t, 2)
	if !slices.Equal(seen, []string{traceHeader, traceHeader}) {
		t.Errorf("the interceptor saw the headers %q", seen)
	}
}

// Headers count for a message's size: a tracer can make it too large, and the memory is charged for them.
func TestTracersHeadersCount(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig(), sluice.WithTracer(largeHeader{}))
	_, _, err := p.SendMessage(message(0, 0))
	wantError(t, err, causes(sarama.ErrMessageSizeTooLarge))
	send(p, message(0, 1))
	wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrMessageSizeTooLarge))
	wantNothingBuffered(t, p)
}

type largeHeader struct{}

func (largeHeader) Begin(_ context.Context, msg *sarama.ProducerMessage) func(int32, int64, error) {
	msg.Headers = []sarama.RecordHeader{{Key: []byte("large"), Value: make([]byte, 2<<20)}}
	return nil
}

// Messages of the inputs go to reports and channels as without a tracer.
func TestTracerAndReports(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	tr := &tracer{}
	opt, reports := collected()
	p := newAsync(t, c, testConfig(), opt, sluice.WithTracer(tr))
	const n = 100
	go send(p, messages(n, 1)...)
	successes(t, p, n)
	for reported := 0; reported < n; {
		r := receive(t, reports)
		if r.BaseOffset != int64(reported) || r.Err != nil {
			t.Errorf("report %+v, want the offset %d", r, reported)
		}
		reported += len(r.Messages)
	}
	tr.all(t, n)
}
