package apitest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

func TestFlushOverridesLinger(t *testing.T) {
	c := newTopicCluster(t, 2, 4)
	conf := testConfig()
	conf.Producer.Flush.Frequency = time.Hour
	conf.ChannelBufferSize = 4 // far fewer than there are outcomes: Flush waits until outcomes are decided, not for readers
	p := newAsync(t, c, conf)
	const n = 1000
	for i := range 3 {
		send(p, messages(n, 4)...)
		if err := p.Flush(impatient(t)); err != nil {
			t.Fatal(err)
		}
		if got := logged(c, "t"); got != int64((i+1)*n) {
			t.Fatalf("Flush returned with %d of %d messages written", got, (i+1)*n)
		}
		// The same goroutine reads its outcomes afterwards.
		successes(t, p, n)
	}
}

// Flush takes in what the inputs hold, also while the dispatcher waits for memory.
func TestFlushBeyondMemory(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Flush.Frequency = time.Hour
	p := newAsync(t, c, conf, sluice.WithBufferMemory(4<<10))
	const n = 200 // Input holds 256
	for _, msg := range messages(n, 1) {
		p.Input() <- msg
	}
	if err := p.Flush(impatient(t)); err != nil {
		t.Fatal(err)
	}
	if got := logged(c, "t"); got != n {
		t.Errorf("Flush returned with %d of %d messages written", got, n)
	}
	successes(t, p, n)
}

// Flush waits for what came before it and for nothing else.
func TestFlushLeavesLaterMessagesOut(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		for p := range int32(2) {
			move(t, v.Cluster, p, p)
		}
		first := holdProduce(t, v.Cluster, func(r request) bool { return r.node == 0 })
		later := holdProduce(t, v.Cluster, func(r request) bool { return r.node == 1 })
		p := newAsync(t, v.Cluster, v.config())
		send(p, message(0, 0))
		receive(t, first.arrived)
		flushed := make(chan struct{})
		go func() {
			defer close(flushed)
			if err := p.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		send(p, message(1, 1))
		receive(t, later.arrived)
		synctest.Wait()
		select {
		case <-flushed:
			t.Fatal("it returned while a message before it has no outcome")
		default:
		}
		first.open()
		wait(t, flushed, "the first message's outcome")
		if n, _ := p.Buffered(); n == 0 {
			t.Error("the later message has an outcome")
		}
		later.open()
		successes(t, p, 2)
	}, kfake.SeedTopics(2, "t"))
}

func TestFlushWhileOthersSend(t *testing.T) {
	c := newTopicCluster(t, 1, 2)
	conf := testConfig()
	conf.Producer.Return.Successes = false
	p := newAsync(t, c, conf, sluice.WithBufferMemory(256<<10))
	var stop atomic.Bool
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; !stop.Load(); i++ {
			p.Input() <- message(1, i)
		}
	}()
	for range 20 {
		if err := p.Produce(t.Context(), message(0, 0), nil); err != nil {
			t.Error(err)
		}
		if err := p.Flush(impatient(t)); err != nil {
			t.Error(err)
		}
	}
	if got := c.PartitionInfo("t", 0).HighWatermark; got != 20 {
		t.Errorf("%d of 20 messages written", got)
	}
	stop.Store(true)
	wait(t, stopped, "the sender")
}

func TestFlushEndsWithContext(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	held := holdProduce(t, c, nil)
	p := newAsync(t, c, testConfig())
	send(p, message(0, 0))
	receive(t, held.arrived)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("no patience")
	time.AfterFunc(time.Millisecond, func() { cancel(cause) })
	wantError(t, p.Flush(ctx), causes(cause))
	held.open()
	if err := p.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	successes(t, p, 1)
}

func TestFlushOfNothing(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig())
	if err := p.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Flush(impatient(t)); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func TestBuffered(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	held := holdProduce(t, c, nil)
	p := newAsync(t, c, testConfig())
	send(p, message(0, 0), message(0, 1))
	receive(t, held.arrived)
	waitBuffered(t, p, 2)
	if _, bytes := p.Buffered(); bytes < 2*256 {
		t.Errorf("%d bytes buffered", bytes)
	}
	held.open()
	successes(t, p, 2)
	wantNothingBuffered(t, p)
}
