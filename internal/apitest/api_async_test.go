package apitest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

func TestInputDelivers(t *testing.T) {
	c := newTopicCluster(t, 3, 6)
	p := newAsync(t, c, testConfig())
	const n = 5000
	go send(p, messages(n, 6)...)
	got := successes(t, p, n)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	wantInOrder(t, c, n)

	log := map[string]string{}
	for _, r := range readTopic(t, c, "t", n) {
		log[fmt.Sprintf("%d/%d", r.Partition, r.Offset)] = string(r.Value)
	}
	for _, msg := range got {
		at := fmt.Sprintf("%d/%d", msg.Partition, msg.Offset)
		if value := string(msg.Value.(sarama.StringEncoder)); log[at] != value {
			t.Fatalf("message %s says it is at %s, where %s is", value, at, log[at])
		}
	}
}

// Successes of a partition come in the order of its log, whatever way they are sent.
func TestSuccessesAreInOrder(t *testing.T) {
	c := newTopicCluster(t, 2, 2)
	p := newAsync(t, c, testConfig())
	go send(p, messages(2000, 2)...)
	next := map[int32]int64{}
	for _, msg := range successes(t, p, 2000) {
		if msg.Offset != next[msg.Partition] {
			t.Fatalf("partition %d: offset %d in place of %d", msg.Partition, msg.Offset, next[msg.Partition])
		}
		next[msg.Partition]++
	}
}

func TestInputBatchDelivers(t *testing.T) {
	c := newTopicCluster(t, 2, 4)
	p := newAsync(t, c, testConfig())
	const n = 5000
	go func() {
		for msgs := range slices.Chunk(messages(n, 4), 700) {
			p.InputBatch() <- slices.Concat([]*sarama.ProducerMessage{nil}, msgs)
		}
		p.InputBatch() <- nil
		p.InputBatch() <- []*sarama.ProducerMessage{}
	}()
	successes(t, p, n)
	wantInOrder(t, c, n)
}

func TestUnbufferedChannels(t *testing.T) {
	c := newTopicCluster(t, 1, 2)
	conf := testConfig()
	conf.ChannelBufferSize = 0
	p := newAsync(t, c, conf)
	go send(p, messages(500, 2)...)
	successes(t, p, 500)
	wantInOrder(t, c, 500)
}

// Several senders, each of them with a partition of its own: its order is kept.
func TestInputConcurrentSafe(t *testing.T) {
	c := newTopicCluster(t, 2, 8)
	p := newAsync(t, c, testConfig())
	const n = 4000
	msgs := messages(n, 8)
	for first := range 8 {
		go func() {
			for i := first; i < n; i += 8 {
				if first%2 == 0 {
					p.Input() <- msgs[i]
				} else {
					p.InputBatch() <- []*sarama.ProducerMessage{msgs[i]}
				}
			}
		}()
	}
	successes(t, p, n)
	wantInOrder(t, c, n)
}

func TestNilMessageIsIgnored(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	lines := captureLog(t)
	p := newAsync(t, c, testConfig())
	send(p, nil, message(0, 0))
	successes(t, p, 1)
	if !lines.holds("nil message") {
		t.Errorf("the log does not tell of it: %q", lines.lines)
	}
}

// encoder is a user's own.
type encoder struct {
	value  string
	length func() int
	err    error
	panics bool
}

func (e encoder) Encode() ([]byte, error) {
	if e.panics {
		panic("encoder at work")
	}
	return []byte(e.value), e.err
}

func (e encoder) Length() int {
	if e.length != nil {
		return e.length()
	}
	return len(e.value)
}

func TestBadMessagesFailAlone(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	boom := errors.New("boom")
	tests := []struct {
		name  string
		msg   *sarama.ProducerMessage
		cause error
		word  string
	}{
		{"no topic", &sarama.ProducerMessage{}, sarama.ErrInvalidTopic, "topic"},
		{"too large", &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(strings.Repeat("x", 1<<20))},
			sarama.ErrMessageSizeTooLarge, "MaxMessageBytes"},
		{"value fails", &sarama.ProducerMessage{Topic: "t", Value: encoder{err: boom}}, boom, "value"},
		{"key fails", &sarama.ProducerMessage{Topic: "t", Key: encoder{err: boom}}, boom, "key"},
		{"value panics", &sarama.ProducerMessage{Topic: "t", Value: encoder{panics: true}}, nil, "encoder at work"},
		{"length panics", &sarama.ProducerMessage{Topic: "t", Value: encoder{length: func() int { panic("no length") }}}, nil, "no length"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newAsync(t, c, testConfig())
			send(p, message(0, 1), test.msg, message(0, 2))
			failed := receive(t, p.Errors())
			if failed.Msg != test.msg {
				t.Errorf("message %v failed", failed.Msg)
			}
			wantError(t, failed.Err, nil, test.word)
			if test.cause != nil {
				wantError(t, failed.Err, causes(test.cause))
			}
			successes(t, p, 2)
			wantNothingBuffered(t, p)
		})
	}
}

func TestOwnEncodersAreWritten(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newSync(t, c, testConfig())
	msg := &sarama.ProducerMessage{Topic: "t", Key: encoder{value: "k"}, Value: encoder{value: "v", length: func() int { return 100 }}}
	if _, _, err := p.SendMessage(msg); err != nil {
		t.Fatal(err)
	}
	r := readTopic(t, c, "t", 1)[0]
	if string(r.Key) != "k" || string(r.Value) != "v" {
		t.Errorf("key %q value %q", r.Key, r.Value)
	}
}

// The pipeline keeps no state in a message or by its pointer.
func TestSameMessageTwice(t *testing.T) {
	c := newTopicCluster(t, 2, 2)
	conf := testConfig()
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	p := newAsync(t, c, conf)
	msg := message(0, 0)
	const n = 500
	go func() {
		for range n {
			p.Input() <- msg
		}
	}()
	for _, got := range successes(t, p, n) {
		if got != msg {
			t.Fatal("another message")
		}
	}
	readTopic(t, c, "t", n)
}

func TestLargeMessages(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	p := newAsync(t, c, testConfig())
	value := strings.Repeat("x", 900_000)
	for range 5 {
		send(p, &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(value)})
	}
	successes(t, p, 5)
	for _, r := range readTopic(t, c, "t", 5) {
		if string(r.Value) != value {
			t.Errorf("%d bytes in the log", len(r.Value))
		}
	}
}

func TestManyTopics(t *testing.T) {
	var topics []string
	for i := range 20 {
		topics = append(topics, fmt.Sprintf("topic-%d", i))
	}
	c := newCluster(t)
	for _, topic := range topics {
		if err := c.CreateTopic(topic, 3, nil); err != nil {
			t.Fatal(err)
		}
	}
	conf := testConfig()
	conf.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	p := newAsync(t, c, conf)
	go func() {
		for i := range 2000 {
			p.Input() <- &sarama.ProducerMessage{Topic: topics[i%len(topics)], Value: sarama.StringEncoder(fmt.Sprint(i))}
		}
	}()
	successes(t, p, 2000)
	for _, topic := range topics {
		readTopic(t, c, topic, 100)
	}
}
