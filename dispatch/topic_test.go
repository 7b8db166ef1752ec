package dispatch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/eapache/go-resiliency/breaker"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
)

// partitionerFunc is a partitioner for tests.
type partitionerFunc struct {
	choose     func(msg *sarama.ProducerMessage, n int32) (int32, error)
	consistent bool
}

func (p *partitionerFunc) Partition(msg *sarama.ProducerMessage, n int32) (int32, error) {
	return p.choose(msg, n)
}
func (p *partitionerFunc) RequiresConsistency() bool { return p.consistent }

// dynamicPartitioner wants consistency for messages with a key.
type dynamicPartitioner struct{ partitionerFunc }

func (*dynamicPartitioner) MessageRequiresConsistency(msg *sarama.ProducerMessage) bool {
	return msg.Key != nil
}

func constructor(p sarama.Partitioner) sarama.PartitionerConstructor {
	return func(string) sarama.Partitioner { return p }
}

func TestPartitionerFailures(t *testing.T) {
	errNo := errors.New("no idea")
	returns := func(choose func(n int32) (int32, error)) sarama.PartitionerConstructor {
		return constructor(&partitionerFunc{
			choose: func(_ *sarama.ProducerMessage, n int32) (int32, error) { return choose(n) },
		})
	}
	for name, test := range map[string]struct {
		constructor sarama.PartitionerConstructor
		want        error
		text        string
	}{
		"error":     {returns(func(int32) (int32, error) { return 0, errNo }), errNo, `topic "t"`},
		"beyond":    {returns(func(n int32) (int32, error) { return n, nil }), sarama.ErrInvalidPartition, "partition 4 of 4"},
		"negative":  {returns(func(int32) (int32, error) { return -1, nil }), sarama.ErrInvalidPartition, "partition -1 of 4"},
		"panic":     {returns(func(int32) (int32, error) { panic("boom") }), nil, "panicked: boom"},
		"none":      {func(string) sarama.Partitioner { return nil }, nil, "no partitioner"},
		"construct": {func(string) sarama.Partitioner { panic("bang") }, nil, "panicked: bang"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(cfg *harnessConfig) { cfg.Producer.Partitioner = test.constructor })
			h.InputBatch <- []*sarama.ProducerMessage{numbered(1, 0), numbered(2, 0)}
			for range 2 {
				err := h.failure()
				if test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
					t.Errorf("error %q, want one that wraps %v and says %q", err, test.want, test.text)
				}
			}
		})
	}
}

// A message that can't be partitioned fails alone: the others of its run go on.
func TestOneMessageFailsAlone(t *testing.T) {
	p := &partitionerFunc{choose: func(msg *sarama.ProducerMessage, _ int32) (int32, error) {
		if msg.Partition < 0 {
			panic("boom")
		}
		return msg.Partition, nil
	}}
	h := newHarness(t, func(cfg *harnessConfig) { cfg.Producer.Partitioner = constructor(p) })
	h.InputBatch <- []*sarama.ProducerMessage{numbered(1, 0), numbered(2, -1), numbered(3, 0), numbered(4, -1), numbered(5, 1)}
	<-h.Barrier(context.Background())
	if a, b := h.brokers.numbers(0), h.brokers.numbers(1); len(a) != 2 || a[1] != 3 || len(b) != 1 {
		t.Errorf("sent %v and %v", a, b)
	}
}

// Consistent partitioners choose among all partitions, others among those with a leader.
func TestPartitionsToChooseFrom(t *testing.T) {
	md := topicOf(4)
	md.Partitions[1].Leader, md.Partitions[2].Leader = -1, -1
	md.Writable = []int32{0, 3}
	none := topicOf(4)
	none.Writable = nil
	counted := make(chan int32, 10)
	count := partitionerFunc{choose: func(_ *sarama.ProducerMessage, n int32) (int32, error) {
		counted <- n
		return n - 1, nil
	}}
	keyed, bare := numbered(1, 0), numbered(2, 0)
	keyed.Key = sarama.StringEncoder("k")
	for name, test := range map[string]struct {
		p        sarama.Partitioner
		md       *metadata.Topic
		msg      *sarama.ProducerMessage
		n, which int32
	}{
		"inconsistent":      {&count, md, bare, 2, 3},
		"consistent":        {&partitionerFunc{count.choose, true}, md, bare, 4, 3},
		"dynamic, keyed":    {&dynamicPartitioner{count}, md, keyed, 4, 3},
		"dynamic, unkeyed":  {&dynamicPartitioner{count}, md, bare, 2, 3},
		"no leader anymore": {&count, none, bare, 4, 3},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(cfg *harnessConfig) { cfg.Producer.Partitioner = constructor(test.p) })
			h.cluster.set(false, test.md, nil)
			h.Input <- test.msg
			if r := h.report(); r.Err != nil || r.Partition != test.which {
				t.Errorf("partition %d, error %v", r.Partition, r.Err)
			}
			if n := <-counted; n != test.n {
				t.Errorf("the partitioner was given %d partitions, want %d", n, test.n)
			}
		})
	}
}

