package apitest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
)

// What lies in the inputs' buffers at Close is delivered, without waiting for linger.
func TestCloseDelivers(t *testing.T) {
	c := newTopicCluster(t, 2, 4)
	conf := testConfig()
	conf.Producer.Flush.Frequency = hour
	conf.Producer.Return.Successes = false
	p := newAsync(t, c, conf)
	msgs := messages(250, 4)
	send(p, msgs[:100]...)
	for i := 100; i < 200; i++ {
		p.InputBatch() <- msgs[i : i+1 : i+1]
	}
	for _, msg := range msgs[200:] {
		if err := p.Produce(t.Context(), msg, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	readTopic(t, c, "t", 250)
	if n, bytes := p.Buffered(); n != 0 || bytes != 0 {
		t.Errorf("%d messages, %d bytes are left", n, bytes)
	}
}

// Close reads what nobody read, and returns the errors.
func TestCloseReturnsErrors(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.ChannelBufferSize = 2
	p := newAsync(t, c, conf)
	bad := &sarama.ProducerMessage{}
	go func() {
		send(p, messages(100, 1)...)
		send(p, bad)
		p.AsyncClose()
	}()
	for range 100 {
		receive(t, p.Successes())
	}
	var failed sarama.ProducerErrors
	if err := p.Close(); !errors.As(err, &failed) || len(failed) != 1 || failed[0].Msg != bad {
		t.Errorf("Close returned %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func TestCloseConcurrentSafe(t *testing.T) {
	c := newTopicCluster(t, 1, 2)
	p := newAsync(t, c, testConfig())
	send(p, messages(100, 2)...)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			var err error
			switch i % 4 {
			case 0:
				err = p.Close()
			case 1:
				p.AsyncClose()
			case 2:
				err = p.CloseContext(t.Context())
			case 3:
				err = p.Flush(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	wantInOrder(t, c, 100)
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	c := newTopicCluster(t, 3, 12)
	ours := goleak.IgnoreCurrent()
	p, err := sluice.New(c.ListenAddrs(), testConfig())
	if err != nil {
		t.Fatal(err)
	}
	go send(p, messages(500, 12)...)
	successes(t, p, 500)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, ours) // of the cluster's connections as well: they are closed
}

// A batch that waits for its retry is delivered by Close, if a broker takes it.
func TestCloseDuringBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		refusals := failProduce(v.Cluster, kerr.NotEnoughReplicas, 2)
		conf := v.config()
		conf.Producer.Retry.Backoff = 10 * time.Second
		p := newAsync(t, v.Cluster, conf)
		send(p, message(0, 0), message(0, 1))
		if err := refusals.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if n := logged(v.Cluster, "t"); n != 2 {
			t.Errorf("%d of 2 messages are written", n)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("Close took %v", took)
		}
	}, kfake.SeedTopics(1, "t"))
}

// Close ends by itself where no broker takes a batch: tries that cost only time before are counted now.
func TestCloseWithDeadBroker(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		for p := range int32(2) {
			move(t, v.Cluster, p, p)
		}
		refused := errors.New("nobody at home")
		conf := v.config()
		conf.Producer.Retry.Max = 3
		conf.Producer.Retry.Backoff = time.Second
		p := newAsync(t, v.Cluster, conf)
		v.refused.Store(&refusal{v.ListenAddrs()[1], refused})
		send(p, message(1, 0), message(1, 1))
		time.Sleep(10 * time.Second) // more tries than Retry.Max
		if len(p.Errors()) > 0 {
			t.Fatal("a failed dial counted as an attempt")
		}
		start := time.Now()
		var failed sarama.ProducerErrors
		if err := p.Close(); !errors.As(err, &failed) || len(failed) != 2 {
			t.Fatalf("Close returned %v", err)
		}
		for _, f := range failed {
			wantError(t, f.Err, causes(refused))
			if errors.Is(f.Err, sluice.ErrOutcomeUnknown) {
				t.Errorf("%v: it was never sent", f.Err)
			}
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("Close took %v", took)
		}
	}, kfake.SeedTopics(2, "t"))
}

// A broker that never answers is waited for until the read time-out, again and again, and at last to the delivery
// time-out.
func TestCloseWithSilentBroker(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		for p := range int32(2) {
			move(t, v.Cluster, p, p)
		}
		arrived := swallowProduce(v.Cluster, 1)
		p := newAsync(t, v.Cluster, v.config(), sluice.WithDeliveryTimeout(time.Minute))
		send(p, message(1, 0))
		<-arrived
		send(p, message(0, 1), message(1, 2))
		start := time.Now()
		var failed sarama.ProducerErrors
		if err := p.Close(); !errors.As(err, &failed) || len(failed) != 2 {
			t.Fatalf("Close returned %v", err)
		}
		wantError(t, failed[0].Err, causes(sluice.ErrDeliveryTimeout, sluice.ErrOutcomeUnknown), "partition 1")
		if took := time.Since(start); took > 62*time.Second {
			t.Errorf("Close took %v", took)
		}
		if n := logged(v.Cluster, "t"); n != 1 {
			t.Errorf("%d messages are written, want the other broker's", n)
		}
	}, kfake.SeedTopics(2, "t"))
}

