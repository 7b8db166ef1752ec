package apitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// appended collects the reports of an Appender: what each record's value got.
type appended struct {
	mu      sync.Mutex
	offsets map[string]int64
	failed  map[string]error
	tagged  int // of them: their tag is their number
	batches int
}

func (a *appended) report(r sluice.AppendReport) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for rec := range r.Records() {
		value := string(rec.Value)
		if _, twice := a.offsets[value]; twice || a.failed[value] != nil {
			panic("two outcomes of " + value)
		}
		if r.Err != nil {
			a.failed[value] = r.Err
		} else {
			a.offsets[value] = r.BaseOffset + int64(n)
		}
		if fmt.Sprint(rec.Tag) == value {
			a.tagged++
		}
		n++
	}
	if n != r.Count {
		panic(fmt.Sprintf("%d records of %d", n, r.Count))
	}
	a.batches++
}

func (a *appended) delivered() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.offsets)
}

func newAppender(t testing.TB, p *sluice.Producer, opts ...sluice.AppenderOption) (*sluice.Appender, *appended) {
	t.Helper()
	got := &appended{offsets: map[string]int64{}, failed: map[string]error{}}
	a, err := sluice.NewAppender(p, "t", append([]sluice.AppenderOption{sluice.WithAppendReport(got.report)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return a, got
}

func appendAt(t testing.TB, a *sluice.Appender, partition int32, number int) {
	t.Helper()
	a.Tag(int64(number))
	if err := a.AppendAt(partition, time.Time{}, nil, fmt.Append(nil, number)); err != nil {
		t.Fatal(err)
	}
}

// Every record is in the log once, in its place, and its report says where.
func TestAppender(t *testing.T) {
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionLZ4, sarama.CompressionGZIP} {
		for _, linger := range []time.Duration{0, time.Millisecond} {
			for _, numbered := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v linger %v idempotent %t", codec, linger, numbered), func(t *testing.T) {
					c := newTopicCluster(t, 2, 4)
					conf := testConfig()
					conf.Producer.Compression, conf.Producer.Flush.Frequency = codec, linger
					if numbered {
						idempotent(conf)
					}
					p := newAsync(t, c, conf)
					a, got := newAppender(t, p)
					const n = 20000
					for i := range n {
						appendAt(t, a, int32(i%4), i)
					}
					if err := a.Flush(impatient(t)); err != nil {
						t.Error(err)
					}
					if len(got.offsets) != n || len(got.failed) > 0 {
						t.Errorf("%d delivered, %d failed", len(got.offsets), len(got.failed))
					}
					wantInOrder(t, c, n)
					for _, r := range readTopic(t, c, "t", n) {
						if got.offsets[string(r.Value)] != r.Offset {
							t.Fatalf("%s is at %d, its report says %d", r.Value, r.Offset, got.offsets[string(r.Value)])
						}
					}
					if messages, bytes := p.Buffered(); messages != 0 || bytes != 0 {
						t.Errorf("%d records and %d bytes are left", messages, bytes)
					}
					if err := a.Close(impatient(t)); err != nil {
						t.Error(err)
					}
					if err := a.Append(nil, nil); !errors.Is(err, sarama.ErrShuttingDown) {
						t.Errorf("after Close: %v", err)
					}
				})
			}
		}
	}
}

