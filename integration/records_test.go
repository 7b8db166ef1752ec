//go:build unix

package integration

import (
	"fmt"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// A compacted topic refuses records without a key. The one that has none fails, and its whole batch used to fail with it.
func TestRecordWithoutKeyFailsAlone(t *testing.T) {
	c := kafka.Get(t)
	for _, idempotent := range []bool{false, true} {
		t.Run(fmt.Sprintf("idempotent %t", idempotent), func(t *testing.T) {
			topic := c.NewTopic(t, 1, map[string]string{"cleanup.policy": "compact"})
			conf := sarama.NewConfig()
			conf.Producer.Return.Successes = true
			conf.Producer.RequiredAcks = sarama.WaitForAll
			if idempotent {
				conf.Producer.Idempotent, conf.Net.MaxOpenRequests = true, 1
			}
			p, err := sluice.New(c.Brokers(), conf)
			if err != nil {
				t.Fatal(err)
			}
			const n, bad = 100, 40
			var msgs []*sarama.ProducerMessage
			for i := range n + 1 {
				msg := &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(i))}
				if i != bad {
					msg.Key = sarama.StringEncoder(fmt.Sprint(i))
				}
				msgs = append(msgs, msg)
			}
			p.InputBatch() <- msgs
			p.AsyncClose()
			go func() {
				for range p.Successes() {
				}
			}()
			for failed := range p.Errors() {
				if failed.Msg != msgs[bad] {
					t.Errorf("%v: %v", failed.Msg.Value, failed.Err)
				}
				t.Log(failed.Err)
			}
			next := 0
			for _, r := range readBack(t, c, topic, n)[0] {
				if next == bad {
					next++
				}
				if string(r.Value) != fmt.Sprint(next) {
					t.Fatalf("offset %d holds %s, want %d", r.Offset, r.Value, next)
				}
				next++
			}
		})
	}
}
