package mocks_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// busy is a checker that waits: entered tells that it began, release lets it end.
type busy struct{ entered, release chan struct{} }

func newBusy() busy { return busy{make(chan struct{}), make(chan struct{})} }

func (b busy) check(*sarama.ProducerMessage) error {
	close(b.entered)
	<-b.release
	return errRefused
}

var errEnough = errors.New("waited long enough")

// given returns a context, and a function that ends it with errEnough.
func given() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	return ctx, func() { cancel(errEnough) }
}

// More outcomes than the buffers hold, and nobody reads: nothing waits for that, and none is lost.
func TestAsyncProducerUnreadOutcomes(t *testing.T) {
	for _, size := range []int{0, 1, 5} {
		config := partitionedBy(counting{})
		config.ChannelBufferSize = size
		mp := mocks.NewAsyncProducer(t, config)
		for range 10 {
			mp.ExpectInputAndSucceed().ExpectInputAndFail(sarama.ErrOutOfBrokers)
			mp.Input() <- text("t", "")
			mp.Input() <- text("t", "")
		}
		if err := mp.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n, bytes := mp.Buffered(); n != 0 || bytes != 0 {
			t.Errorf("%d messages of %d bytes without a fate after Flush", n, bytes)
		}
		if err := mp.Close(); err != nil {
			t.Fatal(err)
		}
		if s, f := len(mp.Successes()), len(mp.Errors()); s != size || f != size {
			t.Errorf("%d successes, %d errors buffered after Close, want %d", s, f, size)
		}
		// The outputs are still open, so a late message is refused.
		late := text("t", "late")
		mp.Input() <- late
		mp.InputBatch() <- []*sarama.ProducerMessage{late, nil}
		s, f := fates(t, mp)
		if len(s) != 10 || len(f) != 12 {
			t.Fatalf("%d successes, %d errors, want 10, 12", len(s), len(f))
		}
		for _, err := range f[10:] {
			if err.Msg != late || !errors.Is(err, sarama.ErrShuttingDown) {
				t.Errorf("a late message got %v", err)
			}
		}
		if err := mp.Flush(context.Background()); err != nil {
			t.Errorf("Flush after the close: %v", err)
		}
		select {
		case mp.Input() <- late:
			t.Error("Input swallows a message")
		case mp.InputBatch() <- []*sarama.ProducerMessage{late}:
			t.Error("InputBatch swallows a message")
		default:
		}
	}
}

// Senders that never pause neither panic, nor lose a message, nor keep Close from its end.
func TestAsyncProducerLateSendersConcurrentSafe(t *testing.T) {
	for _, size := range []int{0, 1, 256} {
		config := partitionedBy(counting{})
		config.ChannelBufferSize = size
		config.Producer.Return.Successes = false
		r := &reports{}
		mp := mocks.NewAsyncProducer(r, config)
		quit := make(chan struct{})
		var senders, reader sync.WaitGroup
		var sent, refused int
		var mu sync.Mutex
		for i := range 3 {
			senders.Go(func() {
				input, batches := mp.Input(), mp.InputBatch()
				if i > 0 {
					batches = nil
				}
				n := 0
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					sent += n
				}()
				for {
					select {
					case input <- text("t", ""):
						n++
					case batches <- []*sarama.ProducerMessage{text("t", "")}:
						n++
					case <-quit:
						return
					}
				}
			})
		}
		reader.Go(func() {
			for range mp.Errors() {
				refused++
			}
		})
		runtime.Gosched()
		mp.Close()
		reader.Wait()
		close(quit)
		senders.Wait()
		if sent != refused {
			t.Errorf("buffer %d: %d messages were taken, %d have an outcome", size, sent, refused)
		}
	}
}

func TestAsyncProducerCloseContext(t *testing.T) {
	t.Run("drains", func(t *testing.T) {
		config := partitionedBy(counting{})
		config.ChannelBufferSize = 1
		mp := mocks.NewAsyncProducer(t, config)
		for range 5 {
			mp.ExpectInputAndSucceed().ExpectInputAndFail(sarama.ErrOutOfBrokers)
			mp.Input() <- text("t", "")
			mp.Input() <- text("t", "")
		}
		var failed sarama.ProducerErrors
		if err := mp.CloseContext(context.Background()); !errors.As(err, &failed) || len(failed) != 5 {
			t.Errorf("CloseContext returned %v, want 5 ProducerErrors", err)
		}
		if err := mp.CloseContext(context.Background()); err != nil {
			t.Errorf("the second CloseContext returned %v", err)
		}
		if err := mp.Close(); err != nil {
			t.Errorf("Close behind CloseContext returned %v", err)
		}
	})
	t.Run("nothing to do", func(t *testing.T) {
		ctx, end := given()
		end()
		if err := mocks.NewAsyncProducer(t, nil).CloseContext(ctx); err != nil {
			t.Errorf("CloseContext of an idle mock returned %v", err)
		}
	})
	t.Run("a busy checker", func(t *testing.T) {
		b := newBusy()
		mp := mocks.NewAsyncProducer(t, nil).ExpectInputWithMessageCheckerFunctionAndSucceed(b.check)
		// What the checker says in the end comes too late, and is not reported.
		in := text("t", "in the checker")
		mp.Input() <- in
		mp.Input() <- text("t", "behind it")
		<-b.entered
		ctx, end := given()
		end()
		if err := mp.Flush(ctx); !errors.Is(err, errEnough) || !errors.Is(err, context.Canceled) {
			t.Errorf("Flush returned %v", err)
		}
		if n, bytes := mp.Buffered(); n != 2 || bytes != int64(in.ByteSize(2)+text("t", "behind it").ByteSize(2)) {
			t.Errorf("%d messages of %d bytes without a fate", n, bytes)
		}
		var failed sarama.ProducerErrors
		if err := mp.CloseContext(ctx); !errors.As(err, &failed) || len(failed) != 2 {
			t.Fatalf("CloseContext returned %v, want 2 ProducerErrors", err)
		}
		for i, err := range failed {
			if !errors.Is(err, errEnough) || errors.Is(err, sluice.ErrOutcomeUnknown) != (i == 0) {
				t.Errorf("message %d failed with %v", i, err)
			}
		}
		close(b.release)
	})
	t.Run("a busy callback", func(t *testing.T) {
		b := newBusy()
		mp := mocks.NewAsyncProducer(t, nil).ExpectInputAndSucceed()
		mp.Produce(context.Background(), text("t", ""), func(msg *sarama.ProducerMessage, _ error) { b.check(msg) })
		<-b.entered
		ctx, end := given()
		end()
		if err := mp.CloseContext(ctx); !errors.Is(err, errEnough) {
			t.Errorf("CloseContext returned %v", err)
		}
		close(b.release)
	})
}
