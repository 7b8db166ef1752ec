package apitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
)

// Append, Writers, linger, Flush and Close of Appenders and of the producer, all at once: each record that was accepted has exactly
// one outcome, and no memory is left.
func TestAppendersConcurrentSafe(t *testing.T) {
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("no time left"))
	for name, end := range map[string]func(*sluice.Producer){
		"Close":      func(p *sluice.Producer) { _ = p.Close() },
		"AsyncClose": func(p *sluice.Producer) { p.AsyncClose() },
		"abort":      func(p *sluice.Producer) { _ = p.CloseContext(ended) },
	} {
		for _, linger := range []time.Duration{0, time.Millisecond} {
			t.Run(fmt.Sprintf("%s linger %v", name, linger), func(t *testing.T) {
				c := newTopicCluster(t, 1, 4)
				conf := testConfig()
				conf.Producer.Return.Successes = false
				conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
				conf.Producer.Flush.Frequency = linger
				p := newAsync(t, c, conf, sluice.WithBufferMemory(32<<10))
				var accepted, told atomic.Int64
				var all sync.WaitGroup
				report := sluice.WithAppendReport(func(r sluice.AppendReport) { told.Add(int64(r.Count)) })
				for n := range 6 {
					a, err := sluice.NewAppender(p, "t", report)
					if err != nil {
						t.Fatal(err)
					}
					w := a.RecordWriter()
					for range 2 {
						all.Go(func() {
							for i := 0; ; i++ {
								if _, err := fmt.Fprintf(w, "%0*d", 1+i%300, i); err != nil {
									return
								}
								accepted.Add(1)
								switch i % 50 {
								case 7:
									_ = a.Flush(impatient(t))
								case 30:
									_ = p.Flush(impatient(t))
								}
							}
						})
					}
					if n < 2 {
						all.Go(func() {
							time.Sleep(time.Duration(n) * time.Millisecond)
							_ = a.Close(impatient(t))
						})
					}
				}
				time.Sleep(5 * time.Millisecond)
				end(p)
				all.Wait()
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				if a, b := accepted.Load(), told.Load(); a != b || a == 0 {
					t.Errorf("%d records were accepted, %d have an outcome", a, b)
				}
				wantNothingBuffered(t, p)
			})
		}
	}
}

// Appending beside BeginTxn, CommitTxn and AbortTxn: a record whose Append lies between BeginTxn and CommitTxn is committed with them,
// and each that is accepted has its outcome.
func TestAppendersBesideTransactions(t *testing.T) {
	c := newTopicCluster(t, 1, 4)
	conf := txnConfig()
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	conf.Producer.Flush.Frequency = time.Minute
	p := newAsync(t, c, conf)
	const senders, transactions = 4, 20
	var phase atomic.Int64 // odd while a transaction is open
	var committed [transactions + 1]bool
	type accepted struct {
		phase int64
		value string
	}
	var mu sync.Mutex
	var inside []accepted
	outcomes := map[string]error{}
	total := 0
	report := sluice.WithAppendReport(func(r sluice.AppendReport) {
		mu.Lock()
		defer mu.Unlock()
		for rec := range r.Records() {
			if _, twice := outcomes[string(rec.Value)]; twice {
				t.Errorf("%s has two outcomes", rec.Value)
			}
			outcomes[string(rec.Value)] = r.Err
		}
	})
	stop := make(chan struct{})
	var all sync.WaitGroup
	for n := range senders {
		a, err := sluice.NewAppender(p, "t", report)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					if err := a.Close(impatient(t)); err != nil && !errors.Is(err, sarama.ErrTransactionNotReady) {
						t.Error(err)
					}
					return
				default:
				}
				value := fmt.Sprint(n, ".", i)
				before := phase.Load()
				err := a.Append(nil, []byte(value))
				after := phase.Load()
				if err != nil {
					if !errors.Is(err, sarama.ErrTransactionNotReady) {
						t.Error(err)
					}
					continue
				}
				mu.Lock()
				total++
				if before == after && before%2 == 1 {
					inside = append(inside, accepted{before, value})
				}
				mu.Unlock()
			}
		})
	}
	for n := range transactions {
		if err := p.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		phase.Add(1)
		time.Sleep(200 * time.Microsecond)
		phase.Add(1)
		if n%4 == 3 {
			if err := p.AbortTxn(); err != nil {
				t.Error(err)
			}
			continue
		}
		if err := p.CommitTxn(); err != nil {
			t.Error(err)
		}
		committed[n] = true
	}
	close(stop)
	all.Wait()
	if err := p.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if len(outcomes) != total || total == 0 {
		t.Errorf("%d records were accepted, %d have an outcome", total, len(outcomes))
	}
	for _, r := range inside {
		if err := outcomes[r.value]; err != nil && committed[r.phase/2] {
			t.Errorf("%s of a committed transaction: %v", r.value, err)
		}
	}
	wantNothingBuffered(t, p)
}

