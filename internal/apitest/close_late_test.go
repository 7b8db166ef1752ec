//go:build !race

// The race detector reports every send that runs beside the close of its channel, as senders that never pause have it.

package apitest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

// Whatever is sent while a producer closes has one outcome: it is never swallowed. At the end of Close, and not before
// everything is read, a send panics.
func TestSendersDuringClose(t *testing.T) {
	for _, buffer := range []int{0, 1, 256} {
		t.Run(fmt.Sprint(buffer), func(t *testing.T) {
			c := newTopicCluster(t, 1, 2)
			conf := testConfig()
			conf.ChannelBufferSize = buffer
			p := newAsync(t, c, conf, sluice.WithBufferMemory(256<<10))
			var sent, called, got atomic.Int64
			var senders, readers sync.WaitGroup
			for s := range 6 {
				senders.Go(func() {
					defer func() {
						if p := recover(); p != nil && s%3 == 2 {
							t.Errorf("Produce panicked: %v", p)
						}
					}()
					for i := 0; ; i++ {
						msg := message(int32(s%2), i)
						switch s % 3 {
						case 0:
							p.Input() <- msg
							sent.Add(1)
						case 1:
							p.InputBatch() <- []*sarama.ProducerMessage{msg, msg}
							sent.Add(2)
						default:
							if err := p.Produce(t.Context(), msg, func(*sarama.ProducerMessage, error) { called.Add(1) }); err != nil {
								wantError(t, err, causes(sarama.ErrShuttingDown))
								return
							}
							called.Add(-1)
						}
					}
				})
			}
			enough := make(chan struct{})
			readers.Go(func() {
				for range p.Successes() {
					if got.Add(1) == 1000 {
						close(enough)
					}
				}
			})
			readers.Go(func() {
				for err := range p.Errors() {
					got.Add(1)
					if !errors.Is(err.Err, sarama.ErrShuttingDown) {
						t.Error(err.Err)
					}
				}
			})
			wait(t, enough, "a thousand successes")
			p.AsyncClose()
			finished := make(chan struct{})
			go func() { readers.Wait(); close(finished) }()
			wait(t, finished, "the end of both channels")
			senders.Wait()
			if sent.Load() != got.Load() {
				t.Errorf("%d messages were sent, %d have an outcome", sent.Load(), got.Load())
			}
			if n := called.Load(); n != 0 {
				t.Errorf("%d calls of Produce have no call back", -n)
			}
			wantPanic(t, func() { p.Input() <- message(0, 0) })
			wantPanic(t, func() { p.InputBatch() <- nil })
			if n, bytes := p.Buffered(); n != 0 || bytes != 0 {
				t.Errorf("%d messages, %d bytes are left", n, bytes)
			}
		})
	}
}

// Senders that never pause, and reports that are slower, do not hold up a CloseContext beyond its context.
func TestCloseContextBesideSendersAndReports(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Producer.Return.Successes = false
		p := newAsync(t, v.Cluster, conf, sluice.WithBufferMemory(256<<10), sluice.WithDeliveryReport(func(sluice.DeliveryReport) {
			time.Sleep(time.Millisecond)
		}))
		var sender sync.WaitGroup
		sender.Go(func() {
			defer func() { _ = recover() }() // of the send after the end
			for i := 0; ; i++ {
				p.Input() <- message(0, i)
			}
		})
		time.Sleep(100 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		p.CloseContext(ctx) //nolint:errcheck // it has many
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if _, bytes := p.Buffered(); bytes != 0 {
			t.Errorf("%d bytes are left", bytes)
		}
		sender.Wait()
	}, kfake.SeedTopics(1, "t"))
}
