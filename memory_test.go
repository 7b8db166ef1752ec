package sluice

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"
)

// Many senders of all kinds and sizes, and what is charged never exceeds the bound.
func TestBufferMemoryHolds(t *testing.T) {
	const limit = 64 << 10
	c := newTopicCluster(t, 2, 4)
	conf := testConfig()
	conf.Producer.Return.Successes = false
	p := newAsync(t, c, conf, WithBufferMemory(limit))

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
	c := newTopicCluster(t, 1, 1)
	held := holdProduce(t, c, nil)
	conf := testConfig()
	conf.ChannelBufferSize = 1
	p := newAsync(t, c, conf, WithBufferMemory(4<<10))
	const n = 100
	sent := make(chan int, n)
	go func() {
		for i := range n {
			p.Input() <- message(0, i)
			sent <- i
		}
		close(sent)
	}()
	receive(t, held.arrived)
	// Everything is held up now: one sender after the other, none of them past the memory.
	// The last of them may have sent already when the dispatcher begins to wait: then no other comes.
	for patience := impatient(t); !p.shared.Budget.Waiting(); {
		select {
		case <-sent:
		case <-patience.Done():
			t.Fatal("nobody waits for memory")
		default:
			runtime.Gosched()
		}
	}
	if _, bytes := p.Buffered(); bytes > 4<<10 {
		t.Errorf("%d bytes are in use", bytes)
	}
	held.open()
	successes(t, p, n)
	wantInOrder(t, c, n)
}

func TestMessageBeyondMemoryIsRefused(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	big := func() *sarama.ProducerMessage {
		return &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(strings.Repeat("x", 100_000))}
	}
	p := newAsync(t, c, conf, WithBufferMemory(64<<10))
	send(p, big(), message(0, 0))
	wantError(t, receive(t, p.Errors()).Err, causes(ErrBufferFull), "65536", "100")
	successes(t, p, 1)
	wantError(t, p.Produce(t.Context(), big(), nil), causes(ErrBufferFull))

	sync := newSync(t, c, conf, WithBufferMemory(64<<10))
	_, _, err := sync.SendMessage(big())
	wantError(t, err, causes(ErrBufferFull))
}

// Refusals count too: a flood of them that nobody reads is bounded.
func TestRefusalsAreBounded(t *testing.T) {
	const limit = 16 << 10
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.ChannelBufferSize = 0
	p := newAsync(t, c, conf, WithBufferMemory(limit))
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
	p := newAsync(t, c, conf, WithBufferMemory(16<<10))
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
	var p *Producer
	var forwarded, delivered atomic.Int64
	const n = 2000
	all := make(chan bool, 1)
	p = newAsync(t, c, conf, WithBufferMemory(512<<10), WithDeliveryReport(func(r DeliveryReport) {
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
	p := newAsync(t, c, conf, WithBufferMemory(16<<10))
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
	p := newAsync(t, c, conf, WithBufferMemory(1<<20))
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