// What is left when the context ends fails with its cause, wherever it is.
func TestCloseContextEnds(t *testing.T) {
	// prepare returns the event at which the producer is where it is to be.
	type prepare func(*testing.T, *kfake.Cluster, *sarama.Config) (there func())
	fault := func(key kmsg.Key, err *kerr.Error) prepare {
		return func(t *testing.T, c *kfake.Cluster, _ *sarama.Config) func() {
			f := c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: "t", Err: err, Count: -1})
			return func() {
				if err := f.Wait(impatient(t), 1); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	tests := map[string]struct {
		prepare prepare
		unknown bool
	}{
		"at a silent broker": {func(t *testing.T, c *kfake.Cluster, _ *sarama.Config) func() {
			arrived := swallowProduce(c, 0)
			return func() { receive(t, arrived) }
		}, true},
		"during back-off": {func(t *testing.T, c *kfake.Cluster, conf *sarama.Config) func() {
			fault(kmsg.Produce, kerr.NotEnoughReplicas)(t, c, conf)
			backsOff := make(chan struct{}, 1)
			conf.Producer.Retry.BackoffFunc = func(int, int) time.Duration {
				select {
				case backsOff <- struct{}{}:
				default:
				}
				return hour
			}
			return func() { receive(t, backsOff) }
		}, false},
		"during a look-up": {func(t *testing.T, c *kfake.Cluster, conf *sarama.Config) func() {
			conf.Metadata.Full = false // else the topic is known from the start
			held := holdLookUps(t, c)
			return func() { receive(t, held.arrived) }
		}, false},
		"without a leader":    {fault(kmsg.Metadata, kerr.LeaderNotAvailable), false},
		"of an unknown topic": {fault(kmsg.Metadata, kerr.UnknownTopicOrPartition), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			conf := testConfig()
			conf.Producer.Retry.Backoff = hour
			conf.Metadata.Retry.Backoff = hour
			there := test.prepare(t, c, conf)
			p := newAsync(t, c, conf, sluice.WithBufferMemory(4<<10)) // less than is sent
			const n = 50
			send(p, messages(n, 1)...)
			there()
			cause := errors.New("no patience")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Millisecond, func() { cancel(cause) })
			var failed sarama.ProducerErrors
			if err := p.CloseContext(ctx); !errors.As(err, &failed) || len(failed) != n {
				t.Fatalf("CloseContext returned %d errors: %v", len(failed), err)
			}
			unknown := 0
			for _, f := range failed {
				wantError(t, f.Err, causes(cause))
				if errors.Is(f.Err, sluice.ErrOutcomeUnknown) {
					unknown++
				}
			}
			if (unknown > 0) != test.unknown || unknown == n {
				t.Errorf("%d of %d may have been written", unknown, n)
			}
			if n := logged(c, "t"); n > 0 {
				t.Errorf("%d messages are written", n)
			}
		})
	}
}

// Those who wait for memory when the producer closes are not left waiting.
func TestCloseWithWaitingSenders(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		held := holdProduce(t, v.Cluster, nil)
		p := newAsync(t, v.Cluster, v.config(), sluice.WithBufferMemory(4<<10))
		const n = 40
		outcomes := make(chan error, n)
		for i := range n {
			go func() {
				if err := p.Produce(t.Context(), message(0, i), func(_ *sarama.ProducerMessage, err error) { outcomes <- err }); err != nil {
					outcomes <- err
				}
			}()
		}
		receive(t, held.arrived)
		synctest.Wait() // the others wait
		p.AsyncClose()
		held.open()
		delivered := 0
		for range n {
			if err := receive(t, outcomes); err == nil {
				delivered++
			} else {
				wantError(t, err, causes(sarama.ErrShuttingDown))
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if n := logged(v.Cluster, "t"); n != int64(delivered) {
			t.Errorf("%d are delivered, %d in the log", delivered, n)
		}
	}, kfake.SeedTopics(1, "t"))
}

// AsyncClose waits for readers, who may never come; CloseContext reads in their place, and ends it.
func TestCloseContextReadsWhatNobodyDoes(t *testing.T) {
	for _, d := range []door{saramaDoor, ownDoor} {
		t.Run(d.name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			p := d.newAsync(t, c, contractConfig()).(*sluice.Producer)
			bad := &sarama.ProducerMessage{}
			send(p, message(0, 0), bad, message(0, 1))
			p.AsyncClose()
			time.Sleep(50 * time.Millisecond) // it does not end by itself, however long this is
			if n, bytes := p.Buffered(); n+len(p.Successes())+len(p.Errors()) != 3 {
				t.Errorf("%d messages and %d bytes are buffered, %d and %d outcomes are there", n, bytes, len(p.Successes()), len(p.Errors()))
			}
			var failed sarama.ProducerErrors
			if err := p.CloseContext(impatient(t)); !errors.As(err, &failed) || len(failed) != 1 || failed[0].Msg != bad {
				t.Errorf("CloseContext returned %v", err)
			}
			if _, open := <-p.Successes(); open {
				t.Error("Successes is open")
			}
			wantPanic(t, func() { p.Input() <- message(0, 2) })
		})
	}
}
