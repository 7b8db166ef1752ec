package apitest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

func TestMain(m *testing.M) {
	// The first meter of the process starts a goroutine that lives for ever: it must not belong to a synctest bubble.
	metrics.NewMeter().Stop()
	sarama.Logger = logs
	sarama.PanicHandler = panicked.handle
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"),
		// sarama's breakers sleep for ten seconds after they have opened.
		goleak.IgnoreAnyFunction("github.com/eapache/go-resiliency/breaker.(*Breaker).timer"),
	)
}

// patience bounds what must not take long. Nothing is measured with it: a test that needs it has failed.
const patience = 30 * time.Second

// newCluster starts a cluster that ends with the test.
func newCluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// newTopicCluster seeds one topic, "t", on so many brokers; partition p is led by broker p modulo brokers.
func newTopicCluster(t testing.TB, brokers int, partitions int32, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c := newCluster(t, append(opts, kfake.NumBrokers(brokers), kfake.SeedTopics(partitions, "t"))...)
	for p := range partitions {
		move(t, c, p, p%int32(brokers))
	}
	return c
}

func move(t testing.TB, c *kfake.Cluster, partition, broker int32) {
	t.Helper()
	if err := c.MoveTopicPartition("t", partition, broker); err != nil {
		t.Error(err)
	}
}

// testConfig is sarama's default with both channels in use, the partition that a message says, and short back-offs.
func testConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.Retry.Backoff = 2 * time.Millisecond
	conf.Metadata.Retry.Backoff = 2 * time.Millisecond
	return conf
}

// newAsync makes a producer that is closed with the test, whatever it still holds.
func newAsync(t testing.TB, c *kfake.Cluster, conf *sarama.Config, opts ...sluice.Option) *sluice.Producer {
	t.Helper()
	p, err := sluice.New(c.ListenAddrs(), conf, opts...)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, p)
	return p
}

func newSync(t testing.TB, c *kfake.Cluster, conf *sarama.Config, opts ...sluice.Option) *sluice.Producer {
	t.Helper()
	p, err := sluice.New(c.ListenAddrs(), conf, opts...)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, p)
	return p
}

// closeAfter ends a producer with the test. Closing what is closed is fine.
func closeAfter(t testing.TB, p interface{ CloseContext(context.Context) error }) {
	t.Cleanup(func() { _ = p.CloseContext(ended()) })
}

// ended is a context that has.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// impatient is a context that fails the test by its end.
func impatient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// message is one to topic "t" whose value is its number.
func message(partition int32, number int) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "t", Partition: partition, Value: sarama.StringEncoder(fmt.Sprint(number))}
}

// messages are n of them, in turn to each partition.
func messages(n int, partitions int32) []*sarama.ProducerMessage {
	msgs := make([]*sarama.ProducerMessage, n)
	for i := range msgs {
		msgs[i] = message(int32(i)%partitions, i)
	}
	return msgs
}

// receive takes one value of a channel.
func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-ch:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// wait waits for an event: the channel's end.
func wait(t testing.TB, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatal("waited in vain: " + what)
	}
}

// successes takes n successes, while an error ends the test.
func successes(t testing.TB, p *sluice.Producer, n int) []*sarama.ProducerMessage {
	t.Helper()
	got := make([]*sarama.ProducerMessage, 0, n)
	for len(got) < n {
		select {
		case msg := <-p.Successes():
			got = append(got, msg)
		case err := <-p.Errors():
			t.Fatalf("after %d of %d successes: %v", len(got), n, err.Err)
		case <-time.After(patience):
			t.Fatalf("%d of %d successes", len(got), n)
		}
	}
	return got
}

// send puts messages into Input.
func send(p *sluice.Producer, msgs ...*sarama.ProducerMessage) {
	for _, msg := range msgs {
		p.Input() <- msg
	}
}

// wantError checks that err wraps each of the causes and names each of the words.
func wantError(t testing.TB, err error, causes []error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that wraps %v", causes)
	}
	for _, cause := range causes {
		if !errors.Is(err, cause) {
			t.Errorf("error %q does not wrap %q", err, cause)
		}
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not name %q", err, word)
		}
	}
}