// Keys, values and headers arrive as they were, null and empty apart, with their timestamps.
func TestAppenderRecords(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig())
	var seen []sluice.Record
	a, err := sluice.NewAppender(p, "t", sluice.WithAppendReport(func(r sluice.AppendReport) {
		for rec := range r.Records() {
			seen = append(seen, sluice.Record{Key: bytes.Clone(rec.Key), Value: bytes.Clone(rec.Value), Headers: slices.Clone(rec.Headers), Timestamp: rec.Timestamp})
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(1_500_000_000_123)
	header := func(key string, value []byte) sarama.RecordHeader {
		return sarama.RecordHeader{Key: []byte(key), Value: value}
	}
	records := []sluice.Record{
		{Value: []byte("v"), Timestamp: at},
		{Key: []byte("k"), Timestamp: at.Add(-time.Hour)},
		{Key: []byte{}, Value: []byte{}, Timestamp: at.Add(time.Hour)},
		{Value: bytes.Repeat([]byte("x"), 100_000), Headers: []sarama.RecordHeader{header("a", []byte("1")), header("", nil), header("a", []byte{})}, Timestamp: at},
	}
	scratch := make([]byte, 200_000)
	for i, r := range records {
		// The caller's bytes are its own again as the call returns.
		value := r.Value
		if value != nil {
			value = scratch[:copy(scratch, r.Value)]
		}
		if err := a.AppendAt(int32(-i%2), r.Timestamp, r.Key, value, r.Headers...); err != nil { // 0, or the partitioner's choice
			t.Fatal(err)
		}
		clear(scratch)
	}
	before := time.Now().Truncate(time.Millisecond)
	if err := a.Append([]byte("k"), []byte("now")); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	if err := a.Close(impatient(t)); err != nil {
		t.Fatal(err)
	}
	got := readTopic(t, c, "t", len(records)+1)
	for i, want := range records {
		r := got[i]
		if !bytes.Equal(r.Key, want.Key) || (r.Key == nil) != (want.Key == nil) || !bytes.Equal(r.Value, want.Value) || (r.Value == nil) != (want.Value == nil) {
			t.Errorf("record %d: key %v value of %d bytes", i, r.Key, len(r.Value))
		}
		if !r.Timestamp.Equal(want.Timestamp) || !seen[i].Timestamp.Equal(want.Timestamp) {
			t.Errorf("record %d: %v", i, r.Timestamp)
		}
		if len(r.Headers) != len(want.Headers) || len(seen[i].Headers) != len(want.Headers) {
			t.Fatalf("record %d: headers %v", i, r.Headers)
		}
		for j, h := range want.Headers {
			if r.Headers[j].Key != string(h.Key) || !bytes.Equal(r.Headers[j].Value, h.Value) || (r.Headers[j].Value == nil) != (h.Value == nil) {
				t.Errorf("record %d header %d: %q %v", i, j, r.Headers[j].Key, r.Headers[j].Value)
			}
		}
		if !bytes.Equal(seen[i].Key, want.Key) || (seen[i].Key == nil) != (want.Key == nil) || !bytes.Equal(seen[i].Value, want.Value) {
			t.Errorf("record %d of the report: %v", i, seen[i].Key)
		}
	}
	if last := got[len(records)].Timestamp; last.Before(before) || last.After(after) {
		t.Errorf("a record of between %v and %v is of %v", before, after, last)
	}
}

// Eight Appenders beside Input and Produce, in little memory, while the connections are lost: everything is delivered once, in the
// order of each Appender and partition.
func TestAppendersInLittleMemory(t *testing.T) {
	const limit, appenders, each, partitions = 64 << 10, 8, 3000, 4
	c := newTopicCluster(t, 2, partitions)
	loseConnections(c, 5)
	conf := idempotent(testConfig())
	conf.Producer.Return.Successes = false
	conf.Producer.Flush.Frequency = 2 * time.Millisecond
	p := newAsync(t, c, conf, sluice.WithBufferMemory(limit))
	var all sync.WaitGroup
	for n := range appenders {
		all.Go(func() {
			a, err := sluice.NewAppender(p, "t")
			if err != nil {
				t.Error(err)
				return
			}
			pad := strings.Repeat("x", 10+n*40)
			for i := range each {
				if err := a.AppendAt(int32(i%partitions), time.Time{}, nil, fmt.Appendf(nil, "a%d %d %s", n, i, pad)); err != nil {
					t.Error(err)
				}
				if _, used := p.Buffered(); used > limit {
					t.Errorf("%d bytes of %d are in use", used, limit)
				}
			}
			if err := a.Close(impatient(t)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Go(func() {
		for i := range each {
			p.Input() <- &sarama.ProducerMessage{Topic: "t", Partition: int32(i % partitions), Value: sarama.StringEncoder(fmt.Sprintf("input %d", i))}
		}
	})
	all.Wait()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	last := map[string]int{}
	for _, r := range readTopic(t, c, "t", (appenders+1)*each) {
		var name string
		var number int
		if _, err := fmt.Sscan(string(r.Value), &name, &number); err != nil {
			t.Fatal(err)
		}
		stream := fmt.Sprint(name, r.Partition)
		if before, ok := last[stream]; ok && number <= before {
			t.Fatalf("%s: %d after %d", stream, number, before)
		}
		last[stream] = number
	}
}

// A batch that a broker finds too large is divided, and each part has its report.
func TestAppenderBatchIsDivided(t *testing.T) {
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionZSTD} {
		t.Run(codec.String(), func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			failProduce(c, kerr.MessageTooLarge, 2)
			conf := idempotent(testConfig())
			conf.Producer.Compression = codec
			conf.Producer.Flush.Messages, conf.Producer.Flush.MaxMessages = 1000, 1000
			p := newAsync(t, c, conf)
			a, got := newAppender(t, p)
			const n = 3000
			for i := range n {
				appendAt(t, a, 0, i)
			}
			if err := a.Flush(impatient(t)); err != nil {
				t.Error(err)
			}
			if len(got.offsets) != n || got.tagged != n || got.batches <= n/1000 {
				t.Errorf("%d delivered in %d batches, %d with their tag", len(got.offsets), got.batches, got.tagged)
			}
			wantInOrder(t, c, n)
			for _, r := range readTopic(t, c, "t", n) {
				if got.offsets[string(r.Value)] != r.Offset {
					t.Fatalf("%s is at %d, its report says %d", r.Value, r.Offset, got.offsets[string(r.Value)])
				}
			}
			if messages, bytes := p.Buffered(); messages != 0 || bytes != 0 {
				t.Errorf("%d records and %d bytes are left", messages, bytes)
			}
		})
	}
}

// Once a topic has refused a batch for its size, later ones are smaller.
func TestAppenderLearnsTheTopicsLimit(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	var refused atomic.Int32
	answerBatches(c, func(_ int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
		if len(batch) > 60_000 {
			refused.Add(1)
			return code(kerr.MessageTooLarge)
		}
		return nil
	})
	conf := idempotent(testConfig())
	conf.Producer.MaxMessageBytes = 100_000
	conf.Producer.Flush.Frequency = time.Minute
	p := newAsync(t, c, conf)
	a, _ := newAppender(t, p)
	const n, pad = 20_000, 100
	for i := range n {
		if err := a.AppendAt(0, time.Time{}, nil, fmt.Appendf(nil, "%-*d", pad, i)); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			if err := a.Flush(impatient(t)); err != nil { // so that the limit is known to the next batch
				t.Fatal(err)
			}
		}
	}
	if refused.Load() == 0 || refused.Load() > 2 {
		t.Errorf("%d batches were refused", refused.Load())
	}
	readTopic(t, c, "t", n)
}

// Records that a broker names as invalid fail, the others of their batch are delivered.
func TestAppenderBadRecords(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	answerBatches(c, func(n int, _ int32, _ []byte) func(*kmsg.ProduceResponseTopicPartition) {
		if n == 1 {
			return invalidRecords(10, 99)
		}
		return nil
	})
	conf := testConfig()
	conf.Producer.Flush.Messages, conf.Producer.Flush.MaxMessages = 100, 100
	p := newAsync(t, c, conf)
	a, got := newAppender(t, p)
	const n = 500
	for i := range n {
		appendAt(t, a, 0, i)
	}
	wantError(t, a.Flush(impatient(t)), causes(sarama.KError(kerr.InvalidRecord.Code)), "partition 0")
	if len(got.offsets) != n-2 || len(got.failed) != 2 || got.tagged != n {
		t.Errorf("%d delivered, %d failed, %d with their tag", len(got.offsets), len(got.failed), got.tagged)
	}
	for _, bad := range []string{"10", "99"} {
		wantError(t, got.failed[bad], causes(sarama.KError(kerr.InvalidRecord.Code)), "number "+bad+" ")
	}
	readTopic(t, c, "t", n-2)
	if err := a.Flush(impatient(t)); err != nil {
		t.Errorf("a failure is told twice: %v", err)
	}
	if messages, bytes := p.Buffered(); messages != 0 || bytes != 0 {
		t.Errorf("%d records and %d bytes are left", messages, bytes)
	}
}

// A batch whose Appender is idle is sent when linger is over.
func TestAppenderLinger(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Flush.Frequency = 50 * time.Millisecond
		p := newAsync(t, v.Cluster, conf)
		a, got := newAppender(t, p)
		appendAt(t, a, 0, 0)
		time.Sleep(20 * time.Millisecond)
		appendAt(t, a, 0, 1)
		for _, step := range []struct {
			sleep time.Duration
			want  int
		}{{29 * time.Millisecond, 0}, {2 * time.Millisecond, 2}} {
			time.Sleep(step.sleep)
			synctest.Wait()
			if n := got.delivered(); n != step.want {
				t.Errorf("%d of 2 delivered", n)
			}
		}
		time.Sleep(time.Hour)
		began := time.Now()
		appendAt(t, a, 0, 2)
		if err := p.Flush(t.Context()); err != nil { // the producer's, too
			t.Error(err)
		}
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("Flush took %v", took)
		}
		if r := readTopic(t, v.Cluster, "t", 3, kgo.Dialer(v.DialContext))[2]; began.Sub(r.Timestamp) > time.Millisecond {
			t.Errorf("the timestamp is off by %v", began.Sub(r.Timestamp))
		}
	}, kfake.SeedTopics(1, "t"))
}

// Somebody waits for memory that an idle Appender's batch holds: the batch is sent.
func TestAppenderFreesMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Flush.Frequency = 30 * time.Second
		conf.Producer.MaxMessageBytes = 20000
		p := newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(32<<10))
		a, _ := newAppender(t, p)
		if err := a.AppendAt(0, time.Time{}, nil, make([]byte, 15000)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := p.Produce(t.Context(), &sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, 12000))}, nil); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it waited %v", took)
		}
	}, kfake.SeedTopics(1, "t"))
}

