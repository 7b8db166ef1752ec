package mocks_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/mocks"
)

// fates closes the mock and tells what is left in its channels: topic/offset of successes, topic and cause of errors.
func fates(t *testing.T, mp *mocks.AsyncProducer) (succeeded []*sarama.ProducerMessage, failed []*sarama.ProducerError) {
	t.Helper()
	if err := mp.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for msg := range mp.Successes() {
		succeeded = append(succeeded, msg)
	}
	for err := range mp.Errors() {
		failed = append(failed, err)
	}
	return succeeded, failed
}

// Every way that a message can take, one outcome each.
func TestAsyncProducerOutcomes(t *testing.T) {
	panics := func(*sarama.ProducerMessage) error { panic(errRefused) }
	for name, c := range map[string]struct {
		config  *sarama.Config
		expect  func(*mocks.AsyncProducer)
		send    []*sarama.ProducerMessage
		offsets []int64 // of the successes
		errs    []error
		reports []string
	}{
		"as the expectations say": {
			expect: func(mp *mocks.AsyncProducer) {
				mp.ExpectInputAndSucceed().ExpectInputAndFail(sarama.ErrOutOfBrokers).ExpectInputAndSucceed()
			},
			send:    []*sarama.ProducerMessage{text("t", "1"), text("t", "2"), text("u", "3")},
			offsets: []int64{1, 2},
			errs:    []error{sarama.ErrOutOfBrokers},
		},
		"an expectation too few": {
			expect:  func(mp *mocks.AsyncProducer) { mp.ExpectInputAndSucceed() },
			send:    []*sarama.ProducerMessage{text("t", "1"), text("surplus", "2")},
			offsets: []int64{1},
			errs:    []error{mocks.ErrOutOfExpectations},
			reports: []string{"surplus"},
		},
		"expectations too many": {
			expect: func(mp *mocks.AsyncProducer) {
				mp.ExpectInputAndSucceed().ExpectInputAndSucceed().ExpectInputAndFail(nil)
			},
			send:    []*sarama.ProducerMessage{text("t", "1")},
			offsets: []int64{1},
			reports: []string{"2"},
		},
		"a checker refuses": {
			expect: func(mp *mocks.AsyncProducer) {
				mp.ExpectInputWithCheckerFunctionAndSucceed(is("a")).ExpectInputWithCheckerFunctionAndSucceed(is("a")).
					ExpectInputWithCheckerFunctionAndFail(is("a"), sarama.ErrOutOfBrokers).
					ExpectInputWithCheckerFunctionAndFail(is("a"), sarama.ErrOutOfBrokers).
					ExpectInputWithCheckerFunctionAndSucceed(nil)
			},
			send:    []*sarama.ProducerMessage{text("t", "a"), text("t", "b"), text("t", "a"), text("t", "b"), text("t", "c")},
			offsets: []int64{1, 2},
			errs:    []error{errRefused, sarama.ErrOutOfBrokers, errRefused},
			reports: []string{errRefused.Error(), errRefused.Error()},
		},
		"a checker looks at the message": {
			config: partitionedBy(fixed{}),
			expect: func(mp *mocks.AsyncProducer) {
				mp.ExpectInputWithMessageCheckerFunctionAndFail(func(msg *sarama.ProducerMessage) error {
					if msg.Topic != "known" || msg.Partition != 15 {
						return errRefused
					}
					return nil
				}, sarama.ErrOutOfBrokers)
			},
			send: []*sarama.ProducerMessage{text("known", "")},
			errs: []error{sarama.ErrOutOfBrokers},
		},
		"a checker panics": {
			expect: func(mp *mocks.AsyncProducer) {
				mp.ExpectInputWithMessageCheckerFunctionAndSucceed(panics).ExpectInputAndSucceed()
			},
			send:    []*sarama.ProducerMessage{text("t", "1"), text("t", "2")},
			offsets: []int64{1},
			errs:    []error{errRefused},
			reports: []string{errRefused.Error()},
		},
		"the partitioner refuses": {
			config:  partitionedBy(fixed{}),
			expect:  func(mp *mocks.AsyncProducer) { mp.ExpectInputAndSucceed().ExpectInputAndSucceed() },
			send:    []*sarama.ProducerMessage{text("unknown", ""), text("known", "")},
			offsets: []int64{1},
			errs:    []error{errNoPlace},
			reports: []string{errNoPlace.Error()},
		},
		"a value that can't be encoded": {
			expect:  func(mp *mocks.AsyncProducer) { mp.ExpectInputWithCheckerFunctionAndSucceed(is("")) },
			send:    []*sarama.ProducerMessage{{Topic: "t", Value: brokenEncoder{}}},
			errs:    []error{errBroken},
			reports: []string{errBroken.Error()},
		},
		"a tombstone": {
			expect:  func(mp *mocks.AsyncProducer) { mp.ExpectInputWithCheckerFunctionAndSucceed(is("")) },
			send:    []*sarama.ProducerMessage{nil, {Topic: "t"}},
			offsets: []int64{1},
		},
		"outside a transaction": {
			config:  transactional(),
			expect:  func(mp *mocks.AsyncProducer) { mp.ExpectInputAndSucceed() },
			send:    []*sarama.ProducerMessage{text("t", "1"), text("t", "2")},
			errs:    []error{mocks.ErrNotInTransaction, mocks.ErrNotInTransaction},
			reports: []string{"", "", "1"},
		},
		"an invalid configuration": {
			config:  invalid(),
			expect:  func(mp *mocks.AsyncProducer) {},
			reports: []string{"spaces are not allowed here"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.config == nil {
				c.config = partitionedBy(counting{})
			}
			r := &reports{}
			mp := mocks.NewAsyncProducer(r, c.config)
			c.expect(mp)
			for _, msg := range c.send {
				mp.Input() <- msg
			}
			succeeded, failed := fates(t, mp)
			r.want(t, c.reports...)
			var offsets []int64
			for _, msg := range succeeded {
				offsets = append(offsets, msg.Offset)
			}
			if !slices.Equal(offsets, c.offsets) {
				t.Errorf("offsets %v succeeded, want %v", offsets, c.offsets)
			}
			if !slices.EqualFunc(failed, c.errs, func(got *sarama.ProducerError, want error) bool { return errors.Is(got, want) }) {
				t.Errorf("failed with %v, want %v", failed, c.errs)
			}
		})
	}
}

