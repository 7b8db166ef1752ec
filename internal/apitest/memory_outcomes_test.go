package apitest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// Memory that outcomes hold which nobody takes. The time of these tests is a bubble's.

// flooded is a producer with little memory, and a sender that never stops.
type flooded struct {
	*sluice.Producer
	limit   int64
	stopped atomic.Bool
	sent    chan struct{} // closed when the sender has stopped
	most    atomic.Int64  // bytes in use
}

// flood starts it. report gets what the sender's messages came to; the memory is looked at before each.
func flood(t *testing.T, v *virtual, buffer, size int, report func(*flooded, sluice.DeliveryReport)) *flooded {
	f := &flooded{limit: 100 * int64(2*size+1000), sent: make(chan struct{})}
	conf := v.config()
	conf.ChannelBufferSize = buffer
	conf.Producer.Return.Successes = false
	f.Producer = newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(f.limit), sluice.WithDeliveryReport(func(r sluice.DeliveryReport) {
		if !f.stopped.Load() {
			f.look()
			report(f, r)
		}
	}))
	in := f.Input()
	value := sarama.ByteEncoder(make([]byte, size))
	go func() {
		defer close(f.sent)
		for !f.stopped.Load() {
			in <- &sarama.ProducerMessage{Topic: "t", Value: value}
		}
	}()
	return f
}

func (f *flooded) look() {
	_, bytes := f.Buffered()
	f.most.Store(max(f.most.Load(), bytes))
}

// times is how often the memory bound was in use, at most.
func (f *flooded) times() float64 { return float64(f.most.Load()) / float64(f.limit) }

func (f *flooded) stop() {
	f.look()
	f.stopped.Store(true)
	<-f.sent
}

// Reports that take their time cost no more than five times the bound; quick ones stay within it.
func TestSlowReportsStayInMemory(t *testing.T) {
	for _, test := range []struct {
		buffer, size int
		report, load time.Duration
		times        float64
	}{
		{1, 10, 50 * time.Millisecond, 5 * time.Second, 1},
		{256, 1000, 90 * time.Millisecond, 5 * time.Second, 1},
		{1, 10, 150 * time.Millisecond, 2 * time.Minute, 5},
		{256, 10_000, 150 * time.Millisecond, 2 * time.Minute, 5},
		{1, 10, time.Hour, 10 * time.Minute, 5},
		{256, 10_000, time.Hour, 10 * time.Minute, 5},
	} {
		t.Run(fmt.Sprintf("%d places, %d bytes, reports of %v", test.buffer, test.size, test.report), func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				f := flood(t, v, test.buffer, test.size, func(f *flooded, _ sluice.DeliveryReport) {
					for end := time.Now().Add(test.report); time.Now().Before(end) && !f.stopped.Load(); {
						time.Sleep(10 * time.Millisecond)
					}
				})
				time.Sleep(test.load)
				f.stop()
				if times := f.times(); times > test.times {
					t.Errorf("%.1f times the memory was in use", times)
				}
			}, kfake.SeedTopics(1, "t"))
		})
	}
}

// Outcomes that nobody ever reads cost five bounds and no more; the log says so once. Of that, what has no outcome has one.
func TestUnreadOutcomesStayInMemory(t *testing.T) {
	log := captureLog(t)
	inBubble(t, func(t *testing.T, v *virtual) {
		const limit = 100_000
		p := newAsync(t, v.Cluster, v.config(), sluice.WithBufferMemory(limit))
		stop := make(chan struct{})
		var sender sync.WaitGroup
		sender.Go(func() {
			for i := 0; ; i++ {
				select {
				case p.Input() <- message(0, i):
				case <-stop:
					return
				}
			}
		})
		time.Sleep(time.Minute)
		_, bytes := p.Buffered()
		if bytes < 4*limit || bytes > 5*limit {
			t.Errorf("%d bytes are in use, the bound is %d", bytes, limit)
		}
		before := bytes
		time.Sleep(time.Hour)
		if _, bytes := p.Buffered(); bytes != before {
			t.Errorf("an hour later %d bytes", bytes)
		}
		for range 1000 {
			<-p.Successes()
		}
		close(stop)
		sender.Wait()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if _, bytes := p.Buffered(); bytes != 0 {
			t.Errorf("%d bytes are left", bytes)
		}
	}, kfake.SeedTopics(1, "t"))
	if n := log.count("outcomes are unread"); n != 1 {
		t.Errorf("the log tells of it %d times", n)
	}
}

