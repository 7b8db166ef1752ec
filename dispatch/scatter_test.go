package dispatch

import (
	"fmt"
	"testing"

	"github.com/IBM/sarama"
)

// A run with messages to several topics: each topic gets its part, in order.
func TestRunOfSeveralTopics(t *testing.T) {
	h := newHarness(t, nil)
	const rounds, topics, each = 3, 3, 20
	for round := range rounds {
		var msgs []*sarama.ProducerMessage
		for i := range topics * each {
			msg := numbered(round*each+i/topics, int32(i%topics))
			msg.Topic = fmt.Sprint("t", i%topics)
			msgs = append(msgs, msg)
		}
		h.InputBatch <- msgs
	}
	got := make(map[string]int)
	for n := 0; n < rounds*topics*each; {
		r := h.report()
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		for _, msg := range r.Messages {
			if msg.Topic != r.Topic {
				t.Fatalf("a message to %s was sent to %s", msg.Topic, r.Topic)
			}
		}
		n += len(r.Messages)
		got[r.Topic] += len(r.Messages)
	}
	for i := range topics {
		if n := fmt.Sprint("t", i); got[n] != rounds*each {
			t.Errorf("%d messages of %s", got[n], n)
		}
		if sent := h.brokers.numbers(int32(i)); len(sent) != rounds*each {
			t.Errorf("%d sent", len(sent))
		} else {
			for j, n := range sent {
				if n != j {
					t.Fatalf("topic %d: sent %v", i, sent)
				}
			}
		}
	}
	h.close()
	if len(h.topics) != topics {
		t.Errorf("%d topics have a stage", len(h.topics))
	}
}
