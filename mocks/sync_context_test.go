package mocks_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// A context that ends withdraws what no checker has begun with, and does not wait for one that is busy.
func TestSyncProducerContext(t *testing.T) {
	r := &reports{}
	b := newBusy()
	sp := mocks.NewSyncProducer(r, nil).ExpectSendMessageAndSucceed().ExpectSendMessageWithMessageCheckerFunctionAndSucceed(b.check)
	msgs := []*sarama.ProducerMessage{text("t", "1"), text("t", "2"), text("t", "3")}
	over, end := given()
	end()
	if _, _, err := sp.SendMessageContext(over, msgs[0]); !errors.Is(err, errEnough) || !errors.Is(err, context.Canceled) ||
		errors.Is(err, sluice.ErrOutcomeUnknown) {
		t.Errorf("a context that was over: %v", err)
	}
	sp.ExpectSendMessageAndSucceed()

	ctx, end := given()
	done := make(chan error)
	go func() { done <- sp.SendMessagesContext(ctx, msgs) }()
	<-b.entered
	waiting, stop := given()
	go func() {
		_, _, err := sp.SendMessageContext(waiting, text("t", "4"))
		done <- err
	}()
	stop()
	if err := <-done; !errors.Is(err, errEnough) {
		t.Errorf("a call behind a busy checker: %v", err)
	}
	end()
	var failed sarama.ProducerErrors
	if err := <-done; !errors.As(err, &failed) || len(failed) != 2 || failed[0].Msg != msgs[1] || failed[1].Msg != msgs[2] {
		t.Fatalf("SendMessagesContext returned %v, want the messages that were not decided", failed)
	}
	for i, err := range failed {
		if !errors.Is(err, errEnough) || errors.Is(err, sluice.ErrOutcomeUnknown) != (i == 0) || err.Msg.Offset != 0 {
			t.Errorf("message %d failed with %v at offset %d", i+1, err, err.Msg.Offset)
		}
	}
	if msgs[0].Offset != 1 {
		t.Errorf("the first message has offset %d, want 1", msgs[0].Offset)
	}
	if err := sp.CloseContext(over); !errors.Is(err, errEnough) {
		t.Errorf("CloseContext behind a busy checker: %v", err)
	}
	close(b.release)
	if err := sp.Close(); err != nil {
		t.Error(err)
	}
	// The third message's expectation is the one that nothing came for.
	r.want(t, "1")
}

// FailNow in a checker ends the goroutine that called SendMessage, in general the test's, and leaves the mock usable;
// the calls with a context check on another goroutine, where it fails the message.
func TestSyncProducerCheckerEndsItsGoroutine(t *testing.T) {
	r := &reports{}
	leave := func(*sarama.ProducerMessage) error {
		new(testing.T).SkipNow() // FailNow, without a failure
		return nil
	}
	sp := mocks.NewSyncProducer(r, nil).ExpectSendMessageWithMessageCheckerFunctionAndSucceed(leave).
		ExpectSendMessageWithMessageCheckerFunctionAndSucceed(leave).ExpectSendMessageAndSucceed()
	var wg sync.WaitGroup
	wg.Go(func() {
		sp.SendMessage(text("t", "1"))
		t.Error("FailNow did not end the goroutine")
	})
	wg.Wait()
	if _, _, err := sp.SendMessageContext(t.Context(), text("t", "2")); err == nil {
		t.Error("a message whose checker did not return succeeded")
	}
	if _, _, err := sp.SendMessage(text("t", "3")); err != nil {
		t.Error(err)
	}
	sp.Close()
	r.want(t, "")
}

func TestSyncProducerConcurrentSafe(t *testing.T) {
	const senders, each = 6, 50
	sp := mocks.NewSyncProducer(t, partitionedBy(counting{}))
	var wg sync.WaitGroup
	var mu sync.Mutex
	checked := 0 // without a lock of its own: checkers run one at a time
	offsets := make(map[int64]bool)
	note := func(offset int64, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil || offsets[offset] {
			t.Errorf("offset %d, again %t, error %v", offset, offsets[offset], err)
		}
		offsets[offset] = true
	}
	for range senders {
		wg.Go(func() {
			for range each {
				for range 4 {
					sp.ExpectSendMessageWithMessageCheckerFunctionAndSucceed(func(*sarama.ProducerMessage) error {
						checked++
						return nil
					})
				}
				_, o, err := sp.SendMessage(text("t", ""))
				note(o, err)
				_, o, err = sp.SendMessageContext(t.Context(), text("t", ""))
				note(o, err)
				msg := text("t", "")
				err = sp.SendMessages([]*sarama.ProducerMessage{msg})
				note(msg.Offset, err)
				err = sp.SendMessagesContext(t.Context(), []*sarama.ProducerMessage{msg})
				note(msg.Offset, err)
				sp.TxnStatus()
				sp.SetDefaultPartitions(3)
			}
		})
	}
	wg.Wait()
	for range 3 {
		wg.Go(func() { sp.Close() })
		wg.Go(func() { sp.CloseContext(t.Context()) })
	}
	wg.Wait()
	if checked != 4*senders*each || len(offsets) != checked {
		t.Errorf("%d checked, %d offsets, want %d", checked, len(offsets), 4*senders*each)
	}
}
