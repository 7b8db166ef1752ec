package apitest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-kafka/sluice"
)

// The metrics have sarama's names, and count what the broker saw.
func TestMetrics(t *testing.T) {
	c := newCluster(t)
	if err := c.CreateTopic("my.topic", 2, nil); err != nil {
		t.Fatal(err)
	}
	w := watch(c)
	conf := testConfig()
	conf.Producer.Compression = sarama.CompressionGZIP
	p := newAsync(t, c, conf)
	const n = 1000
	msgs := messages(n, 2)
	for _, msg := range msgs {
		msg.Topic = "my.topic"
	}
	go send(p, msgs...)
	successes(t, p, n)

	requests, batches, bytes := int64(0), int64(0), int64(0)
	brokers := map[int32]int64{}
	for _, req := range w.seen() {
		requests++
		brokers[req.node]++
		for _, b := range req.batches {
			batches++
			bytes += int64(b.bytes)
		}
	}
	histogram := func(name string) metrics.Histogram {
		h, ok := conf.MetricRegistry.Get(name).(metrics.Histogram)
		if !ok {
			t.Fatalf("%q is %T", name, conf.MetricRegistry.Get(name))
		}
		return h
	}
	meter := func(name string) metrics.Meter {
		m, ok := conf.MetricRegistry.Get(name).(metrics.Meter)
		if !ok {
			t.Fatalf("%q is %T", name, conf.MetricRegistry.Get(name))
		}
		return m
	}
	for _, suffix := range []string{"", "-for-topic-my_topic"} {
		if got := meter("record-send-rate" + suffix).Count(); got != n {
			t.Errorf("record-send-rate%s counts %d of %d", suffix, got, n)
		}
		if h := histogram("batch-size" + suffix); h.Count() != batches || h.Count() < 1000 && h.Sum() != bytes {
			t.Errorf("batch-size%s counts %d of %d batches, %d of %d bytes", suffix, h.Count(), batches, h.Sum(), bytes)
		}
		if h := histogram("records-per-request" + suffix); h.Count() != requests || h.Sum() != n {
			t.Errorf("records-per-request%s counts %d of %d requests, %d records", suffix, h.Count(), requests, h.Sum())
		}
		if h := histogram("compression-ratio" + suffix); h.Count() != batches || h.Min() < 100 {
			t.Errorf("compression-ratio%s counts %d of %d batches, from %d %%", suffix, h.Count(), batches, h.Min())
		}
	}
	for node, sent := range brokers {
		suffix := fmt.Sprintf("-for-broker-%d", node)
		// ApiVersions and the question for the cluster's id are requests, too.
		if got := meter("request-rate" + suffix).Count(); got != sent+2 {
			t.Errorf("request-rate%s counts %d, want %d", suffix, got, sent+2)
		}
		if h := histogram("request-size" + suffix); h.Count() != sent+2 {
			t.Errorf("request-size%s counts %d, want %d", suffix, h.Count(), sent+2)
		}
		for _, name := range []string{"outgoing-byte-rate", "incoming-byte-rate", "response-rate", "request-latency-in-ms", "response-size", "throttle-time-in-ms", "requests-in-flight"} {
			if conf.MetricRegistry.Get(name+suffix) == nil {
				t.Errorf("%s%s is missing", name, suffix)
			}
		}
		if in := conf.MetricRegistry.Get("requests-in-flight" + suffix).(metrics.Counter).Count(); in != 0 {
			t.Errorf("requests-in-flight%s is %d with everything answered", suffix, in)
		}
	}
	if meter("request-rate").Count() <= requests || meter("outgoing-byte-rate").Count() <= bytes {
		t.Error("request-rate and outgoing-byte-rate lack requests")
	}

	// A closed producer leaves nothing behind: its meters would tick for ever.
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	conf.MetricRegistry.Each(func(name string, _ any) { t.Errorf("%s stays after Close", name) })
}

// A panic of a callback or of a report is sarama.PanicHandler's, and the next one is called all the same.
func TestPanicHandler(t *testing.T) {
	panics := make(chan any, 10)
	handlePanics(t, func(p any) { panics <- p })

	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig(), sluice.WithDeliveryReport(func(sluice.DeliveryReport) { panic("report") }))
	err := p.Produce(t.Context(), message(0, 0), func(*sarama.ProducerMessage, error) { panic("callback") })
	if err != nil {
		t.Fatal(err)
	}
	if got := receive(t, panics); got != "callback" {
		t.Errorf("panic %v", got)
	}
	send(p, message(0, 1))
	if got := receive(t, panics); got != "report" {
		t.Errorf("panic %v", got)
	}
	called := make(chan struct{})
	if err := p.Produce(t.Context(), message(0, 2), func(*sarama.ProducerMessage, error) { close(called) }); err != nil {
		t.Fatal(err)
	}
	wait(t, called, "the callback after two panics")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if n, bytes := p.Buffered(); n != 0 || bytes != 0 {
		t.Errorf("%d messages, %d bytes are left", n, bytes)
	}
}

