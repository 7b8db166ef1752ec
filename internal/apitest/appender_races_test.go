package apitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice"
)

// Somebody waits for memory already as an Appender, served before him, begins a batch: it is sent, linger or not.
func TestAppenderBeginsWhileOthersWait(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Return.Successes = false
		conf.Producer.Flush.Frequency = 30 * time.Second
		conf.Producer.MaxMessageBytes = 20000
		p := newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(32<<10))
		first, _ := newAppender(t, p)
		held := holdProduce(t, v.Cluster, nil)
		if err := first.AppendAt(0, time.Time{}, nil, make([]byte, 14000)); err != nil {
			t.Fatal(err)
		}
		second, _ := newAppender(t, p)
		var all sync.WaitGroup
		all.Go(func() {
			if err := second.AppendAt(0, time.Time{}, nil, make([]byte, 15000)); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if err := p.Produce(t.Context(), &sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, 12000))}, nil); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		began := time.Now()
		held.open()
		all.Wait()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it waited %v", took)
		}
	}, kfake.SeedTopics(1, "t"))
}

// Flush is over when all has its outcome that was appended before it, also if others go on writing.
func TestAppenderFlushWhileOthersWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
		p := newAsync(t, v.Cluster, conf)
		a, got := newAppender(t, p)
		w := a.RecordWriter()
		if _, err := io.WriteString(w, "first"); err != nil {
			t.Fatal(err)
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
		// Each batch is answered after 10 ms, and there is always one that has been under way for 5.
		slow(t, v.Cluster, 10*time.Millisecond)
		stop := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				_, _ = fmt.Fprint(w, "other ", n)
			}
		})
		time.Sleep(time.Second)
		if _, err := io.WriteString(w, "last"); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.Flush(ctx); err != nil {
			t.Error(err)
		}
		got.mu.Lock()
		if _, told := got.offsets["last"]; !told {
			t.Error("Flush returned before the report")
		}
		got.mu.Unlock()
		close(stop)
		all.Wait()
		if err := a.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantNothingBuffered(t, p)
	}, kfake.SeedTopics(4, "t"), kfake.SleepOutOfOrder())
}

// An interceptor is called once at a time, for messages and for records of Appenders; one that takes the timestamp away means
// the time of the call.
func TestAppenderInterceptorsOneAtATime(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Return.Successes = false
	var running, calls atomic.Int32
	conf.Producer.Interceptors = []sarama.ProducerInterceptor{changing(func(msg *sarama.ProducerMessage) {
		if running.Add(1) > 1 {
			t.Error("two run at the same time")
		}
		calls.Add(1)
		msg.Timestamp = time.Time{}
		runtime.Gosched() // others may come
		running.Add(-1)
	})}
	p := newAsync(t, c, conf)
	const each = 500
	before := time.Now().Truncate(time.Millisecond)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			a, err := sluice.NewAppender(p, "t")
			if err != nil {
				t.Error(err)
				return
			}
			for range each {
				if err := a.Append(nil, []byte("appended")); err != nil {
					t.Error(err)
				}
			}
			if err := a.Close(impatient(t)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Go(func() {
		for range each {
			p.Input() <- &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("message")}
		}
	})
	all.Wait()
	if err := p.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	if n := calls.Load(); n != 4*each {
		t.Errorf("%d calls, want %d", n, 4*each)
	}
	after := time.Now()
	for _, r := range readTopic(t, c, "t", 4*each) {
		if r.Timestamp.Before(before) || r.Timestamp.After(after) {
			t.Fatalf("%s: a timestamp of %v", r.Value, r.Timestamp)
		}
	}
}

// Records in open batches are accepted: Buffered counts them.
func TestBufferedCountsOpenBatches(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Flush.Frequency = time.Minute
		p := newAsync(t, v.Cluster, conf)
		a, _ := newAppender(t, p)
		b, _ := newAppender(t, p)
		for i := range 5 {
			appendAt(t, a, int32(i%2), i)
		}
		appendAt(t, b, 0, 5)
		if messages, bytes := p.Buffered(); messages != 6 || bytes == 0 {
			t.Errorf("%d records and %d bytes are buffered, want 6", messages, bytes)
		}
		if err := a.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantNothingBuffered(t, p)
	}, kfake.SeedTopics(2, "t"))
}