// Producer.Return is obeyed, but for what was reported; a nil configuration is sarama's default.
func TestAsyncProducerReturns(t *testing.T) {
	for name, c := range map[string]struct {
		successes, errors bool
		wantS, wantE      int
	}{
		"both":           {true, true, 1, 2},
		"errors only":    {false, true, 0, 2},
		"successes only": {true, false, 1, 1},
		"neither":        {false, false, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			config := mocks.NewTestConfig()
			config.Producer.Return.Successes, config.Producer.Return.Errors = c.successes, c.errors
			mp := mocks.NewAsyncProducer(&reports{}, config).ExpectInputAndSucceed().ExpectInputAndFail(sarama.ErrOutOfBrokers)
			mp.InputBatch() <- []*sarama.ProducerMessage{text("t", "1"), nil, text("t", "2"), text("t", "not expected")}
			if s, f := fates(t, mp); len(s) != c.wantS || len(f) != c.wantE {
				t.Errorf("%d successes, %d errors, want %d, %d", len(s), len(f), c.wantS, c.wantE)
			}
		})
	}
	mp := mocks.NewAsyncProducer(t, nil).ExpectInputAndSucceed().ExpectInputAndFail(sarama.ErrOutOfBrokers)
	mp.Input() <- text("t", "1")
	mp.Input() <- text("t", "2")
	if s, f := fates(t, mp); len(s) != 0 || len(f) != 1 {
		t.Errorf("nil configuration: %d successes, %d errors, want 0, 1", len(s), len(f))
	}
}

func TestAsyncProducerTopicConfig(t *testing.T) {
	mp := mocks.NewAsyncProducer(t, partitionedBy(counting{}))
	send := func(topic string, want int32) {
		t.Helper()
		mp.ExpectInputAndSucceed()
		mp.Input() <- text(topic, "")
		if got := (<-mp.Successes()).Partition; got != want {
			t.Errorf("topic %s went to partition %d, want %d", topic, got, want)
		}
	}
	send("a", 31)
	mp.SetDefaultPartitions(4)
	mp.SetPartitions(map[string]int32{"b": 7})
	mp.SetPartitions(map[string]int32{"c": 9})
	send("a", 3)
	send("b", 6)
	send("c", 8)
	fates(t, mp)
}

func TestAsyncProducerTransaction(t *testing.T) {
	mp := mocks.NewAsyncProducer(t, transactional())
	if !mp.IsTransactional() || mp.TxnStatus() != sarama.ProducerTxnFlagReady {
		t.Errorf("transactional %t, status %v at the start", mp.IsTransactional(), mp.TxnStatus())
	}
	for i, end := range []func() error{mp.CommitTxn, mp.AbortTxn} {
		mp.ExpectInputAndSucceed()
		if err := mp.BeginTxn(); err != nil || mp.TxnStatus() != sarama.ProducerTxnFlagInTransaction {
			t.Fatalf("BeginTxn: %v, status %v", err, mp.TxnStatus())
		}
		mp.Input() <- text("t", "")
		offsets := map[string][]*sarama.PartitionOffsetMetadata{"t": {{Partition: 1, Offset: 2}}}
		consumed := &sarama.ConsumerMessage{Topic: "t"}
		if err := errors.Join(
			mp.AddOffsetsToTxn(offsets, "g"),
			mp.AddOffsetsToTxnWithGroupMetadata(offsets, nil),
			mp.AddMessageToTxn(consumed, "g", nil),
			mp.AddMessageToTxnWithGroupMetadata(consumed, nil, nil),
			end(),
		); err != nil {
			t.Fatal(err)
		}
		// The end waits for fates, so that what was sent before belongs to the transaction.
		if n, _ := mp.Buffered(); n != 0 || mp.TxnStatus() != sarama.ProducerTxnFlagReady {
			t.Errorf("%d messages without a fate, status %v after the end of transaction %d", n, mp.TxnStatus(), i)
		}
	}
	if s, f := fates(t, mp); len(s) != 2 || len(f) != 0 {
		t.Errorf("%d successes, %d errors, want 2, 0", len(s), len(f))
	}
}