// Where nothing is delivered, records fail by their deadline, and waiting ends with the context.
func TestAppenderWithoutBroker(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		p := newAsync(t, v.Cluster, conf, sluice.WithDeliveryTimeout(5*time.Second), sluice.WithBufferMemory(16<<10))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		a, got := newAppender(t, p, sluice.WithAppendContext(ctx))
		appendAt(t, a, 0, 0)
		if err := a.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		holdProduce(t, v.Cluster, nil)
		var full error
		n := 1
		for ; full == nil; n++ {
			full = a.AppendAt(0, time.Time{}, nil, fmt.Append(nil, n))
		}
		wantError(t, full, causes(sluice.ErrBufferFull, context.DeadlineExceeded))
		wantError(t, a.Flush(t.Context()), causes(sluice.ErrDeliveryTimeout))
		if len(got.failed) != n-2 || len(got.offsets) != 1 {
			t.Errorf("%d failed, %d were accepted", len(got.failed), n-2)
		}
	}, kfake.SeedTopics(1, "t"))
}

// A topic that is not there is the error of Append; the context ends the waiting for it.
func TestAppenderUnknownTopic(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Metadata.AllowAutoTopicCreation = false
	p := newAsync(t, c, conf, sluice.WithDeliveryTimeout(patience))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	a, err := sluice.NewAppender(p, "nope", sluice.WithAppendContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	err = a.Append(nil, []byte("v"))
	if !errors.Is(err, sarama.ErrUnknownTopicOrPartition) && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	a, _ = newAppender(t, p)
	wantError(t, a.AppendAt(7, time.Time{}, nil, nil), causes(sarama.ErrInvalidPartition), "7", `"t"`)
	wantError(t, a.AppendAt(-2, time.Time{}, nil, nil), causes(sarama.ErrInvalidPartition))
	wantError(t, a.Append(nil, make([]byte, 2<<20)), causes(sarama.ErrMessageSizeTooLarge))
	if _, err := sluice.NewAppender(p, ""); !errors.Is(err, sarama.ErrInvalidTopic) {
		t.Error(err)
	}
}

// Records belong to the transaction in which they were appended.
func TestAppenderTransactions(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		conf := txnConfig()
		conf.Producer.Flush.Frequency = time.Minute
		p := newAsync(t, c, conf)
		a, got := newAppender(t, p)
		put := func(value string) error { return a.AppendAt(0, time.Time{}, nil, []byte(value)) }
		wantError(t, put("early"), causes(sarama.ErrTransactionNotReady))
		if err := p.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		if err := put("committed"); err != nil {
			t.Error(err)
		}
		if err := p.CommitTxn(); err != nil {
			t.Error(err)
		}
		wantError(t, put("between"), causes(sarama.ErrTransactionNotReady))
		if err := p.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		if err := put("aborted"); err != nil {
			t.Error(err)
		}
		if err := p.AbortTxn(); err != nil {
			t.Error(err)
		}
		wantError(t, a.Flush(impatient(t)), causes(sarama.ErrTransactionNotReady))
		if err := p.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		if err := put("last"); err != nil {
			t.Error(err)
		}
		if err := p.CommitTxn(); err != nil {
			t.Error(err)
		}
		if err := a.Flush(impatient(t)); err != nil {
			t.Error(err)
		}
		if len(got.offsets) != 2 || len(got.failed) != 1 || got.failed["aborted"] == nil {
			t.Errorf("delivered %v, failed %v", got.offsets, got.failed)
		}
		wantCommitted(t, c, "committed", "last")
	})
}

