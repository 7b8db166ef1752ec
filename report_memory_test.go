package sluice

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
)

// While memory is used up, a report frees none before it ends. It may take its time, or wait for what it sends: the time of
// these tests is a bubble's.

// flooded is a producer with little memory, and a sender that never stops.
type flooded struct {
	*Producer
	limit   int64
	stopped atomic.Bool
	sent    chan struct{} // closed when the sender has stopped
	most    atomic.Int64  // bytes in use
}

// flood starts it. report gets what the sender's messages came to; the memory is looked at before each.
func flood(t *testing.T, v *virtual, buffer, size int, report func(*flooded, DeliveryReport)) *flooded {
	f := &flooded{limit: 100 * int64(2*size+1000), sent: make(chan struct{})}
	conf := v.config()
	conf.ChannelBufferSize = buffer
	conf.Producer.Return.Successes = false
	f.Producer = newAsync(t, v.Cluster, conf, WithBufferMemory(f.limit), WithDeliveryReport(func(r DeliveryReport) {
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

// However slow reports are, memory is bounded: by what WithBufferMemory says where they take less than a tenth of a second,
// else by some times that, and what lies before a message that a report may be sending.
func TestSlowReportsStayInMemory(t *testing.T) {
	for _, test := range []struct {
		buffer, size int
		report, load time.Duration
		times        float64
	}{
		{1, 10, 50 * time.Millisecond, 5 * time.Second, 1},
		{256, 1000, 90 * time.Millisecond, 5 * time.Second, 1},
		{1, 10, 150 * time.Millisecond, 2 * time.Minute, 12},
		{256, 10, 150 * time.Millisecond, 2 * time.Minute, 14},
		{256, 10_000, 150 * time.Millisecond, 2 * time.Minute, 8},
		{1, 10, time.Hour, 10 * time.Minute, 12},
		{256, 10_000, time.Hour, 10 * time.Minute, 8},
	} {
		t.Run(fmt.Sprintf("%d places, %d bytes, reports of %v", test.buffer, test.size, test.report), func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				f := flood(t, v, test.buffer, test.size, func(f *flooded, _ DeliveryReport) {
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

// Reports that send a message for each that they tell of go on as fast as without, in order, and do not let others past the
// bound.
func TestReportSendsBesideOthers(t *testing.T) {
	for _, batch := range []bool{false, true} {
		t.Run(fmt.Sprintf("batch %t", batch), func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				var forwarded atomic.Int64
				told := 0
				f := flood(t, v, 256, 100, func(f *flooded, r DeliveryReport) {
					for _, msg := range r.Messages {
						if msg.Topic == "u" {
							if told++; msg.Metadata != told {
								t.Errorf("%v is delivered as number %d", msg.Metadata, told)
							}
							continue
						}
						time.Sleep(time.Millisecond)
						msg := &sarama.ProducerMessage{Topic: "u", Value: msg.Value, Metadata: int(forwarded.Add(1))}
						if batch {
							f.InputBatch() <- []*sarama.ProducerMessage{msg}
						} else {
							f.Input() <- msg
						}
					}
				})
				time.Sleep(4 * time.Second)
				f.stop()
				if n := forwarded.Load(); n < 3000 {
					t.Errorf("%d messages were sent in four seconds, a millisecond each", n)
				}
				if times := f.times(); times > 14 {
					t.Errorf("%.1f times the memory was in use", times)
				}
			}, kfake.SeedTopics(1, "t", "u"))
		})
	}
}

// One that keeps the channel, or lets another goroutine send and waits for it, gets its messages in, though it may take
// longer.
func TestReportSendsUnseen(t *testing.T) {
	for _, buffer := range []int{0, 1, 256} {
		for _, helper := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d places, helper %t", buffer, helper), func(t *testing.T) {
				inBubble(t, func(t *testing.T, v *virtual) { reportSendsUnseen(t, v, buffer, helper) }, kfake.SeedTopics(1, "t"))
			})
		}
	}
}

func reportSendsUnseen(t *testing.T, v *virtual, buffer int, helper bool) {
	conf := v.config()
	conf.ChannelBufferSize = buffer
	conf.Producer.Return.Successes = false
	var in chan<- *sarama.ProducerMessage
	first := true
	ended := make(chan struct{})
	p := newAsync(t, v.Cluster, conf, WithBufferMemory(64<<10), WithDeliveryReport(func(DeliveryReport) {
		if !first {
			return
		}
		first = false
		sent := make(chan struct{})
		send := func() {
			for i := range 500 {
				in <- message(0, i)
			}
			close(sent)
		}
		if helper {
			go send()
			<-sent
		} else {
			send()
		}
		close(ended)
	}))
	in = p.Input()
	in <- message(0, 0)
	start := time.Now()
	<-ended
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

// A report that waits for the delivery of what it has sent gets it, though Input is not full.
func TestReportWaitsForDelivery(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		var p *Producer
		delivered, ended := make(chan struct{}), make(chan struct{})
		first := true
		p = newAsync(t, v.Cluster, conf, WithBufferMemory(64<<10), WithDeliveryReport(func(DeliveryReport) {
			if first {
				first = false
				time.Sleep(time.Second) // meanwhile memory is used up
				p.Input() <- &sarama.ProducerMessage{Topic: "t", Metadata: "awaited"}
				<-delivered
				close(ended)
			}
		}))
		go func() {
			for msg := range p.Successes() {
				if msg.Metadata == "awaited" {
					close(delivered)
				}
			}
		}()
		in := p.Input()
		in <- message(0, 0)
		for i := 0; len(in) < 20; i++ {
			in <- message(0, i)
			synctest.Wait()
		}
		start := time.Now()
		<-ended
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	}, kfake.SeedTopics(1, "t"))
}

// What a report has sent by Produce, however much, does not count against what it may send through Input.
func TestReportProducesThenSends(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		first := true
		ended := make(chan struct{})
		f := flood(t, v, 8, 10, func(f *flooded, _ DeliveryReport) {
			if !first {
				return
			}
			first = false
			in := f.Input()
			time.Sleep(50 * time.Millisecond)
			for range 3000 {
				if err := f.Produce(t.Context(), &sarama.ProducerMessage{Topic: "t"}, nil); err != nil {
					t.Error(err)
				}
			}
			in <- &sarama.ProducerMessage{Topic: "t"}
			close(ended)
		})
		start := time.Now()
		<-ended
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		f.stop()
	}, kfake.SeedTopics(1, "t"))
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
		var p *Producer
		told := 0
		all := make(chan struct{})
		p = newAsync(t, v.Cluster, conf, WithBufferMemory(2_000_000), WithDeliveryReport(func(r DeliveryReport) {
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

// Somebody who keeps the channel that a report was given is not let past the bound by it.
func TestReportsInputIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		var in chan<- *sarama.ProducerMessage
		var kept atomic.Bool
		var sender sync.WaitGroup
		f := flood(t, v, 1, 10, func(f *flooded, _ DeliveryReport) {
			time.Sleep(200 * time.Millisecond)
			if in != nil || cap(f.Input()) > 0 {
				return
			}
			in = f.Input()
			kept.Store(true)
			sender.Go(func() {
				for !f.stopped.Load() {
					in <- &sarama.ProducerMessage{Topic: "t"}
				}
			})
		})
		time.Sleep(time.Minute)
		f.stop()
		sender.Wait()
		if times := f.times(); !kept.Load() || times > 15 {
			t.Errorf("%.1f times the memory was in use; a report was given a channel: %t", times, kept.Load())
		}
	}, kfake.SeedTopics(1, "t"))
}
