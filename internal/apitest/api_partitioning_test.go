package apitest

import (
	"errors"
	"fmt"
	"hash/fnv"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// Messages go where an instance of the same partitioner sends them.
func TestSaramasPartitioners(t *testing.T) {
	const partitions = 5
	for name, constructor := range map[string]sarama.PartitionerConstructor{
		"manual":         sarama.NewManualPartitioner,
		"round robin":    sarama.NewRoundRobinPartitioner,
		"hash":           sarama.NewHashPartitioner,
		"reference hash": sarama.NewReferenceHashPartitioner,
		"crc":            sarama.NewConsistentCRCHashPartitioner,
		"murmur2":        sarama.NewMurmur2Partitioner,
		"custom hash":    sarama.NewCustomHashPartitioner(fnv.New32),
		"custom":         sarama.NewCustomPartitioner(sarama.WithAbsFirst(), sarama.WithCustomHashFunction(fnv.New32a)),
	} {
		t.Run(name, func(t *testing.T) {
			c := newTopicCluster(t, 2, partitions)
			conf := testConfig()
			conf.Producer.Partitioner = constructor
			p := newAsync(t, c, conf)
			reference := constructor("t")
			const n = 100
			want := make([]int32, n)
			msgs := messages(n, partitions)
			for i, msg := range msgs {
				msg.Key = sarama.StringEncoder(fmt.Sprintf("key %d", i))
				var err error
				if want[i], err = reference.Partition(msg, partitions); err != nil {
					t.Fatal(err)
				}
			}
			send(p, msgs...)
			successes(t, p, n)
			for _, r := range readTopic(t, c, "t", n) {
				var number int
				_, _ = fmt.Sscan(string(r.Value), &number)
				if r.Partition != want[number] || msgs[number].Partition != want[number] {
					t.Errorf("message %d is in partition %d and says %d, want %d", number, r.Partition, msgs[number].Partition, want[number])
				}
			}
		})
	}
}

func TestRandomPartitionerReachesAll(t *testing.T) {
	c := newTopicCluster(t, 1, 3)
	conf := testConfig()
	conf.Producer.Partitioner = sarama.NewRandomPartitioner
	p := newAsync(t, c, conf)
	send(p, messages(200, 1)...)
	successes(t, p, 200)
	for _, info := range c.PartitionInfos("t") {
		if info.HighWatermark == 0 {
			t.Errorf("partition %d is empty", info.Partition)
		}
	}
}

// choice is a partitioner made of functions.
type choice struct {
	partition  func(*sarama.ProducerMessage, int32) (int32, error)
	consistent func(*sarama.ProducerMessage) bool
}

func (c choice) Partition(msg *sarama.ProducerMessage, n int32) (int32, error) {
	return c.partition(msg, n)
}
func (c choice) RequiresConsistency() bool { return c.consistent(nil) }

func (c choice) MessageRequiresConsistency(msg *sarama.ProducerMessage) bool {
	return c.consistent(msg)
}

// Of four partitions one has no leader: a message that needs no consistency is given three to choose from, and what
// stands at the chosen place is meant.
func TestDynamicConsistency(t *testing.T) {
	c := newTopicCluster(t, 1, 4)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "t", Partitions: []int32{1}, Err: kerr.LeaderNotAvailable, Count: -1})
	conf := testConfig()
	offered := make(chan int32, 10)
	conf.Producer.Partitioner = func(string) sarama.Partitioner {
		return choice{
			partition:  func(msg *sarama.ProducerMessage, n int32) (int32, error) { offered <- n; return msg.Partition, nil },
			consistent: func(msg *sarama.ProducerMessage) bool { return msg != nil && msg.Key != nil },
		}
	}
	p := newAsync(t, c, conf)

	send(p, &sarama.ProducerMessage{Topic: "t", Partition: 1})
	if got := successes(t, p, 1)[0]; got.Partition != 2 || receive(t, offered) != 3 {
		t.Errorf("partition %d of the three that have a leader", got.Partition)
	}
	send(p, &sarama.ProducerMessage{Topic: "t", Key: sarama.StringEncoder("k"), Partition: 2})
	if got := successes(t, p, 1)[0]; got.Partition != 2 || receive(t, offered) != 4 {
		t.Errorf("partition %d of all four", got.Partition)
	}
}

func TestBadPartitionersFailOneMessage(t *testing.T) {
	boom := errors.New("boom")
	for name, test := range map[string]struct {
		bad   func() (int32, error)
		cause error
		word  string
	}{
		"negative":  {func() (int32, error) { return -1, nil }, sarama.ErrInvalidPartition, "-1 of 2"},
		"too large": {func() (int32, error) { return 2, nil }, sarama.ErrInvalidPartition, "2 of 2"},
		"error":     {func() (int32, error) { return 0, boom }, boom, "t"},
		"panic":     {func() (int32, error) { panic("lost count") }, nil, "lost count"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 2)
			conf := testConfig()
			conf.Producer.Partitioner = func(string) sarama.Partitioner {
				return choice{
					partition: func(msg *sarama.ProducerMessage, n int32) (int32, error) {
						if msg.Metadata != nil {
							return test.bad()
						}
						return 1, nil
					},
					consistent: func(*sarama.ProducerMessage) bool { return true },
				}
			}
			p := newAsync(t, c, conf)
			bad := message(0, 100)
			bad.Metadata = "bad"
			p.InputBatch() <- []*sarama.ProducerMessage{message(0, 0), bad, message(0, 1), message(0, 2)}
			failed := receive(t, p.Errors())
			if failed.Msg != bad {
				t.Errorf("message %v failed", failed.Msg.Value)
			}
			wantError(t, failed.Err, nil, test.word)
			if test.cause != nil {
				wantError(t, failed.Err, causes(test.cause))
			}
			successes(t, p, 3)
			wantInOrder(t, c, 3)
		})
	}
}

