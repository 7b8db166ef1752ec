//go:build !race

package mocks_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/mocks"
)

// Senders that never pause keep the mock from its end no longer than until the inputs are closed, and no message that
// was taken is lost. (A close beside a send is what the race detector would report.)
func TestProducerLateSendersConcurrentSafe(t *testing.T) {
	for _, size := range []int{0, 1, 256} {
		config := sarama.NewConfig()
		config.ChannelBufferSize = size
		p := mocks.New(&reports{}, config)
		var sent, failed atomic.Int64
		var senders sync.WaitGroup
		for range 3 {
			senders.Go(func() {
				panics(func() {
					for {
						select {
						case p.Input() <- text("t", ""):
						case p.InputBatch() <- []*sarama.ProducerMessage{text("t", "")}:
						}
						sent.Add(1)
					}
				})
			})
		}
		runtime.Gosched()
		p.AsyncClose()
		for range p.Errors() {
			failed.Add(1)
		}
		senders.Wait()
		if sent.Load() != failed.Load() {
			t.Errorf("buffer %d: %d messages were taken, %d have an outcome", size, sent.Load(), failed.Load())
		}
	}
}