type changing func(*sarama.ProducerMessage)

func (c changing) OnSend(msg *sarama.ProducerMessage) { c(msg) }

// Interceptors see each record, and may change all but its topic.
func TestAppenderInterceptors(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	topic := "t"
	conf.Producer.Interceptors = []sarama.ProducerInterceptor{changing(func(msg *sarama.ProducerMessage) {
		value, _ := msg.Value.Encode()
		msg.Value = sarama.StringEncoder(strings.ToUpper(string(value)))
		msg.Headers = append(msg.Headers, sarama.RecordHeader{Key: []byte("by"), Value: []byte("interceptor")})
		msg.Topic = topic
	})}
	p := newAsync(t, c, conf)
	a, _ := newAppender(t, p)
	if err := a.Append(nil, []byte("hello")); err != nil {
		t.Error(err)
	}
	topic = "u"
	wantError(t, a.Append(nil, []byte("hello")), causes(sarama.ErrInvalidTopic), `"t"`, `"u"`)
	if err := a.Close(impatient(t)); err != nil {
		t.Error(err)
	}
	if r := readTopic(t, c, "t", 1)[0]; string(r.Value) != "HELLO" || len(r.Headers) != 1 {
		t.Errorf("%q %v", r.Value, r.Headers)
	}
}

// A Writer makes records of lines, however they are cut into Writes.
func TestAppenderWriter(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.MaxMessageBytes = 200
	p := newAsync(t, c, conf)
	a, err := sluice.NewAppender(p, "t")
	if err != nil {
		t.Fatal(err)
	}
	w := a.Writer('\n')
	for _, text := range []string{"one\ntw", "o\n\nthr", "e", "e\n", "four"} {
		if n, err := io.WriteString(w, text); n != len(text) || err != nil {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	long := strings.Repeat("x", 300)
	n, err := io.WriteString(w, "good\n"+long+"\nafter\n")
	wantError(t, err, causes(sarama.ErrMessageSizeTooLarge))
	if n != len("good\n") {
		t.Errorf("%d bytes were accepted", n)
	}
	for _, part := range []string{long[:150], long[150:], "end\n", "after\n"} {
		_, _ = io.WriteString(w, part)
	}
	if _, err := io.WriteString(a.RecordWriter(), "whole\nwrite\n"); err != nil {
		t.Error(err)
	}
	if err := w.Sync(); err != nil {
		t.Error(err)
	}
	want := []string{"one", "two", "", "three", "four", "good", "after", "whole\nwrite\n"}
	for i, r := range readTopic(t, c, "t", len(want)) {
		if string(r.Value) != want[i] || r.Value == nil {
			t.Errorf("record %d is %q, want %q", i, r.Value, want[i])
		}
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				_, _ = io.WriteString(w, "shared\n")
			}
		})
	}
	all.Wait()
	if err := a.Close(impatient(t)); err != nil {
		t.Error(err)
	}
	readTopic(t, c, "t", len(want)+800)
}

// Appending while the producer is flushed and closed: each record is refused, or has its outcome.
func TestAppenderAndClose(t *testing.T) {
	for range 20 {
		c := newTopicCluster(t, 1, 2)
		conf := testConfig()
		conf.Producer.Return.Successes = false
		conf.Producer.Flush.Frequency = time.Millisecond
		p := newAsync(t, c, conf)
		a, got := newAppender(t, p)
		accepted := make(chan int)
		go func() {
			n := 0
			for ; a.AppendAt(int32(n%2), time.Time{}, nil, fmt.Append(nil, n)) == nil; n++ {
			}
			accepted <- n
		}()
		time.Sleep(2 * time.Millisecond)
		if err := p.Flush(impatient(t)); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		n := receive(t, accepted)
		if err := a.Close(impatient(t)); err != nil {
			t.Error(err)
		}
		if len(got.offsets) != n || len(got.failed) > 0 {
			t.Errorf("%d accepted, %d delivered, %d failed", n, len(got.offsets), len(got.failed))
		}
		wantInOrder(t, c, n)
	}
}
