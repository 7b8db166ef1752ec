package mocks_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/mocks"
)

// fates closes the mock and reads what is left in its channels.
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