// interceptor calls itself.
type interceptor func(*sarama.ProducerMessage)

func (i interceptor) OnSend(msg *sarama.ProducerMessage) { i(msg) }

// An interceptor sees each message once, whichever way it came and however often it is sent.
func TestInterceptors(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	failProduce(c, kerr.NotEnoughReplicas, 2)
	var first, second atomic.Int32
	conf := testConfig()
	conf.Producer.Interceptors = []sarama.ProducerInterceptor{
		interceptor(func(msg *sarama.ProducerMessage) {
			first.Add(1)
			msg.Headers = append(msg.Headers, sarama.RecordHeader{Key: []byte("seen"), Value: []byte("1")})
			msg.Partition = 0
		}),
		interceptor(func(msg *sarama.ProducerMessage) {
			second.Add(1)
			if len(msg.Headers) != 1 {
				t.Errorf("headers %v: the first interceptor comes before", msg.Headers)
			}
			msg.Value = sarama.StringEncoder(string(msg.Value.(sarama.StringEncoder)) + "!")
		}),
	}
	async := newAsync(t, c, conf)
	sync := newSync(t, c, conf)
	send(async, message(9, 0), nil)
	async.InputBatch() <- []*sarama.ProducerMessage{message(9, 1), nil, message(9, 2)}
	if err := async.Produce(t.Context(), message(9, 3), nil); err != nil {
		t.Error(err)
	}
	if _, _, err := sync.SendMessage(message(9, 4)); err != nil {
		t.Error(err)
	}
	if err := sync.SendMessages([]*sarama.ProducerMessage{message(9, 5), message(9, 6)}); err != nil {
		t.Error(err)
	}
	successes(t, async, 3)
	if err := async.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	if first.Load() != 7 || second.Load() != 7 {
		t.Errorf("%d and %d calls for 7 messages", first.Load(), second.Load())
	}
	for _, r := range readTopic(t, c, "t", 7) {
		if len(r.Headers) != 1 || !strings.HasSuffix(string(r.Value), "!") || strings.HasSuffix(string(r.Value), "!!") {
			t.Errorf("value %q headers %v", r.Value, r.Headers)
		}
	}
}

func TestInterceptorPanics(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	lines := captureLog(t)
	var after atomic.Int32
	conf := testConfig()
	conf.Producer.Interceptors = []sarama.ProducerInterceptor{
		interceptor(func(*sarama.ProducerMessage) { panic("curious") }),
		interceptor(func(*sarama.ProducerMessage) { after.Add(1) }),
	}
	p := newAsync(t, c, conf)
	send(p, message(0, 0))
	successes(t, p, 1)
	if !lines.holds("panicked", "curious", "interceptor") {
		t.Errorf("the log does not tell of it: %q", lines.lines)
	}
	if after.Load() != 1 {
		t.Errorf("the next interceptor was called %d times", after.Load())
	}
	wantInOrder(t, c, 1)
}

// The size is checked after the interceptors, and what they add is charged.
func TestInterceptorMakesMessageTooLarge(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.MaxMessageBytes = 1000
	conf.Producer.Interceptors = []sarama.ProducerInterceptor{interceptor(func(msg *sarama.ProducerMessage) {
		msg.Value = sarama.StringEncoder(strings.Repeat("x", 1000*int(msg.Partition)))
		msg.Partition = 0
	})}
	p := newAsync(t, c, conf)
	send(p, message(1, 0))
	wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrMessageSizeTooLarge))
	outcome := make(chan error, 1)
	if err := p.Produce(t.Context(), message(2, 0), func(_ *sarama.ProducerMessage, err error) { outcome <- err }); err != nil {
		t.Fatal(err)
	}
	wantError(t, receive(t, outcome), causes(sarama.ErrMessageSizeTooLarge))
	send(p, message(0, 0))
	successes(t, p, 1)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if n, bytes := p.Buffered(); n != 0 || bytes != 0 {
		t.Errorf("%d messages, %d bytes are left", n, bytes)
	}
}

// Several producers may share a registry: closing one takes nothing from the others.
func TestProducersShareARegistry(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	var all sync.WaitGroup
	var producers []*sluice.Producer
	for range 3 {
		p := newAsync(t, c, conf)
		producers = append(producers, p)
		all.Go(func() {
			send(p, messages(100, 1)...)
			successes(t, p, 100)
		})
	}
	all.Wait()
	for _, p := range producers {
		if got := conf.MetricRegistry.Get("record-send-rate").(metrics.Meter).Count(); got != 300 {
			t.Errorf("record-send-rate counts %d of 300", got)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
