package apitest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// hour is a linger that no test waits for.
const hour = time.Hour

func TestFlushMessages(t *testing.T) {
	c := newTopicCluster(t, 1, 3)
	w := watch(c)
	conf := testConfig()
	conf.Producer.Flush.Messages = 30
	conf.Producer.Flush.Frequency = hour
	p := newAsync(t, c, conf)
	send(p, messages(30, 3)...)
	successes(t, p, 30)
	// Counted over the set: the three partitions together.
	if seen := w.seen(); len(seen) != 1 || seen[0].records != 30 || len(seen[0].batches) != 3 {
		t.Errorf("requests %+v, want one of 30 records", seen)
	}
}

func TestFlushBytes(t *testing.T) {
	c := newTopicCluster(t, 1, 2)
	w := watch(c)
	conf := testConfig()
	conf.Producer.Flush.Bytes = 10_000
	conf.Producer.Flush.Frequency = hour
	p := newAsync(t, c, conf)
	const n = 150
	for i := range n {
		send(p, &sarama.ProducerMessage{Topic: "t", Partition: int32(i % 2), Value: sarama.StringEncoder(strings.Repeat("x", 100))})
	}
	receive(t, p.Successes())
	first := w.seen()[0]
	if bytes := first.batches[0].bytes + first.batches[1].bytes; bytes < 10_000 {
		t.Errorf("the set was sent with %d bytes", bytes)
	}
	if err := p.Flush(impatient(t)); err != nil {
		t.Error(err)
	}
	successes(t, p, n-1)
}

func TestMaxMessages(t *testing.T) {
	for _, partitions := range []int32{1, 4} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			c := newTopicCluster(t, 1, partitions)
			w := watch(c)
			conf := testConfig()
			conf.Producer.Flush.MaxMessages = 7
			p := newAsync(t, c, conf)
			const n = 500
			p.InputBatch() <- messages(n, partitions)
			successes(t, p, n)
			largest := 0
			for _, req := range w.seen() {
				largest = max(largest, req.records)
			}
			if largest != 7 {
				t.Errorf("the largest request has %d messages, want 7", largest)
			}
			wantInOrder(t, c, n)
		})
	}
}

func TestMaxMessageBytesBoundsBatches(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	w := watch(c)
	conf := testConfig()
	conf.Producer.MaxMessageBytes = 5000
	p := newAsync(t, c, conf)
	const n = 2000
	p.InputBatch() <- messages(n, 1)
	successes(t, p, n)
	largest := 0
	for _, req := range w.seen() {
		largest = max(largest, req.batches[0].bytes)
	}
	if largest > 5000 || largest < 4000 {
		t.Errorf("the largest batch has %d bytes", largest)
	}
	wantInOrder(t, c, n)
}

// What comes while a request is on its way is sent as one with the next.
func TestBatchesGrowWhileBusy(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	w := watch(c)
	held := holdProduce(t, c, nil)
	p := newAsync(t, c, testConfig())
	send(p, message(0, 0))
	receive(t, held.arrived)
	send(p, messages(101, 1)[1:]...)
	waitBuffered(t, p, 101)
	held.open()
	successes(t, p, 101)
	if seen := w.seen(); len(seen) > 10 {
		t.Errorf("%d requests for 101 messages", len(seen))
	}
	wantInOrder(t, c, 101)
}