func TestTopicWithoutPartitions(t *testing.T) {
	h := newHarness(t, nil)
	h.cluster.set(false, &metadata.Topic{Name: "t"}, nil)
	h.Input <- numbered(1, 0)
	if err := h.failure(); !errors.Is(err, sarama.ErrLeaderNotAvailable) {
		t.Error(err)
	}
}

// Partitions that are added while the producer runs are used, without any failure.
func TestNewPartitionsAreUsed(t *testing.T) {
	h := newHarness(t, func(cfg *harnessConfig) { cfg.partitions = 1 })
	h.Input <- numbered(1, 0)
	<-h.Barrier(context.Background())
	h.cluster.tell(topicOf(3), nil)
	h.Input <- numbered(2, 2)
	<-h.Barrier(context.Background())
	if got := h.brokers.numbers(2); len(got) != 1 {
		t.Errorf("partition 2 got %v", got)
	}
}

// With sarama's contract the look-ups of a topic that was never resolved go through the breaker: three failures open it
// for ten seconds.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(cfg *harnessConfig) { cfg.sarama = true })
		errDown := errors.New("down")
		h.cluster.set(false, nil, errDown)
		for n := range 3 {
			h.Input <- numbered(n, 0)
			if err := h.failure(); !errors.Is(err, errDown) || errors.Is(err, breaker.ErrBreakerOpen) {
				t.Errorf("failure %d: %v", n, err)
			}
		}
		if n := h.cluster.rounds(); n != 3 {
			t.Errorf("%d look-ups, want one a failure", n)
		}
		h.Input <- numbered(3, 0)
		if err := h.failure(); !errors.Is(err, errDown) || !errors.Is(err, breaker.ErrBreakerOpen) {
			t.Errorf("with the breaker open: %v, want what opened it too", err)
		}
		if n := h.cluster.rounds(); n != 3 {
			t.Errorf("%d look-ups: the open breaker let one pass", n)
		}
		time.Sleep(breakerPause + time.Second)
		h.cluster.set(false, topicOf(4), nil)
		h.Input <- numbered(4, 0)
		if r := h.report(); r.Err != nil {
			t.Error(r.Err)
		}
		// A later error changes nothing about what is known.
		h.cluster.tell(nil, errDown)
		h.Input <- numbered(5, 0)
		if r := h.report(); r.Err != nil {
			t.Error(r.Err)
		}
	})
}

func TestUnknownTopicWithoutAnError(t *testing.T) {
	h := newHarness(t, func(cfg *harnessConfig) { cfg.sarama = true })
	h.cluster.set(false, nil, nil)
	h.Input <- numbered(1, 0)
	if err := h.failure(); !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		t.Error(err)
	}
}

func TestFirstLookupThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(cfg *harnessConfig) { cfg.timeout = 10 * time.Second })
		h.cluster.set(true, nil, nil)
		h.Input <- numbered(1, 0)
		time.Sleep(5 * time.Second)
		h.Input <- numbered(2, 0)
		start := time.Now()
		if err := h.failure(); !errors.Is(err, flow.ErrDeliveryTimeout) {
			t.Error(err)
		}
		if took := time.Since(start); took < 5*time.Second || took > 5200*time.Millisecond {
			t.Errorf("ended after %v more, want 5 s, or up to 0.2 s more", took)
		}
		h.Input <- numbered(3, 0)
		synctest.Wait()
		if n := h.cluster.rounds(); n != 1 {
			t.Errorf("%d look-ups, want 1, which is still awaited", n)
		}
		// A look-up that this topic did not ask for finds it in the end.
		h.cluster.tell(topicOf(1), nil)
		synctest.Wait()
		if got := h.brokers.numbers(0); len(got) != 2 || got[0] != 2 {
			t.Errorf("sent %v", got)
		}
	})
}