// A report may send messages, flush the producer and make Appenders, and may panic: sarama.PanicHandler gets that, and the outcome
// counts.
func TestAppendReportCallsAndPanics(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Return.Successes = false
	p := newAsync(t, c, conf)
	var reports atomic.Int32
	panics := make(chan any, 10)
	handlePanics(t, func(p any) { panics <- p })
	a, err := sluice.NewAppender(p, "t", sluice.WithAppendReport(func(r sluice.AppendReport) {
		reports.Add(int32(r.Count))
		if err := p.Produce(context.Background(), &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("again")}, nil); err != nil {
			t.Error(err)
		}
		if err := p.Flush(impatient(t)); err != nil {
			t.Error(err)
		}
		if _, err := sluice.NewAppender(p, "t"); err != nil {
			t.Error(err)
		}
		panic("the report")
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.AppendAt(0, time.Time{}, nil, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := a.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	if got := receive(t, panics); got != "the report" {
		t.Errorf("panic %v", got)
	}
	if n := reports.Load(); n != 1 {
		t.Errorf("%d reports", n)
	}
	if err := p.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	readTopic(t, c, "t", 2)
}

// A partitioner that fails, panics or returns nonsense fails one record. What it keeps of the message is its own affair.
func TestAppenderPartitioner(t *testing.T) {
	c := newTopicCluster(t, 1, 2)
	conf := testConfig()
	var kept *sarama.ProducerMessage
	failure := errors.New("no partition today")
	conf.Producer.Partitioner = func(string) sarama.Partitioner {
		return partitionerFunc(func(msg *sarama.ProducerMessage, n int32) (int32, error) {
			kept = msg
			value, _ := msg.Value.Encode()
			switch string(value) {
			case "panic":
				panic("the partitioner")
			case "error":
				return 0, failure
			case "low":
				return -1, nil
			case "high":
				return n, nil
			}
			return 1, nil
		})
	}
	p := newAsync(t, c, conf)
	a, got := newAppender(t, p)
	put := func(value string) error { return a.Append(nil, []byte(value)) }
	wantError(t, put("panic"), nil, "panicked", `"t"`)
	wantError(t, put("error"), causes(failure))
	wantError(t, put("low"), causes(sarama.ErrInvalidPartition))
	wantError(t, put("high"), causes(sarama.ErrInvalidPartition))
	for _, value := range []string{"a", "b"} {
		if err := put(value); err != nil {
			t.Error(err)
		}
		kept.Topic, kept.Value, kept.Partition = "another", nil, 7
	}
	if err := a.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	if len(got.offsets) != 2 {
		t.Errorf("delivered: %v", got.offsets)
	}
	wantNothingBuffered(t, p)
}

type partitionerFunc func(*sarama.ProducerMessage, int32) (int32, error)

func (f partitionerFunc) Partition(msg *sarama.ProducerMessage, n int32) (int32, error) {
	return f(msg, n)
}
func (f partitionerFunc) RequiresConsistency() bool { return false }

// Flush of the producer sends what Appenders have open, and all of it has its outcome as it returns.
func TestFlushSealsOpenBatches(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Flush.Frequency = time.Minute
		p := newAsync(t, v.Cluster, conf)
		a, _ := newAppender(t, p)
		began := time.Now()
		for i := range 200 {
			appendAt(t, a, int32(i%2), i)
			if err := p.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			if n := p.Stats().Records.Acknowledged.Records; n != int64(i+1) {
				t.Fatalf("Flush returned with %d of %d records acknowledged", n, i+1)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
	}, kfake.SeedTopics(2, "t"))
}

// Transact commits what Appenders have open as its function returns.
func TestTransactCommitsOpenBatches(t *testing.T) {
	bothTxnVersions(t, func(t *testing.T, c *kfake.Cluster, _ int) {
		conf := txnConfig()
		conf.Producer.Flush.Frequency = time.Minute
		p := newAsync(t, c, conf)
		a, _ := newAppender(t, p)
		var want []string
		for i := range 20 {
			err := p.Transact(t.Context(), func(sluice.Tx) error {
				want = append(want, fmt.Sprint(i))
				return a.AppendAt(0, time.Time{}, nil, fmt.Append(nil, i))
			})
			if err != nil {
				t.Error(err)
			}
		}
		if err := a.Flush(impatient(t)); err != nil {
			t.Error(err)
		}
		wantCommitted(t, c, want...)
	})
}

// Flush and Close of the producer do not wait for a topic that an Appender waits for. Close ends that waiting.
func TestAppenderWaitsForItsTopicBesideFlush(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Metadata.AllowAutoTopicCreation = false
		p := newAsync(t, v.Cluster, conf, sluice.WithDeliveryTimeout(time.Hour))
		for _, topic := range []string{"no", "never"} {
			ended := make(chan error, 1)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var opts []sluice.AppenderOption
			if topic == "no" {
				opts = append(opts, sluice.WithAppendContext(ctx))
			}
			a, err := sluice.NewAppender(p, topic, opts...)
			if err != nil {
				t.Fatal(err)
			}
			go func() { ended <- a.Append(nil, nil) }()
			synctest.Wait()
			for range 3 { // each has a barrier of its own
				if err := p.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if topic == "no" {
				wantError(t, <-ended, causes(context.DeadlineExceeded))
				continue
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			wantError(t, <-ended, causes(sarama.ErrShuttingDown))
		}
		wantNothingBuffered(t, p)
	})
}

// What waits for a topic's metadata is no record: neither Stats nor Buffered count it.
func TestAppenderStats(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig())
	a, _ := newAppender(t, p)
	for i := range 3 {
		appendAt(t, a, 0, i)
	}
	if err := a.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	if r := p.Stats().Records; r.Acknowledged.Records != 3 || r.Sent.Records != 3 || r.Failed.Records != 0 {
		t.Errorf("%+v", r)
	}
	wantNothingBuffered(t, p)
}

// Many Appenders in memory for two of them: none waits for what another one holds while that waits too. Each waits to add a large
// record to a batch of small ones, which is sent meanwhile: what it gets is too little for a new batch.
func TestAppendersShareLittleMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Return.Successes = false
		conf.Producer.Flush.Frequency = time.Hour
		conf.Producer.MaxMessageBytes = 4000
		p := newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(5000))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				a, _ := newAppender(t, p, sluice.WithAppendContext(ctx))
				for i := range 60 {
					if err := a.AppendAt(0, time.Time{}, nil, fmt.Appendf(nil, "%0*d", []int{10, 150, 900, 1900}[i%4], i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if err := p.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		readTopic(t, v.Cluster, "t", 480, kgo.Dialer(v.DialContext))
		wantNothingBuffered(t, p)
	}, kfake.SeedTopics(1, "t"))
}

// No error of Append keeps memory, and neither does the end of its context wherever that comes.
func TestAppenderErrorsFreeMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Flush.Frequency = time.Minute
		conf.Producer.MaxMessageBytes = 20000
		const limit = 24 << 10
		p := newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(limit))
		background, _ := newAppender(t, p)
		wantError(t, background.AppendAt(0, time.Time{}, nil, make([]byte, 17000)), causes(sarama.ErrMessageSizeTooLarge))
		wantError(t, background.AppendAt(0, time.Time{}, nil, make([]byte, 30000)), causes(sarama.ErrMessageSizeTooLarge))
		wantError(t, background.AppendAt(9, time.Time{}, nil, nil), causes(sarama.ErrInvalidPartition))
		wantNothingBuffered(t, p)

		held := holdProduce(t, v.Cluster, nil)
		appendAt(t, background, 0, 0)
		if err := background.AppendAt(0, time.Time{}, nil, make([]byte, 9000)); err != nil {
			t.Fatal(err)
		}
		var full int
		for n := range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Millisecond)
			a, _ := newAppender(t, p, sluice.WithAppendContext(ctx))
			for size := 100; size < 9000; size += 1700 {
				if err := a.AppendAt(int32(n%4), time.Time{}, nil, make([]byte, size)); errors.Is(err, sluice.ErrBufferFull) {
					full++
				} else if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
			cancel()
		}
		if full == 0 {
			t.Error("memory was never used up")
		}
		held.open()
		if err := p.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		wantNothingBuffered(t, p)
	}, kfake.SeedTopics(4, "t"))
}
