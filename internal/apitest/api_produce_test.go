package apitest

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// wantNothingBuffered waits for the accounts of what has its outcome, which follow at once: then all the memory is free.
func wantNothingBuffered(t testing.TB, p *sluice.Producer) {
	t.Helper()
	waitBuffered(t, p, 0)
	for patience := impatient(t); ; runtime.Gosched() {
		if _, bytes := p.Buffered(); bytes == 0 {
			return
		}
		if patience.Err() != nil {
			t.Fatal("no message is buffered, and bytes are")
		}
	}
}

// waitBuffered waits until so many messages are buffered.
func waitBuffered(t testing.TB, p *sluice.Producer, want int) {
	t.Helper()
	for patience := impatient(t); ; runtime.Gosched() {
		n, bytes := p.Buffered()
		if n == want {
			return
		}
		if patience.Err() != nil {
			t.Fatalf("%d messages, %d bytes are buffered, want %d messages", n, bytes, want)
		}
	}
}

func TestProduceCallsBack(t *testing.T) {
	c := newTopicCluster(t, 2, 2)
	conf := testConfig()
	opt, reports := collected()
	p := newAsync(t, c, conf, opt)
	const n = 2000
	var calls sync.WaitGroup
	calls.Add(n)
	var got []*sarama.ProducerMessage // one call at a time: the race detector sees to it
	for _, msg := range messages(n, 2) {
		err := p.Produce(t.Context(), msg, func(m *sarama.ProducerMessage, err error) {
			defer calls.Done()
			if err != nil || m != msg {
				t.Errorf("%v of another message: %v", err, m != msg)
			}
			got = append(got, m)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	calls.Wait()
	if len(p.Successes())+len(p.Errors())+len(reports) > 0 {
		t.Error("outcomes of Produce in a channel or a report")
	}
	next := map[int32]int64{}
	for _, msg := range got {
		if msg.Offset != next[msg.Partition] {
			t.Fatalf("partition %d: offset %d in place of %d", msg.Partition, msg.Offset, next[msg.Partition])
		}
		next[msg.Partition]++
	}
	wantInOrder(t, c, n)
}

func TestProduceRefuses(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig())
	never := func(*sarama.ProducerMessage, error) { t.Error("called, though Produce has failed") }
	wantConfigurationError(t, p.Produce(t.Context(), nil, never), "nil")
	wantError(t, p.Produce(t.Context(), &sarama.ProducerMessage{}, never), causes(sarama.ErrInvalidTopic))
	if err := p.Produce(t.Context(), message(0, 0), nil); err != nil {
		t.Error(err)
	}
	if err := p.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	readTopic(t, c, "t", 1)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	wantError(t, p.Produce(t.Context(), message(0, 0), never), causes(sarama.ErrShuttingDown))
}

func TestProduceWaitsForMemory(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	held := holdProduce(t, c, nil)
	p := newAsync(t, c, testConfig(), sluice.WithBufferMemory(16<<10))
	outcomes := make(chan error, 1000)
	done := func(_ *sarama.ProducerMessage, err error) { outcomes <- err }

	accepted := 0
	stop := errors.New("enough")
	var err error
	for err == nil {
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(20*time.Millisecond, func() { cancel(stop) })
		if err = p.Produce(ctx, message(0, accepted), done); err == nil {
			accepted++
		}
		timer.Stop()
		cancel(nil)
	}
	wantError(t, err, causes(sluice.ErrBufferFull, stop))
	if accepted == 0 {
		t.Fatal("nothing fits")
	}
	if len(outcomes) > 0 {
		t.Error("outcomes though the broker has not answered")
	}

	// One that waits gets its place when the broker answers.
	waiting := make(chan error, 1)
	go func() { waiting <- p.Produce(t.Context(), message(0, accepted), done) }()
	held.open()
	if err := receive(t, waiting); err != nil {
		t.Error(err)
	}
	for range accepted + 1 {
		if err := receive(t, outcomes); err != nil {
			t.Error(err)
		}
	}
	wantInOrder(t, c, accepted+1)
}

// A deadline's own error can be told as well.
func TestProduceDeadlineExceeded(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	held := holdProduce(t, c, nil)
	p := newAsync(t, c, testConfig(), sluice.WithBufferMemory(1<<10))
	most := message(0, 0)
	most.Value = sarama.StringEncoder(strings.Repeat("x", 200)) // most of the memory
	if err := p.Produce(t.Context(), most, nil); err != nil {
		t.Fatal(err)
	}
	receive(t, held.arrived)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	wantError(t, p.Produce(ctx, message(0, 1), nil), causes(sluice.ErrBufferFull, context.DeadlineExceeded))
	held.open()
}

// A callback may use the producer, also while memory is used up: what it sends waits until outcomes are let have more.
func TestCallbackUsesProducer(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Flush.Frequency = time.Hour
	p := newAsync(t, c, conf, sluice.WithBufferMemory(64<<10)) // five of which hold all outcomes
	const n = 300
	var calls sync.WaitGroup
	calls.Add(2 * n)
	second := func(_ *sarama.ProducerMessage, err error) {
		if err != nil {
			t.Error(err)
		}
		calls.Done()
	}
	first := func(msg *sarama.ProducerMessage, err error) {
		second(msg, err)
		if messages, bytes := p.Buffered(); messages < 0 || bytes < 0 {
			t.Errorf("%d messages, %d bytes buffered", messages, bytes)
		}
		if err := p.Produce(t.Context(), message(0, n), second); err != nil {
			t.Error(err)
			calls.Done()
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for i := range n / 4 {
				if err := p.Produce(t.Context(), message(0, i), first); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	if err := p.Flush(impatient(t)); err != nil { // the last ones linger while there is memory left
		t.Error(err)
	}
	finished := make(chan struct{})
	go func() { calls.Wait(); close(finished) }()
	wait(t, finished, "all calls")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	readTopic(t, c, "t", 2*n)
}

// AsyncClose within a callback ends the producer; what the callback sends afterwards is refused, not lost.
func TestCallbackCloses(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig())
	refused := make(chan error, 1)
	err := p.Produce(t.Context(), message(0, 0), func(*sarama.ProducerMessage, error) {
		p.AsyncClose()
		p.AsyncClose()
		if err := p.Produce(t.Context(), message(0, 1), func(_ *sarama.ProducerMessage, err error) { refused <- err }); err != nil {
			refused <- err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// Close has begun with AsyncClose or begins a moment later: delivered or refused, but told.
	if err := receive(t, refused); err != nil {
		wantError(t, err, causes(sarama.ErrShuttingDown))
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