func wantPanic(t testing.TB, call func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if recover() == nil {
			t.Error("it does not panic")
		}
	}()
	call()
}

func causes(errs ...error) []error { return errs }

// readTopic reads n records of a topic with a client that is not ours, and what else the log holds by then, sorted by
// partition and offset.
func readTopic(t testing.TB, c *kfake.Cluster, topic string, n int, opts ...kgo.Opt) []*kgo.Record {
	t.Helper()
	opts = append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	client := newReader(t, c, opts...)
	ctx := impatient(t)
	var records []*kgo.Record
	for len(records) < max(n, int(logged(c, topic))) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading %q: %d of %d records: %v", topic, len(records), n, err)
		}
		records = append(records, fetches.Records()...)
	}
	slices.SortFunc(records, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	if len(records) != n {
		t.Errorf("the log of %q holds %d records, want %d", topic, len(records), n)
	}
	return records
}

func newReader(t testing.TB, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.ListenAddrs()...), kgo.FetchMaxWait(50*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// logged is how many records the log of a topic holds.
func logged(c *kfake.Cluster, topic string) (n int64) {
	for _, p := range c.PartitionInfos(topic) {
		n += p.HighWatermark - p.LogStartOffset
	}
	return n
}

// wantInOrder reads back n numbered messages: each once, in each partition in the order of their numbers.
func wantInOrder(t testing.TB, c *kfake.Cluster, n int, opts ...kgo.Opt) {
	t.Helper()
	last := map[int32]int{}
	seen := make([]bool, n)
	for _, r := range readTopic(t, c, "t", n, opts...) {
		var number int
		if _, err := fmt.Sscan(string(r.Value), &number); err != nil || number < 0 || number >= n {
			t.Fatalf("partition %d offset %d holds %q", r.Partition, r.Offset, r.Value)
		}
		if before, ok := last[r.Partition]; ok && before >= number {
			t.Fatalf("partition %d: %d came after %d", r.Partition, number, before)
		}
		if seen[number] {
			t.Fatalf("%d is written twice", number)
		}
		last[r.Partition], seen[number] = number, true
	}
	if i := slices.Index(seen, false); i >= 0 {
		t.Errorf("%d is not in the log", i)
	}
}

// panicked is sarama.PanicHandler of all tests: goroutines of earlier ones may still look at that.
var panicked = &panicHandler{}

type panicHandler struct {
	mu      sync.Mutex
	current func(any) // nil: the panic goes on
}

func (h *panicHandler) handle(p any) {
	h.mu.Lock()
	handle := h.current
	h.mu.Unlock()
	if handle == nil {
		panic(p)
	}
	handle(p)
}

func (h *panicHandler) set(handle func(any)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current = handle
}

// handlePanics has panics handled until the test ends.
func handlePanics(t testing.TB, handle func(any)) {
	panicked.set(handle)
	t.Cleanup(func() { panicked.set(nil) })
}

// logs is sarama.Logger of all tests: that can't be replaced while producers run, and sarama's run on after their Close.
var logs = &logLines{}

// logLines keeps what it gets while a test asks for it.
type logLines struct {
	mu    sync.Mutex
	on    bool
	lines []string
}

// captureLog collects what sarama.Logger gets until the test ends.
func captureLog(t testing.TB) *logLines {
	logs.turn(true)
	t.Cleanup(func() { logs.turn(false) })
	return logs
}

func (l *logLines) turn(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on, l.lines = on, nil
}

func (l *logLines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on {
		l.lines = append(l.lines, line)
	}
}

func (l *logLines) Print(v ...any)                 { l.add(fmt.Sprint(v...)) }
func (l *logLines) Printf(format string, v ...any) { l.add(fmt.Sprintf(format, v...)) }
func (l *logLines) Println(v ...any)               { l.add(fmt.Sprintln(v...)) }

// count is how many lines hold a word.
func (l *logLines) count(word string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, word) {
			n++
		}
	}
	return n
}

func (l *logLines) holds(words ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool {
		for _, word := range words {
			if !strings.Contains(line, word) {
				return false
			}
		}
		return true
	})
}
