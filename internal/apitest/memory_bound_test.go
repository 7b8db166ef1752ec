package apitest

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

// Many senders of all kinds and sizes, and what is charged never exceeds the bound.
func TestBufferMemoryHolds(t *testing.T) {
	const limit = 64 << 10
	c := newTopicCluster(t, 2, 4)
	conf := testConfig()
	conf.Producer.Return.Successes = false
	p := newAsync(t, c, conf, sluice.WithBufferMemory(limit))

	const senders, each = 8, 300
	check := func() {
		if _, bytes := p.Buffered(); bytes > limit || bytes < 0 {
			t.Errorf("%d bytes of %d are in use", bytes, limit)
		}
	}
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				msg := message(int32(s%4), i)
				msg.Value = sarama.StringEncoder(strings.Repeat("x", 1+(s*997+i*131)%8000))
				switch s % 3 {
				case 0:
					p.Input() <- msg
				case 1:
					p.InputBatch() <- []*sarama.ProducerMessage{msg}
				default:
					if err := p.Produce(t.Context(), msg, func(_ *sarama.ProducerMessage, err error) {
						if err != nil {
							t.Error(err)
						}
						check()
					}); err != nil {
						t.Error(err)
					}
				}
				check()
			}
		})
	}
	all.Wait()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if n, bytes := p.Buffered(); n != 0 || bytes != 0 {
		t.Errorf("%d messages, %d bytes are left after Close", n, bytes)
	}
	if got := logged(c, "t"); got != senders*each {
		t.Errorf("%d of %d messages written", got, senders*each)
	}
}

// Input blocks once the memory is used up, and its buffer is full.
func TestInputBlocksAtMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		held := holdProduce(t, v.Cluster, nil)
		conf := v.config()
		conf.ChannelBufferSize = 1
		p := newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(4<<10))
		const n = 100
		var sent atomic.Int64
		go func() {
			for i := range n {
				p.Input() <- message(0, i)
				sent.Add(1)
			}
		}()
		receive(t, held.arrived)
		synctest.Wait() // everything is held up now
		if _, bytes := p.Buffered(); bytes > 4<<10 || sent.Load() == n {
			t.Errorf("%d bytes are in use, %d messages are sent", bytes, sent.Load())
		}
		held.open()
		successes(t, p, n)
		if got := logged(v.Cluster, "t"); got != n {
			t.Errorf("%d of %d messages are written", got, n)
		}
	}, kfake.SeedTopics(1, "t"))
}

func TestMessageBeyondMemoryIsRefused(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	big := func() *sarama.ProducerMessage {
		return &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(strings.Repeat("x", 100_000))}
	}
	p := newAsync(t, c, conf, sluice.WithBufferMemory(64<<10))
	send(p, big(), message(0, 0))
	wantError(t, receive(t, p.Errors()).Err, causes(sluice.ErrBufferFull), "65536", "100")
	successes(t, p, 1)
	wantError(t, p.Produce(t.Context(), big(), nil), causes(sluice.ErrBufferFull))

	sync := newSync(t, c, conf, sluice.WithBufferMemory(64<<10))
	_, _, err := sync.SendMessage(big())
	wantError(t, err, causes(sluice.ErrBufferFull))
}

// Refusals count too: a flood of them that nobody reads is bounded.
func TestRefusalsAreBounded(t *testing.T) {
	const limit = 16 << 10
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.ChannelBufferSize = 0
	p := newAsync(t, c, conf, sluice.WithBufferMemory(limit))
	const n = 500
	go func() {
		for range n {
			p.Input() <- &sarama.ProducerMessage{} // no topic
		}
	}()
	for range n {
		if _, bytes := p.Buffered(); bytes > limit {
			t.Fatalf("%d bytes of %d are in use", bytes, limit)
		}
		wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrInvalidTopic))
	}
}

// With all memory held by batches that linger, a sender does not wait for the linger.
func TestMemoryOverridesLinger(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Flush.Messages = 100_000
	p := newAsync(t, c, conf, sluice.WithBufferMemory(16<<10))
	const n = 1000
	var sender sync.WaitGroup
	sender.Go(func() {
		for _, msg := range messages(n, 1) {
			p.Input() <- msg
		}
		if err := p.Flush(impatient(t)); err != nil {
			t.Error(err)
		}
	})
	successes(t, p, n)
	sender.Wait()
}

// A report that sends through Input waits for memory that only it can free, and gets it: as long as no more is sent than
// five bounds hold.
func TestReportSendsToInput(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Return.Successes = false
	var p *sluice.Producer
	var forwarded, delivered atomic.Int64
	const n = 2000
	all := make(chan bool, 1)
	p = newAsync(t, c, conf, sluice.WithBufferMemory(512<<10), sluice.WithDeliveryReport(func(r sluice.DeliveryReport) {
		for _, msg := range r.Messages {
			if msg.Metadata == nil {
				p.Input() <- &sarama.ProducerMessage{Topic: "t", Value: msg.Value, Metadata: "forwarded"}
				forwarded.Add(1)
			}
		}
		if delivered.Add(int64(len(r.Messages))) == 2*n {
			all <- true
		}
	}))
	for i := range n {
		p.Input() <- message(0, i)
	}
	receive(t, all)
	if forwarded.Load() != n {
		t.Errorf("%d forwarded", forwarded.Load())
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// A goroutine that flushes and reads Successes afterwards does not hang, though their outcomes use the memory up.
func TestFlushBeforeSuccessesAreRead(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.ChannelBufferSize = 16
	p := newAsync(t, c, conf, sluice.WithBufferMemory(16<<10))
	const n = 16
	for round := range 5 {
		for i := range n {
			msg := message(0, round*n+i)
			msg.Value = sarama.StringEncoder(strings.Repeat("x", 1000))
			p.Input() <- msg
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		successes(t, p, n)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// Messages whose outcomes nobody reads stay charged with their size.
func TestUnreadSuccessesAreCharged(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.ChannelBufferSize = 1
	p := newAsync(t, c, conf, sluice.WithBufferMemory(1<<20))
	const n, size = 10, 50 << 10
	for i := range n {
		msg := message(0, i)
		msg.Value = sarama.StringEncoder(strings.Repeat("x", size))
		p.Input() <- msg
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, bytes := p.Buffered(); bytes < (n-3)*size || bytes > 1<<20 {
		t.Errorf("%d bytes are charged for %d messages of %d bytes", bytes, n, size)
	}
	successes(t, p, n)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// A callback may begin the end.
func TestAsyncCloseInCallback(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig())
	called := make(chan bool, 1)
	if err := p.Produce(t.Context(), message(0, 1), func(*sarama.ProducerMessage, error) { p.AsyncClose(); called <- true }); err != nil {
		t.Fatal(err)
	}
	receive(t, called)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