// An Appender takes exactly the records that Produce takes, and stores them the same.
func TestAppenderTakesWhatProduceTakes(t *testing.T) {
	for _, codec := range []sarama.CompressionCodec{
		sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD,
	} {
		t.Run(codec.String(), func(t *testing.T) {
			c := newTopicCluster(t, 1, 2)
			conf := testConfig()
			conf.Producer.Compression = codec
			conf.Producer.MaxMessageBytes = 1000
			p := newAsync(t, c, conf)
			a, err := sluice.NewAppender(p, "t")
			if err != nil {
				t.Fatal(err)
			}
			at := time.UnixMilli(1_600_000_000_000)
			taken := 0
			try := func(at time.Time, key, value []byte, headers ...sarama.RecordHeader) {
				t.Helper()
				msg := &sarama.ProducerMessage{Topic: "t", Partition: 1, Timestamp: at, Headers: headers}
				if key != nil {
					msg.Key = sarama.ByteEncoder(key)
				}
				if value != nil {
					msg.Value = sarama.ByteEncoder(value)
				}
				produced := p.Produce(t.Context(), msg, nil)
				appended := a.AppendAt(0, at, key, value, headers...)
				if (produced == nil) != (appended == nil) || produced != nil && produced.Error() != appended.Error() {
					t.Errorf("%d bytes at %v: Produce %v, Append %v", len(value), at, produced, appended)
				}
				if appended == nil {
					taken++
				}
			}
			refused := 0
			for size := 900; size <= 1001; size++ {
				before := taken
				try(at, nil, make([]byte, size))
				if taken == before {
					refused++
				}
			}
			if refused == 0 || taken == 0 {
				t.Errorf("%d taken, %d refused: the sizes are not those around the limit", taken, refused)
			}
			nothing := sarama.RecordHeader{}
			try(at, []byte("k"), nil, nothing, sarama.RecordHeader{Key: []byte("h")}, sarama.RecordHeader{Value: []byte("v")})
			for _, old := range []time.Time{time.UnixMilli(0), time.UnixMilli(-1), time.Date(1950, 1, 1, 0, 0, 0, 999, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
				try(old, nil, []byte{})
			}
			if err := a.Flush(impatient(t)); err != nil {
				t.Error(err)
			}
			if err := p.Flush(impatient(t)); err != nil {
				t.Error(err)
			}
			logged := readTopic(t, c, "t", 2*taken)
			for i, appended := range logged[:taken] {
				produced := logged[taken+i]
				if !bytes.Equal(appended.Key, produced.Key) || !bytes.Equal(appended.Value, produced.Value) ||
					(appended.Value == nil) != (produced.Value == nil) || !appended.Timestamp.Equal(produced.Timestamp) ||
					fmt.Sprintf("%#v", appended.Headers) != fmt.Sprintf("%#v", produced.Headers) {
					t.Errorf("record %d: %v %v, Produce stores %v %v", i, appended.Timestamp, appended.Headers, produced.Timestamp, produced.Headers)
				}
			}
			wantNothingBuffered(t, p)
		})
	}
}

// The least memory is enough for small records of many partitions, and some for a thousand of them.
func TestAppenderManyPartitions(t *testing.T) {
	for _, memory := range []int64{1024, 1 << 20} {
		for _, linger := range []time.Duration{0, 5 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d bytes linger %v", memory, linger), func(t *testing.T) {
				partitions, n := int32(1000), 5000
				if memory == 1024 {
					partitions, n = 20, 200
				}
				c := newTopicCluster(t, 1, partitions)
				conf := testConfig()
				conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
				conf.Producer.Flush.Frequency = linger
				p := newAsync(t, c, conf, sluice.WithBufferMemory(memory))
				a, got := newAppender(t, p)
				for i := range n {
					if err := a.Append(nil, fmt.Append(nil, i)); err != nil {
						t.Fatal(err)
					}
				}
				if err := a.Close(impatient(t)); err != nil {
					t.Error(err)
				}
				if got.delivered() != n {
					t.Errorf("%d of %d are delivered", got.delivered(), n)
				}
				wantInOrder(t, c, n)
				wantNothingBuffered(t, p)
			})
		}
	}
}

