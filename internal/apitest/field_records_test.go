package apitest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// invalidRecords answers that some records of a batch are invalid (KIP-467).
func invalidRecords(indexes ...int) func(*kmsg.ProduceResponseTopicPartition) {
	return func(p *kmsg.ProduceResponseTopicPartition) {
		code(kerr.InvalidRecord)(p)
		for _, i := range indexes {
			e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			e.RelativeOffset, e.ErrorMessage = int32(i), kmsg.StringPtr(fmt.Sprintf("number %d has no key", i))
			p.ErrorRecords = append(p.ErrorRecords, e)
		}
	}
}

// One bad record does not condemn its batch: it fails with what the broker says of it, and the others are delivered in
// their order.
func TestOneBadRecordDoesNotCondemnItsBatch(t *testing.T) {
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP} {
		for _, numbered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v idempotent %t", codec, numbered), func(t *testing.T) {
				c := newTopicCluster(t, 1, 1)
				answerBatches(c, func(n int, _ int32, _ []byte) func(*kmsg.ProduceResponseTopicPartition) {
					switch n {
					case 1: // the whole first batch: 0 to 99, without 10 and 99
						return invalidRecords(10, 99)
					case 2: // each round removes a record
						return invalidRecords(0)
					}
					return nil
				})
				conf := testConfig()
				if numbered {
					idempotent(conf)
				}
				conf.Producer.Retry.Max = 1
				conf.Producer.Compression = codec
				conf.Producer.Flush.MaxMessages = 100
				p := newAsync(t, c, conf)
				const n = 500
				msgs := messages(n, 1)
				p.InputBatch() <- msgs
				failed := map[string]string{}
				for range 3 {
					err := receive(t, p.Errors())
					wantError(t, err.Err, causes(sarama.KError(kerr.InvalidRecord.Code)), "partition 0")
					failed[string(err.Msg.Value.(sarama.StringEncoder))] = err.Err.Error()
				}
				for number, text := range map[string]string{"10": "number 10 ", "99": "number 99 ", "0": "number 0 "} {
					if !strings.Contains(failed[number], text) {
						t.Errorf("message %s failed with %q", number, failed[number])
					}
				}
				successes(t, p, n-3)
				next := 0
				for _, r := range readTopic(t, c, "t", n-3) {
					for next == 0 || next == 10 || next == 99 {
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
}

// A list of records that makes no sense fails the whole batch, and what follows is delivered.
func TestWrongListOfBadRecordsFailsTheBatch(t *testing.T) {
	for name, indexes := range map[string][]int{
		"empty": nil, "out of range": {0, 10}, "negative": {-1}, "twice": {1, 1}, "all": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			tries := 0
			answerBatches(c, func(_ int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
				if bytes.Contains(batch, []byte("poison")) {
					tries++
					return invalidRecords(indexes...)
				}
				return nil
			})
			conf := idempotent(testConfig())
			conf.Producer.Flush.MaxMessages = 10
			p := newAsync(t, c, conf)
			var batch []*sarama.ProducerMessage
			for range 10 {
				batch = append(batch, &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("poison")})
			}
			p.InputBatch() <- batch
			for range 10 {
				wantError(t, receive(t, p.Errors()).Err, causes(sarama.KError(kerr.InvalidRecord.Code)))
			}
			p.InputBatch() <- messages(10, 1)
			successes(t, p, 10)
			wantInOrder(t, c, 10)
			if tries != 1 {
				t.Errorf("sent %d times, in whole or in part", tries)
			}
		})
	}
}
