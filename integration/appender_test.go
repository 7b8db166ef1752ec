//go:build unix

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// appending is an Appender as a load drives it: with channels of messages. What comes out is made of the reports alone.
type appending struct {
	sarama.AsyncProducer // not closed with it: several share it
	appender             *sluice.Appender
	input                chan *sarama.ProducerMessage
	stop                 chan struct{}
	successes            chan *sarama.ProducerMessage
	failures             chan *sarama.ProducerError
}

// startAppending starts a load that sends by an Appender of the producer.
func startAppending(t *testing.T, name, topic string, p *sluice.Producer) *load {
	t.Helper()
	a := &appending{
		AsyncProducer: p, input: make(chan *sarama.ProducerMessage), stop: make(chan struct{}),
		successes: make(chan *sarama.ProducerMessage, 1000), failures: make(chan *sarama.ProducerError, 1000),
	}
	var err error
	if a.appender, err = sluice.NewAppender(p, topic, sluice.WithAppendReport(a.report)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	go func() {
		defer cancel()
		a.run(ctx)
	}()
	return startLoad(name, topic, a)
}

func (a *appending) Input() chan<- *sarama.ProducerMessage     { return a.input }
func (a *appending) Successes() <-chan *sarama.ProducerMessage { return a.successes }
func (a *appending) Errors() <-chan *sarama.ProducerError      { return a.failures }
func (a *appending) AsyncClose()                               { close(a.stop) }

// run appends until AsyncClose.
func (a *appending) run(ctx context.Context) {
	defer close(a.failures)
	defer close(a.successes)
	for {
		select {
		case m := <-a.input:
			key, _ := m.Key.Encode()
			value, _ := m.Value.Encode()
			err := a.appender.Append(key, value)
			clear(value) // the bytes are the caller's again
			if err != nil {
				a.failures <- &sarama.ProducerError{Msg: m, Err: err}
			}
		case <-a.stop:
			// Its error is one that a report has told, or what is missing then has no outcome.
			_ = a.appender.Close(ctx)
			return
		}
	}
}

func (a *appending) report(r sluice.AppendReport) {
	offset := r.BaseOffset
	for rec := range r.Records() {
		var number int
		if _, err := fmt.Sscanf(string(rec.Value), "%d:", &number); err != nil {
			number = -1
		}
		m := &sarama.ProducerMessage{Topic: r.Topic, Partition: r.Partition, Offset: offset, Metadata: number}
		if r.Err != nil {
			a.failures <- &sarama.ProducerError{Msg: m, Err: r.Err}
		} else {
			a.successes <- m
		}
		if offset >= 0 { // unknown stays unknown
			offset++
		}
	}
}

// Records of an Appender are stored as they were given, null and empty apart, with their timestamps: read by kgo and by sarama.
func testAppender(t *testing.T, c *kafkatest.Cluster) {
	topic := c.NewTopic(t, 1, nil)
	conf := newConfig()
	conf.Producer.Compression = sarama.CompressionLZ4
	p := newSync(t, c, conf)
	header := func(key string, value []byte) sarama.RecordHeader {
		return sarama.RecordHeader{Key: []byte(key), Value: value}
	}
	// In the past, but not so far that Kafka would delete them.
	at := time.UnixMilli(time.Now().Add(-time.Hour).UnixMilli())
	records := []sluice.Record{
		{Key: []byte("k"), Value: []byte("v"), Timestamp: at},
		{Value: []byte("null key"), Timestamp: at.Add(-time.Millisecond)},
		{Key: []byte{}, Value: []byte("empty key"), Timestamp: at.Add(time.Second)},
		{Key: []byte("tombstone"), Timestamp: at},
		{Key: []byte("empty"), Value: []byte{}, Timestamp: at},
		{Timestamp: at},
		{Key: []byte("h"), Value: bytes.Repeat([]byte("large "), 20_000), Timestamp: at, Headers: []sarama.RecordHeader{
			header("a", []byte("1")), header("a", nil), header("", []byte{}), header("b", []byte("2")),
		}},
	}
	var told []int64
	a, err := sluice.NewAppender(p, topic, sluice.WithAppendReport(func(r sluice.AppendReport) {
		for i := range r.Count {
			told = append(told, r.BaseOffset+int64(i))
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		value := bytes.Clone(r.Value)
		if err := a.AppendAt(0, r.Timestamp, r.Key, value, r.Headers...); err != nil {
			t.Fatal(err)
		}
		clear(value)
	}
	if err := a.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	got := readBack(t, c, topic, len(records))[0]
	consumed := consumeBySarama(t, c, topic, len(records))
	for i, want := range records {
		r, m := got[i], consumed[i]
		if told[i] != r.Offset || m.Offset != r.Offset {
			t.Errorf("record %d: offset %d, the report says %d, sarama %d", i, r.Offset, told[i], m.Offset)
		}
		if !same(r.Key, want.Key) || !same(r.Value, want.Value) || !r.Timestamp.Equal(want.Timestamp) {
			t.Errorf("record %d: %q=%.20q at %v, want %q=%.20q at %v", i, r.Key, r.Value, r.Timestamp, want.Key, want.Value, want.Timestamp)
		}
		if !same(m.Key, want.Key) || !same(m.Value, want.Value) || !m.Timestamp.Equal(want.Timestamp) {
			t.Errorf("record %d, by sarama: %q=%.20q at %v", i, m.Key, m.Value, m.Timestamp)
		}
		if len(r.Headers) != len(want.Headers) || len(m.Headers) != len(want.Headers) {
			t.Fatalf("record %d: headers %v, by sarama %v", i, r.Headers, m.Headers)
		}
		for j, h := range want.Headers {
			if r.Headers[j].Key != string(h.Key) || !same(r.Headers[j].Value, h.Value) ||
				!bytes.Equal(m.Headers[j].Key, h.Key) || !same(m.Headers[j].Value, h.Value) {
				t.Errorf("record %d, header %d: %v, by sarama %v", i, j, r.Headers[j], m.Headers[j])
			}
		}
	}
}

// same tells null and empty apart.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// consumeBySarama reads the first n records of partition 0.
func consumeBySarama(t *testing.T, c *kafkatest.Cluster, topic string, n int) (all []*sarama.ConsumerMessage) {
	t.Helper()
	consumer, err := sarama.NewConsumer(c.Brokers(), sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	pc, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	ctx := testContext(t)
	for len(all) < n {
		select {
		case m := <-pc.Messages():
			all = append(all, m)
		case <-ctx.Done():
			t.Fatalf("sarama reads %d of %d records: %v", len(all), n, ctx.Err())
		}
	}
	return all
}

// Records of an Appender are committed and aborted with their transaction, also those of batches that are open at its end.
func TestAppenderTransactions(t *testing.T) {
	c := kafka.Get(t)
	topic := c.NewTopic(t, 2, nil)
	conf := txnConfig(topic)
	conf.Producer.Flush.Frequency = time.Minute
	p := newTxn(t, c, conf)
	a, err := sluice.NewAppender(p, topic)
	if err != nil {
		t.Fatal(err)
	}
	const each = 500
	var want [2][]string
	for txn, commit := range []bool{true, false, true, false, true} {
		if err := p.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		put := func(from, to int) {
			for i := from; i < to; i++ {
				value := fmt.Sprintf("%d.%d", txn, i)
				if err := a.AppendAt(int32(i%2), time.Time{}, nil, []byte(value)); err != nil {
					t.Fatal(err)
				}
				if commit {
					want[i%2] = append(want[i%2], value)
				}
			}
		}
		put(0, each)
		if txn > 0 { // some of an aborted one are in the log
			if err := a.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
		put(each, 2*each)
		if commit {
			err = p.CommitTxn()
		} else {
			err = p.AbortTxn()
		}
		if err != nil {
			t.Fatalf("transaction %d: %v", txn, err)
		}
		if err := a.Flush(testContext(t)); commit && err != nil || !commit && !errors.Is(err, sarama.ErrTransactionNotReady) {
			t.Errorf("transaction %d, commit %t: the open batches got %v", txn, commit, err)
		}
		if err := a.Append(nil, nil); !errors.Is(err, sarama.ErrTransactionNotReady) {
			t.Errorf("outside of a transaction: %v", err)
		}
	}
	if err := a.Close(testContext(t)); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	records := readCommitted(t, c, topic)
	for partition, values := range valuesOf(records) {
		if !slices.Equal(values, want[partition]) {
			t.Errorf("partition %d has %d committed records, want %d", partition, len(values), len(want[partition]))
		}
	}
	if len(records) != 2 {
		t.Errorf("%d partitions have committed records", len(records))
	}
	readCommittedBySarama(t, c, topic, records)
}