// Partitions that are added are used by a running Appender.
func TestAppenderUsesNewPartitions(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Metadata.RefreshFrequency = 5 * time.Millisecond
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	p := newAsync(t, c, conf)
	a, err := sluice.NewAppender(p, "t")
	if err != nil {
		t.Fatal(err)
	}
	var highest atomic.Int32
	b, err := sluice.NewAppender(p, "t", sluice.WithAppendReport(func(r sluice.AppendReport) { highest.Store(max(highest.Load(), r.Partition)) }))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, a.AppendAt(2, time.Time{}, nil, nil), causes(sarama.ErrInvalidPartition))
	addPartitions(t, c, 3)
	for ctx := impatient(t); ; {
		byName := a.AppendAt(2, time.Time{}, nil, nil)
		if err := b.Append(nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := b.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if byName == nil && highest.Load() == 2 {
			break
		}
	}
	if err := a.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
}

// A topic that is forgotten while its Appender is idle is used again as if nothing had been.
func TestAppenderOfAForgottenTopic(t *testing.T) {
	eachIdempotence(t, func(t *testing.T, v *virtual, conf *sarama.Config) {
		if err := v.CreateTopic("t", 3, nil); err != nil {
			t.Fatal(err)
		}
		p := newAsync(t, v.Cluster, conf)
		a, got := newAppender(t, p)
		const rounds = 4
		for i := range rounds {
			for partition := range int32(3) {
				appendAt(t, a, partition, i*3+int(partition))
			}
			if err := a.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(idleTime)
			synctest.Wait()
			if sendRate(conf, "t") != nil {
				t.Error("the topic is not forgotten: its metrics are there")
			}
		}
		if len(got.offsets) != 3*rounds || len(got.failed) > 0 {
			t.Errorf("%d delivered, %d failed", len(got.offsets), len(got.failed))
		}
		if n := logged(v.Cluster, "t"); n != 3*rounds {
			t.Errorf("the log holds %d", n)
		}
	})
}

// Huge lines, in pieces, by several Writers of one Appender in little memory: each arrives whole.
func TestAppenderWritersOfHugeLines(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Flush.Frequency = time.Millisecond
	p := newAsync(t, c, conf, sluice.WithBufferMemory(1<<20))
	a, err := sluice.NewAppender(p, "t")
	if err != nil {
		t.Fatal(err)
	}
	const writers, lines, size = 4, 20, 200_000
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			w := a.Writer('\n')
			for range lines {
				if _, err := io.CopyBuffer(w, struct{ io.Reader }{strings.NewReader(strings.Repeat(fmt.Sprint(n), size) + "\n")}, make([]byte, 7000)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := a.Close(impatient(t)); err != nil {
		t.Error(err)
	}
	for _, r := range readTopic(t, c, "t", writers*lines, kgo.FetchMaxBytes(64<<20)) {
		if len(r.Value) != size || len(bytes.Trim(r.Value, string(r.Value[0]))) > 0 {
			t.Fatalf("a line of %d bytes is mixed, or cut", len(r.Value))
		}
	}
	wantNothingBuffered(t, p)
}

// A topic is deleted and made anew with fewer partitions: what is appended has its outcome, and soon it is written again.
func TestAppenderOfARecreatedTopic(t *testing.T) {
	for _, numbered := range []bool{false, true} {
		t.Run(fmt.Sprintf("idempotent %t", numbered), func(t *testing.T) {
			c := newTopicCluster(t, 1, 4)
			conf := testConfig()
			conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
			conf.Metadata.RefreshFrequency = 5 * time.Millisecond
			if numbered {
				idempotent(conf)
			}
			p := newAsync(t, c, conf, sluice.WithDeliveryTimeout(200*time.Millisecond))
			a, got := newAppender(t, p)
			accepted := 0
			put := func() {
				if a.Append(nil, fmt.Append(nil, accepted)) == nil {
					accepted++
				}
			}
			for range 100 {
				put()
			}
			if err := a.Flush(impatient(t)); err != nil {
				t.Error(err)
			}
			for range 8 {
				put()
			}
			if err := errors.Join(c.DeleteTopic("t"), c.CreateTopic("t", 2, nil)); err != nil {
				t.Fatal(err)
			}
			for ctx := impatient(t); ; {
				for range 4 {
					put()
				}
				if a.Flush(ctx) == nil && logged(c, "t") > 0 {
					break
				}
				if ctx.Err() != nil {
					t.Fatal("nothing is written to the new topic")
				}
			}
			if n := len(got.offsets) + len(got.failed); n != accepted {
				t.Errorf("%d records were accepted, %d have an outcome", accepted, n)
			}
			wantNothingBuffered(t, p)
		})
	}
}
