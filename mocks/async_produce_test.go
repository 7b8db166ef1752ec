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
