//go:build unix

package integration

import (
	"errors"
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// testACLs gives and withdraws the right to write, and to see the topic, while a producer runs: meanwhile messages fail with
// TOPIC_AUTHORIZATION_FAILED, before and after they are delivered, each once.
func testACLs(t *testing.T, c *secured) {
	const each = 20 // messages
	for _, withdrawn := range []struct {
		name       string
		operations []kmsg.ACLOperation
	}{
		{"write", []kmsg.ACLOperation{kmsg.ACLOperationWrite}},
		{"write and describe", []kmsg.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe}},
	} {
		for _, isIdempotent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/idempotent=%t", withdrawn.name, isIdempotent), func(t *testing.T) {
				topic := c.NewTopic(t, 2, nil)
				var rights []kafkatest.ACL
				for _, operation := range []kmsg.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe} {
					rights = append(rights, kafkatest.ACL{User: writer, Topic: topic, Operation: operation})
				}
				c.Allow(t, rights...)
				conf := changed(sluice.NewConfig(), c.overTLS, withPassword(sarama.SASLTypeSCRAMSHA512, writer, password), idempotent(isIdempotent))
				p, err := sluice.New(c.Addrs(t, saslTLS), conf)
				if err != nil {
					t.Fatal(err)
				}
				send := func(round int) (failed []error) {
					for i := range each {
						p.Input() <- &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprintf("%d-%d", round, i))}
					}
					for range each {
						select {
						case <-p.Successes():
						case e := <-p.Errors():
							failed = append(failed, e.Err)
						}
					}
					return failed
				}
				var last []kafkatest.ACL
				for _, operation := range withdrawn.operations {
					last = append(last, kafkatest.ACL{User: writer, Topic: topic, Operation: operation})
				}
				for round := range 3 {
					if failed := send(round); len(failed) > 0 {
						t.Errorf("round %d: %d of %d messages failed: %v", round, len(failed), each, failed[0])
					}
					c.Withdraw(t, last...)
					failed := send(round)
					if len(failed) != each {
						t.Errorf("round %d: %d of %d messages failed without the right to write", round, len(failed), each)
					}
					for _, err := range failed {
						if !errors.Is(err, sarama.ErrTopicAuthorizationFailed) || errors.Is(err, sluice.ErrOutcomeUnknown) {
							t.Errorf("round %d: %v", round, err)
						}
					}
					c.Allow(t, last...)
				}
				if failed := send(3); len(failed) > 0 {
					t.Errorf("at last %d messages failed: %v", len(failed), failed[0])
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				readBack(t, c.Cluster, topic, 4*each)
			})
		}
	}
}
