package dispatch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// A message for an unknown partition ends with the delivery timeout if the look-up never does, and with the producer.
func TestNotKnownEndsWithoutALookUp(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*harness)
		want error
		took time.Duration
	}{
		"delivery timeout": {func(*harness) {}, flow.ErrDeliveryTimeout, 10 * time.Second},
		"abort":            {func(h *harness) { h.deps.Abort(context.Canceled) }, context.Canceled, 0},
		"refused":          {func(h *harness) { h.cluster.tell(topicOf(2), nil) }, sarama.ErrInvalidPartition, 0},
		"failed look-up":   {func(h *harness) { h.cluster.tell(nil, sarama.ErrOutOfBrokers) }, sarama.ErrInvalidPartition, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, func(cfg *harnessConfig) { cfg.timeout, cfg.partitions = 10*time.Second, 2 })
				h.Input <- numbered(1, 0)
				<-h.Barrier(context.Background())
				h.report()
				h.cluster.set(true, nil, nil)
				begin := time.Now()
				h.InputBatch <- []*sarama.ProducerMessage{numbered(2, 2), numbered(3, 3)}
				synctest.Wait()
				if n := h.cluster.rounds(); n != 2 {
					t.Errorf("%d look-ups, want the first and one for both messages", n)
				}
				test.end(h)
				for range 2 {
					r := h.report()
					if !errors.Is(r.Err, test.want) {
						t.Errorf("error %v, want %v", r.Err, test.want)
					}
					if len(r.Messages) == 2 {
						break
					}
				}
				if took := time.Since(begin); took < test.took || took > test.took+time.Second {
					t.Errorf("after %v, want %v", took, test.took)
				}
			})
		})
	}
}

// A look-up that began before the message came does not count: the partition may have been added since.
func TestNotKnownWaitsForALookUpOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(cfg *harnessConfig) { cfg.partitions = 1 })
		h.Input <- numbered(1, 0)
		<-h.Barrier(context.Background())
		h.report()
		h.cluster.set(true, nil, nil)
		h.Input <- numbered(2, 1)
		synctest.Wait()
		h.Input <- numbered(3, 1)
		synctest.Wait()
		h.cluster.tell(topicOf(1), nil) // the look-up for the first of them
		if r := h.report(); len(r.Messages) != 1 || !errors.Is(r.Err, sarama.ErrInvalidPartition) {
			t.Errorf("%d messages, error %v", len(r.Messages), r.Err)
		}
		synctest.Wait()
		h.cluster.tell(topicOf(2), nil)
		if r := h.report(); r.Err != nil || r.Partition != 1 {
			t.Errorf("partition %d, error %v", r.Partition, r.Err)
		}
		if n := h.cluster.rounds(); n != 3 {
			t.Errorf("%d look-ups, want 3", n)
		}
	})
}
