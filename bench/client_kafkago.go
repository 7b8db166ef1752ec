package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	// kafkaGoWindow bounds the records under way, because an asynchronous Writer does not: it takes what it is given,
	// and its memory grows.
	kafkaGoWindow = 50_000
	// kafkaGoCall is how many messages one WriteMessages gets. A call takes a lock and makes a map, so that one message
	// a call is several times slower.
	kafkaGoCall = 500
)

func ownKafkaGo(r run, n int) {
	messages := make([]kafka.Message, kafkaGoCall)
	for i := 0; i < n; i += kafkaGoCall {
		keepMessages = kafkaGoMessages(messages, r.payload, i, min(kafkaGoCall, n-i))
	}
}

//lint:ignore U1000 nobody reads it; it is as keep
var keepMessages []kafka.Message

// kafkaGoMessages fills a slice with messages. They are passed by value, and WriteMessages copies them, so that one
// slice serves all calls and a message allocates nothing of its own.
func kafkaGoMessages(messages []kafka.Message, p *payload, from, n int) []kafka.Message {
	for i := range n {
		messages[i] = kafka.Message{Topic: p.topic(from + i), Key: p.key(from + i), Value: p.value(from + i)}
	}
	return messages[:n]
}

// topicRoundRobin is a balancer for several topics: kafka-go's own RoundRobin counts over all of them, and would leave
// partitions out where the numbers of topics and partitions have a common factor.
type topicRoundRobin struct {
	mu   sync.Mutex
	next map[string]int
}

func (b *topicRoundRobin) Balance(m kafka.Message, partitions ...int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.next[m.Topic]
	b.next[m.Topic] = n + 1
	return partitions[n%len(partitions)]
}

// kafkaGoWriter makes a Writer. kafka-go has one batch of a partition in flight, over as many connections as it
// likes, and no setting for either. BatchSize is as large as a 1 MiB batch can be of use, and no larger than a
// partition's share of the window, because a Writer allocates that many messages for each batch.
func kafkaGoWriter(r run) *kafka.Writer {
	codecs := map[string]kafka.Compression{
		"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
	}
	w := &kafka.Writer{
		Addr:         kafka.TCP(r.Addrs...),
		RequiredAcks: kafka.RequireAll,
		BatchBytes:   batchBytes,
		BatchSize:    max(100, min(batchBytes/(r.Size+20), kafkaGoWindow/(r.Topics*r.Partitions))),
		BatchTimeout: max(r.linger(), time.Nanosecond), // 0 would mean its default, a second
		Compression:  codecs[r.Compression],
		Transport:    &kafka.Transport{ClientID: "bench"},
		Balancer:     &kafka.RoundRobin{},
	}
	if r.Sync {
		// No more can meet in a batch than are under way, and a call of many should not be cut.
		w.BatchSize = min(r.Senders*r.Call, max(100, r.Call))
	}
	switch {
	case r.Keys > 0:
		w.Balancer = kafka.Murmur2Balancer{}
	case r.Topics > 1:
		w.Balancer = &topicRoundRobin{next: make(map[string]int)}
	}
	return w
}

// kafkaGo is the asynchronous Writer, bounded by a window that Completion refills.
type kafkaGo struct {
	run
	writer *kafka.Writer
	// room has a token for each call's worth of messages that may be under way; Completion counts messages, and gives
	// a token back when a call's worth is done.
	room chan struct{}

	done    atomic.Int64
	failure atomic.Pointer[error]
	ended   chan struct{} // told when done reaches target
	target  atomic.Int64
}

func openKafkaGo(r run) (client, error) {
	k := &kafkaGo{
		run: r, writer: kafkaGoWriter(r),
		room: make(chan struct{}, kafkaGoWindow/kafkaGoCall), ended: make(chan struct{}, 1),
	}
	k.writer.Async = true
	k.writer.Completion = k.completion
	return k, nil
}

// completion is called by the goroutine of a partition, for each batch.
func (k *kafkaGo) completion(messages []kafka.Message, err error) {
	if err != nil {
		k.failure.CompareAndSwap(nil, &err)
	}
	n := int64(len(messages))
	done := k.done.Add(n)
	for range done/kafkaGoCall - (done-n)/kafkaGoCall {
		<-k.room
	}
	if done == k.target.Load() {
		k.ended <- struct{}{}
	}
}

func (k *kafkaGo) send(n int) error {
	k.done.Store(0)
	k.target.Store(int64(n))
	// Shares are whole calls: with more than one smaller call, completion would count more calls' worths than took a
	// token, and wait for the token of one that is not there.
	if err := k.shareOut(n, kafkaGoCall, k.feed); err != nil {
		return failures(k.Client, err)
	}
	<-k.ended
	if err := k.failure.Load(); err != nil {
		return failures(k.Client, *err)
	}
	return nil
}

// feed is one of the goroutines that send, with a slice of its own.
func (k *kafkaGo) feed(from, to int) error {
	messages := make([]kafka.Message, kafkaGoCall)
	for i := from; i < to; i += kafkaGoCall {
		count := min(kafkaGoCall, to-i)
		if count == kafkaGoCall {
			k.room <- struct{}{} // the last, smaller call is beyond the window: nobody gives its token back
		}
		if err := k.writer.WriteMessages(context.Background(), kafkaGoMessages(messages, k.payload, i, count)...); err != nil {
			if count == kafkaGoCall {
				<-k.room // nothing was taken, and nothing will be completed: the other goroutines need the token
			}
			return err
		}
	}
	return nil
}

func (k *kafkaGo) close() error { return k.writer.Close() }

func openKafkaGoSync(r run) (client, error) {
	w := kafkaGoWriter(r)
	write := func(messages []kafka.Message) error { return w.WriteMessages(context.Background(), messages...) }
	return &senders{
		number: r.Senders, size: r.Call, end: w.Close,
		sender: callsOf(r.Call,
			func(i int) kafka.Message {
				return kafka.Message{Topic: r.payload.topic(i), Value: r.payload.value(i)}
			},
			func(message kafka.Message) error { return write([]kafka.Message{message}) },
			write,
		),
	}, nil
}
