package apitest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// Without idempotence one batch of a partition is in flight, however many requests the connection may have open.
func TestOneBatchInFlight(t *testing.T) {
	c := newTopicCluster(t, 1, 4, kfake.SleepOutOfOrder())
	slow(t, c, time.Millisecond)
	conf := testConfig()
	conf.Net.MaxOpenRequests = 3
	conf.Producer.Flush.MaxMessages = 10
	w := tap(conf)
	p := newAsync(t, c, conf)
	const n = 2000
	go send(p, messages(n, 4)...)
	successes(t, p, n)
	w.oneInFlight(t)
	// Other partitions do not wait for it: the connection is used.
	if w.pipeline != 3 {
		t.Errorf("%d requests were open on one connection at most, want 3", w.pipeline)
	}
	wantInOrder(t, c, n)
}

// Leaders move while messages flow: nothing is lost, nothing is written twice, the order holds.
func TestLeadersMoveUnderLoad(t *testing.T) {
	c := newTopicCluster(t, 3, 6, kfake.SleepOutOfOrder())
	slow(t, c, 100*time.Microsecond)
	conf := testConfig()
	conf.Producer.Retry.Max = 1000
	conf.Producer.Flush.MaxMessages = 50
	w := tap(conf)
	p := newAsync(t, c, conf)
	const n = 20_000
	go send(p, messages(n, 6)...)
	for range 20 {
		successes(t, p, n/20)
		for range 3 {
			move(t, c, rand.Int32N(6), rand.Int32N(3))
		}
	}
	w.oneInFlight(t)
	wantInOrder(t, c, n)
}

// Moves, refusals and lost connections together.
func TestFaultsUnderLoad(t *testing.T) {
	c := newTopicCluster(t, 3, 6)
	conf := testConfig()
	conf.Producer.Retry.Max = 1000
	conf.Producer.Compression = sarama.CompressionLZ4
	conf.Producer.Flush.MaxMessages = 100
	w := tap(conf)
	p := newAsync(t, c, conf, sluice.WithBufferMemory(1<<20))
	const n = 20_000
	go send(p, messages(n, 6)...)
	for i := range 20 {
		switch i % 4 {
		case 0:
			move(t, c, rand.Int32N(6), rand.Int32N(3))
		case 1:
			loseConnections(c, 2)
		case 2:
			failProduce(c, kerr.NotEnoughReplicas, 2)
		case 3:
			c.ShufflePartitionLeaders()
		}
		successes(t, p, n/20)
	}
	w.oneInFlight(t)
	wantInOrder(t, c, n)
}

// With acks 0 a lost connection is the only sign of a leader that has gone.
func TestLeaderMovesWithoutAcks(t *testing.T) {
	c := newTopicCluster(t, 2, 1)
	conf := testConfig()
	conf.Producer.RequiredAcks = sarama.NoResponse
	p := newAsync(t, c, conf)
	send(p, message(0, 0))
	successes(t, p, 1)
	readTopic(t, c, "t", 1)
	move(t, c, 0, 1)
	loseConnections(c, 1)
	// What is sent until the loss is noticed may be lost; afterwards everything arrives.
	for n := 1; logged(c, "t") < 5; n++ {
		send(p, message(0, n))
		successes(t, p, 1)
	}
}

// Brokers come and go.
func TestBrokersJoinAndLeave(t *testing.T) {
	c := newTopicCluster(t, 2, 4)
	conf := testConfig()
	conf.Producer.Retry.Max = 1000
	p := newAsync(t, c, conf)
	const rounds, n = 8, 4000
	msgs := messages(n, 4)
	added := []int32{}
	for i := range rounds {
		go send(p, msgs[i*n/rounds:(i+1)*n/rounds]...)
		if i%2 == 0 {
			node, _, err := c.AddNode(-1, 0)
			if err != nil {
				t.Fatal(err)
			}
			added = append(added, node)
		} else {
			if err := c.RemoveNode(added[0]); err != nil {
				t.Fatal(err)
			}
			added = added[1:]
		}
		successes(t, p, n/rounds)
	}
	wantInOrder(t, c, n)
}

// A broker that never answers stops its own partitions alone.
func TestSilentBrokerStopsItsPartitionsOnly(t *testing.T) {
	c := newTopicCluster(t, 3, 3)
	arrived := swallowProduce(c, 1)
	p := newAsync(t, c, testConfig())
	const n = 3000
	msgs := messages(n, 3)
	go send(p, msgs...)
	receive(t, arrived)
	for _, msg := range successes(t, p, n*2/3) {
		if msg.Partition == 1 {
			t.Fatal("the silent broker's partition has a success")
		}
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	var failed sarama.ProducerErrors
	if !errors.As(p.CloseContext(ctx), &failed) || len(failed) != n/3 {
		t.Fatalf("%d messages failed, want %d", len(failed), n/3)
	}
	for _, f := range failed {
		wantError(t, f.Err, causes(cause))
		if f.Msg.Partition != 1 {
			t.Fatalf("partition %d failed", f.Msg.Partition)
		}
	}
}

// A broker that is silent to look-ups too: the others are asked.
func TestSilentBrokerForLookUps(t *testing.T) {
	c := newTopicCluster(t, 3, 3)
	for _, key := range []kmsg.Key{kmsg.Metadata, kmsg.ApiVersions} {
		c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			if c.CurrentNode() != 1 {
				return nil, nil, false
			}
			c.KeepControl()
			return nil, nil, true
		})
	}
	conf := testConfig()
	conf.Net.ReadTimeout = 20 * time.Millisecond
	conf.Net.WriteTimeout = 20 * time.Millisecond
	p := newAsync(t, c, conf)
	send(p, message(0, 0), message(2, 1))
	successes(t, p, 2)
}

// Errors that nobody reads hold up no success.
func TestUnreadErrorsHoldUpNothing(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.ChannelBufferSize = 1
	p := newAsync(t, c, conf)
	const n = 300
	go func() {
		for i := range n {
			p.Input() <- &sarama.ProducerMessage{} // no topic
			p.Input() <- message(0, i)
		}
	}()
	for range n {
		receive(t, p.Successes())
	}
	var failed sarama.ProducerErrors
	if !errors.As(p.Close(), &failed) || len(failed) != n {
		t.Errorf("%d messages failed, want %d", len(failed), n)
	}
}

// Successes that nobody reads hold up no error, no report and no callback.
func TestUnreadSuccessesHoldUpNothing(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.ChannelBufferSize = 1
	var reported atomic.Int32
	all := make(chan struct{})
	const n = 300
	p := newAsync(t, c, conf, sluice.WithDeliveryReport(func(r sluice.DeliveryReport) {
		if reported.Add(int32(len(r.Messages))) == 2*n {
			close(all)
		}
	}))
	go func() {
		for i := range n {
			p.Input() <- message(0, i)
			p.Input() <- &sarama.ProducerMessage{} // no topic
		}
	}()
	for range n {
		receive(t, p.Errors())
	}
	wait(t, all, "all reports")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