// A callback takes its outcome in place of the channels, and may use the mock.
func TestAsyncProducerProduce(t *testing.T) {
	r := &reports{}
	mp := mocks.NewAsyncProducer(r, partitionedBy(fixed{}))
	mp.ExpectInputAndSucceed().ExpectInputAndFail(sarama.ErrOutOfBrokers).ExpectInputAndSucceed().ExpectInputAndSucceed()
	var got []error
	note := func(_ *sarama.ProducerMessage, err error) {
		got = append(got, err)
		if err := mp.Flush(context.Background()); err != nil {
			t.Errorf("Flush in a callback: %v", err)
		}
		mp.BeginTxn()
		if len(got) == 3 {
			mp.AsyncClose()
		}
	}
	produce := func(topic string, done func(*sarama.ProducerMessage, error)) {
		t.Helper()
		if err := mp.Produce(context.Background(), text(topic, ""), done); err != nil {
			t.Fatal(err)
		}
	}
	produce("known", nil)
	produce("known", note)
	produce("known", func(msg *sarama.ProducerMessage, err error) {
		if msg.Partition != 15 || msg.Offset != 2 {
			t.Errorf("callback got partition %d, offset %d, want 15, 2", msg.Partition, msg.Offset)
		}
		note(msg, err)
		panic(errRefused)
	})
	produce("unknown", note)
	if s, f := fates(t, mp); len(s)+len(f) != 0 {
		t.Errorf("%d successes, %d errors beside the callbacks", len(s), len(f))
	}
	want := []error{sarama.ErrOutOfBrokers, nil, errNoPlace}
	if !slices.EqualFunc(got, want, errors.Is) {
		t.Errorf("callbacks got %v, want %v", got, want)
	}
	if n := len(r.text); n != 2 {
		t.Errorf("%d reports, want one of the partitioner and one of the panic: %q", n, r.text)
	}
	if err := mp.Produce(context.Background(), text("known", ""), note); !errors.Is(err, sarama.ErrShuttingDown) {
		t.Errorf("Produce after the close: %v", err)
	}
	if err := mp.Produce(context.Background(), nil, note); err == nil {
		t.Error("Produce takes a nil message")
	}
}

// A checker that ends its goroutine, as FailNow does, fails its message and not the mock.
func TestAsyncProducerCheckerEndsItsGoroutine(t *testing.T) {
	r := &reports{}
	mp := mocks.NewAsyncProducer(r, nil)
	mp.ExpectInputWithMessageCheckerFunctionAndSucceed(func(*sarama.ProducerMessage) error {
		new(testing.T).SkipNow() // FailNow, without a failure
		return nil
	}).ExpectInputAndSucceed()
	mp.Input() <- text("t", "1")
	mp.Input() <- text("t", "2")
	if _, f := fates(t, mp); len(f) != 1 {
		t.Errorf("%d errors, want 1", len(f))
	}
	r.want(t, "")
}

// Whatever the number of senders, each message has one outcome, and each expectation serves one message.
func TestAsyncProducerConcurrentSafe(t *testing.T) {
	const senders, each = 6, 100
	config := partitionedBy(counting{})
	config.ChannelBufferSize = 3
	mp := mocks.NewAsyncProducer(t, config)
	var wg, readers sync.WaitGroup
	var mu sync.Mutex
	outcomes := make(map[*sarama.ProducerMessage]int)
	count := func(msg *sarama.ProducerMessage) {
		mu.Lock()
		defer mu.Unlock()
		outcomes[msg]++
	}
	readers.Go(func() {
		for msg := range mp.Successes() {
			count(msg)
		}
	})
	readers.Go(func() {
		for err := range mp.Errors() {
			count(err.Msg)
		}
	})
	for range senders {
		wg.Go(func() {
			for range each {
				mp.ExpectInputAndSucceed().ExpectInputAndFail(sarama.ErrOutOfBrokers).ExpectInputAndSucceed()
				mp.Input() <- text("t", "")
				mp.InputBatch() <- []*sarama.ProducerMessage{text("t", "")}
				mp.Produce(context.Background(), text("t", ""), func(msg *sarama.ProducerMessage, _ error) { count(msg) })
				mp.SetPartitions(map[string]int32{"t": 5})
				if err := mp.Flush(context.Background()); err != nil {
					t.Error(err)
				}
				mp.Buffered()
				mp.TxnStatus()
			}
		})
	}
	wg.Wait()
	for range 3 {
		wg.Go(func() { mp.Close() })
		wg.Go(mp.AsyncClose)
	}
	wg.Wait()
	readers.Wait()
	if len(outcomes) != 3*senders*each {
		t.Errorf("%d messages have an outcome, want %d", len(outcomes), 3*senders*each)
	}
	for _, n := range outcomes {
		if n != 1 {
			t.Fatalf("a message has %d outcomes", n)
		}
	}
}