// A look-up that has failed before a message came is not the reason why that message expires.
func TestFailureOfAnEarlierFirstLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(cfg *harnessConfig) { cfg.timeout = 10 * time.Second })
		h.cluster.set(false, nil, flow.External(sarama.ErrInvalidTopic))
		h.Input <- numbered(1, 0)
		if err := h.failure(); !errors.Is(err, sarama.ErrInvalidTopic) || errors.Is(err, flow.ErrDeliveryTimeout) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		h.cluster.set(true, nil, nil)
		h.Input <- numbered(2, 0)
		if err := h.failure(); !errors.Is(err, errAsking) || errors.Is(err, sarama.ErrInvalidTopic) {
			t.Error(err)
		}
	})
}

func TestAbortEndsWhatWaitsForTheFirstLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		h.cluster.set(true, nil, nil)
		h.Input <- numbered(1, 0)
		synctest.Wait()
		cause := errors.New("closed too long ago")
		h.deps.Abort(cause)
		if err := h.failure(); !errors.Is(err, cause) {
			t.Error(err)
		}
		h.Input <- numbered(2, 0)
		if err := h.failure(); !errors.Is(err, cause) {
			t.Error(err)
		}
	})
}

// With many partitions and few records for each, the topic holds records for a part of the linger.
func TestTopicHoldsFewRecordsBack(t *testing.T) {
	for name, test := range map[string]struct {
		partitions, records int
		linger, hold        time.Duration
	}{
		"many partitions":          {100, 100, 100 * time.Millisecond, time.Millisecond},
		"a short linger":           {100, 100, time.Millisecond, 200 * time.Microsecond},
		"no linger":                {100, 100, 0, 0},
		"few partitions":           {manyPartitions, manyPartitions, 100 * time.Millisecond, 0},
		"many for each":            {100, 400, 100 * time.Millisecond, 0},
		"one partition, and a run": {100, 1, 100 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, func(cfg *harnessConfig) {
					cfg.partitions = test.partitions
					cfg.Producer.Flush.Frequency = test.linger
					cfg.Producer.Partitioner = sarama.NewRoundRobinPartitioner
				})
				run := func() {
					msgs := make([]*sarama.ProducerMessage, test.records)
					for i := range msgs {
						msgs[i] = numbered(i, 0)
					}
					h.InputBatch <- msgs
					synctest.Wait()
				}
				sent := func() (n int) {
					for p := range int32(test.partitions) {
						n += len(h.brokers.numbers(p))
					}
					return n
				}
				run() // resolves the topic
				time.Sleep(time.Second)
				before := sent()
				run()
				if early := sent() - before; (early == 0) != (test.hold > 0) {
					t.Errorf("%d of %d are sent at once", early, test.records)
				}
				time.Sleep(test.hold)
				synctest.Wait()
				if late := sent() - before; late != test.records {
					t.Errorf("%d of %d are sent after %v", late, test.records, test.hold)
				}
			})
		})
	}
}

// A run whose records all go to one partition is not copied.
func TestRunOfOnePartitionIsNotCopied(t *testing.T) {
	h := newHarness(t, nil)
	top := newTopic(h.deps, "t", nil)
	slot := func(p int32) *partitionSlot {
		return &partitionSlot{producer: newPartitionProducer(h.deps, "t", nil, p, leader{})}
	}
	top.partitions = []*partitionSlot{nil, slot(1), slot(2)}
	one := []flow.Record{{Partition: 1}, {Partition: 1}}
	if !top.putWhole(one) || &top.partitions[1].pending[0] != &one[0] || top.pending != 2 || len(top.dirty) != 1 {
		t.Errorf("pending %d of %d partitions", top.pending, len(top.dirty))
	}
	for name, run := range map[string][]flow.Record{
		"behind others": {{Partition: 1}}, "of two": {{Partition: 2}, {Partition: 1}}, "withdrawn": {{Partition: withdrawn}},
	} {
		if top.putWhole(run) {
			t.Errorf("a run %s was put whole", name)
		}
	}
}

// With many partitions a slot's new run is small, even if the last one was large: its room is not charged.
func TestRoomInSlotsIsBounded(t *testing.T) {
	h := newHarness(t, nil)
	top := newTopic(h.deps, "t", nil)
	const partitions = 200
	for p := range int32(partitions) {
		producer := newPartitionProducer(h.deps, "t", nil, p, leader{})
		top.partitions = append(top.partitions, &partitionSlot{producer: producer, last: 5000})
	}
	room := 0
	for p := range int32(partitions) {
		top.put(&flow.Record{Partition: p}, 4)
		room += cap(top.partitions[p].pending)
	}
	if room > 16*partitions {
		t.Errorf("room for %d records, and there are %d", room, partitions)
	}
	top.put(&flow.Record{Partition: withdrawn}, 4)
	if top.pending != partitions {
		t.Errorf("%d pending: one was withdrawn", top.pending)
	}
}