func TestConstructorOfPartitionersFails(t *testing.T) {
	for name, constructor := range map[string]sarama.PartitionerConstructor{
		"no partitioner": func(string) sarama.Partitioner { return nil },
		"panicked":       func(string) sarama.Partitioner { panic("no idea") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			conf := testConfig()
			conf.Producer.Partitioner = constructor
			p := newAsync(t, c, conf)
			send(p, message(0, 0), message(0, 1))
			for range 2 {
				wantError(t, receive(t, p.Errors()).Err, nil, name, "t")
			}
		})
	}
}

func TestStickyPartitioner(t *testing.T) {
	keyed := func(i int) *sarama.ProducerMessage {
		return &sarama.ProducerMessage{Key: sarama.StringEncoder(fmt.Sprintf("key %d", i))}
	}
	t.Run("keys as hash", func(t *testing.T) {
		sticky, hash := sluice.NewStickyPartitioner("t"), sarama.NewHashPartitioner("t")
		for i := range 1000 {
			got, err := sticky.Partition(keyed(i), 7)
			want, _ := hash.Partition(keyed(i), 7)
			if err != nil || got != want {
				t.Fatalf("key %d: partition %d (%v), sarama's hash partitioner says %d", i, got, err, want)
			}
		}
	})
	t.Run("keys as murmur2", func(t *testing.T) {
		sticky, hash := sluice.NewStickyMurmur2Partitioner("t"), sarama.NewMurmur2Partitioner("t")
		for i := range 1000 {
			got, err := sticky.Partition(keyed(i), 7)
			want, _ := hash.Partition(keyed(i), 7)
			if err != nil || got != want {
				t.Fatalf("key %d: partition %d (%v), sarama's murmur2 partitioner says %d", i, got, err, want)
			}
		}
	})
	t.Run("murmur2 stays, too", func(t *testing.T) {
		sticky := sluice.NewStickyMurmur2Partitioner("t")
		msg := &sarama.ProducerMessage{Value: sarama.StringEncoder("short")}
		first, _ := sticky.Partition(msg, 1000)
		for range 100 {
			if got, err := sticky.Partition(msg, 1000); err != nil || got != first {
				t.Fatalf("partition %d (%v), and %d before", got, err, first)
			}
		}
	})
	t.Run("stays, then moves", func(t *testing.T) {
		sticky := sluice.NewStickyPartitioner("t")
		msg := &sarama.ProducerMessage{Value: sarama.StringEncoder(make([]byte, 100))}
		last, stay := int32(-1), 0
		for i := range 10_000 {
			_, _ = sticky.Partition(keyed(i), 5) // does not disturb
			got, err := sticky.Partition(msg, 5)
			if err != nil {
				t.Fatal(err)
			}
			if got == last {
				stay++
				continue
			}
			// 16 KiB, of messages that count as 101 bytes each.
			if last >= 0 && stay != 163 {
				t.Fatalf("%d messages, then another partition", stay)
			}
			last, stay = got, 1
		}
	})
	t.Run("equal shares", func(t *testing.T) {
		sticky := sluice.NewStickyPartitioner("t")
		msg := &sarama.ProducerMessage{Value: sarama.StringEncoder(make([]byte, 1<<14))}
		const n = 20_000
		var count [4]int
		for range n {
			got, _ := sticky.Partition(msg, 4)
			count[got]++
		}
		for p, got := range count {
			if got < n/4*8/10 || got > n/4*12/10 {
				t.Errorf("partition %d has %d of %d", p, got, n)
			}
		}
	})
	t.Run("empty messages move on", func(t *testing.T) {
		sticky := sluice.NewStickyPartitioner("t")
		first, _ := sticky.Partition(&sarama.ProducerMessage{}, 3)
		for range 1 << 15 {
			if got, _ := sticky.Partition(&sarama.ProducerMessage{}, 3); got != first {
				return
			}
		}
		t.Error("stays for ever")
	})
	t.Run("other numbers of partitions", func(t *testing.T) {
		sticky := sluice.NewStickyPartitioner("t")
		for range 100 {
			for n := int32(1); n < 5; n++ {
				if got, err := sticky.Partition(&sarama.ProducerMessage{}, n); err != nil || got < 0 || got >= n {
					t.Fatalf("partition %d of %d: %v", got, n, err)
				}
			}
		}
	})
	t.Run("consistency", func(t *testing.T) {
		sticky := sluice.NewStickyPartitioner("t").(sarama.DynamicConsistencyPartitioner)
		if !sticky.MessageRequiresConsistency(keyed(0)) || sticky.MessageRequiresConsistency(&sarama.ProducerMessage{}) {
			t.Error("messages with a key need it, others do not")
		}
	})
}