// A broker that does not answer costs the bound and no more.
func TestStalledBrokerStaysInMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		swallowProduce(v.Cluster, v.LeaderFor("t", 0))
		const limit = 100_000
		conf := v.config()
		conf.Net.ReadTimeout = time.Hour
		p := newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(limit))
		var sent sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		sent.Go(func() {
			for i := range 10_000 {
				if p.Produce(ctx, message(0, i), nil) != nil {
					return
				}
			}
		})
		time.Sleep(50 * time.Second)
		if _, bytes := p.Buffered(); bytes > limit {
			t.Errorf("%d bytes are in use, the bound is %d", bytes, limit)
		}
		sent.Wait()
	}, kfake.SeedTopics(1, "t"))
}

// A program whose goroutine reads Errors, and sends again what failed, outlives a broker that refuses everything for a
// while, though others send all the time and memory is used up.
func TestReaderOfErrorsResends(t *testing.T) {
	for _, size := range []int{20, 2000} {
		for _, leaderless := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, leaderless %t", size, leaderless), func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) { readerOfErrorsResends(t, v, size, leaderless) }, kfake.SeedTopics(2, "t"))
			})
		}
	}
}

// distant is a network on which a write takes its time: else a refusal and what it leads to would take none.
type distant struct{ *virtual }

func (d distant) Dial(network, addr string) (net.Conn, error) {
	conn, err := d.virtual.Dial(network, addr)
	return slowConn{conn}, err
}

func (d distant) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.virtual.DialContext(ctx, network, addr)
	return slowConn{conn}, err
}

type slowConn struct{ net.Conn }

func (c slowConn) Write(p []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return c.Conn.Write(p)
}

func readerOfErrorsResends(t *testing.T, v *virtual, size int, leaderless bool) {
	refusing := v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Err: kerr.TopicAuthorizationFailed, Count: -1})
	const senders, each = 4, 25_000
	conf := v.config()
	conf.Net.Proxy.Dialer = distant{v}
	p := newAsync(t, v.Cluster, conf)
	if leaderless {
		v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "t", Partitions: []int32{1}, Err: kerr.LeaderNotAvailable, Count: -1})
		for i := range 1000 {
			go p.Produce(t.Context(), message(1, i), nil)
		}
	}
	var running sync.WaitGroup
	for range senders {
		running.Go(func() {
			for range each {
				p.Input() <- &sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, size))}
			}
		})
	}
	running.Go(func() {
		for err := range p.Errors() {
			if errors.Is(err.Err, sarama.ErrTopicAuthorizationFailed) {
				p.Input() <- err.Msg
			}
		}
	})
	time.Sleep(2 * time.Second)
	refusing.Remove()
	start := time.Now()
	for range senders * each {
		<-p.Successes()
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	p.CloseContext(ended()) //nolint:errcheck // what has no leader fails
	running.Wait()
}

// A callback sends as many messages as the bound holds, and more, while memory is used up.
func TestCallbackSendsWhileMemoryIsUsedUp(t *testing.T) {
	for _, batch := range []bool{false, true} {
		t.Run(fmt.Sprintf("by InputBatch %t", batch), func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := v.config()
				conf.Producer.Return.Successes = false
				const n = 500
				all := make(chan bool, n+1)
				p := newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(64<<10))
				err := p.Produce(t.Context(), message(0, 0), func(*sarama.ProducerMessage, error) {
					for i := range n {
						done := func(*sarama.ProducerMessage, error) { all <- true }
						if !batch {
							if err := p.Produce(t.Context(), message(0, i), done); err != nil {
								t.Error(err)
							}
							continue
						}
						p.InputBatch() <- []*sarama.ProducerMessage{message(0, i)}
						all <- true
					}
					all <- true
				})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				for range n + 1 {
					<-all
				}
				if took := time.Since(start); took > time.Minute {
					t.Errorf("it took %v", took)
				}
			}, kfake.SeedTopics(1, "t"))
		})
	}
}

// A report may end before its message is let in, and free the memory that another waits for.
func TestReportSendsAndEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Return.Successes = false
		conf.ChannelBufferSize = 1
		const n = 50
		big := func() *sarama.ProducerMessage {
			return &sarama.ProducerMessage{Topic: "t", Value: sarama.ByteEncoder(make([]byte, 600_000))}
		}
		var p *sluice.Producer
		told := 0
		all := make(chan struct{})
		p = newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(2_000_000), sluice.WithDeliveryReport(func(r sluice.DeliveryReport) {
			if told == 0 {
				time.Sleep(2 * time.Second)
				p.Input() <- big()
			}
			if told += len(r.Messages); told == n+1 {
				close(all)
			}
		}))
		in := p.Input()
		for range n {
			in <- big()
		}
		<-all
	}, kfake.SeedTopics(1, "t"))
}
