package apitest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice"
)

// Answers of brokers to Produce and InitProducerId as users met them.

// idempotent makes a configuration's producer so.
func idempotent(conf *sarama.Config) *sarama.Config {
	conf.Producer.Idempotent, conf.Producer.RequiredAcks, conf.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
	return conf
}

// answerBatches lets judge answer the batches of topic "t": nil leaves the request to the cluster. It sees the batches one
// after another, n counts them. Requests must hold one batch.
func answerBatches(c *kfake.Cluster, judge func(n int, partition int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition)) {
	var n atomic.Int32
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		p := kreq.(*kmsg.ProduceRequest).Topics[0].Partitions[0]
		change := judge(int(n.Add(1)), p.Partition, p.Records)
		if change == nil {
			return nil, nil, false
		}
		return answerProduce(kreq, change), nil, true
	})
}

// code answers with an error.
func code(err *kerr.Error) func(*kmsg.ProduceResponseTopicPartition) {
	return func(p *kmsg.ProduceResponseTopicPartition) { p.ErrorCode, p.BaseOffset = err.Code, -1 }
}

// A message that fails without ErrOutcomeUnknown is not in the log. So a code that a broker answers after the append as well
// fails it with that error.
func TestFailedAfterTheAppendIsUnknown(t *testing.T) {
	for _, line := range []struct {
		code     *kerr.Error
		all, one bool
	}{
		{kerr.KafkaStorageError, true, true},
		{kerr.UnknownServerError, true, true},
		{kerr.NetworkException, true, true},
		{kerr.RequestTimedOut, true, true},
		{kerr.UnknownTopicOrPartition, true, false},
		{kerr.UnknownTopicID, true, false},
		{kerr.InconsistentTopicID, true, false},
		{kerr.NotLeaderForPartition, true, false},
		{kerr.NotEnoughReplicas, false, false},
		{kerr.CorruptMessage, false, false},
		{kerr.InvalidRecord, false, false},
	} {
		for acks, unknown := range map[sarama.RequiredAcks]bool{sarama.WaitForAll: line.all, sarama.WaitForLocal: line.one} {
			t.Run(fmt.Sprintf("%s acks %d", line.code.Message, acks), func(t *testing.T) {
				c := newTopicCluster(t, 1, 1)
				failProduce(c, line.code, 1)
				conf := testConfig()
				conf.Producer.Retry.Max = 0
				conf.Producer.RequiredAcks = acks
				p := newAsync(t, c, conf)
				send(p, message(0, 0))
				err := receive(t, p.Errors()).Err
				wantError(t, err, causes(sarama.KError(line.code.Code)))
				if errors.Is(err, sluice.ErrOutcomeUnknown) != unknown {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// With idempotence such a batch is sent again with the same bytes, so that the broker can tell a duplicate.
func TestFailedAfterTheAppendIsSentAgainUnchanged(t *testing.T) {
	for _, first := range []*kerr.Error{
		kerr.KafkaStorageError, kerr.UnknownServerError, kerr.UnknownTopicOrPartition, kerr.NotLeaderForPartition,
	} {
		t.Run(first.Message, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			var mu sync.Mutex
			var sent [][]byte
			answerBatches(c, func(n int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
				mu.Lock()
				defer mu.Unlock()
				sent = append(sent, bytes.Clone(batch))
				if n == 1 {
					return code(first)
				}
				return nil
			})
			p := newAsync(t, c, idempotent(testConfig()))
			send(p, message(0, 0))
			successes(t, p, 1)
			mu.Lock()
			defer mu.Unlock()
			if len(sent) != 2 || !bytes.Equal(sent[0], sent[1]) {
				t.Errorf("sent %d times, or changed", len(sent))
			}
		})
	}
}

// What may be in the log is not sent again under a new number, which would write it twice.
func TestUnsureBatchIsNotRenumbered(t *testing.T) {
	for _, lost := range []*kerr.Error{kerr.UnknownProducerID, kerr.InvalidProducerIDMapping, kerr.InvalidProducerEpoch} {
		t.Run(lost.Message, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			answerBatches(c, func(n int, _ int32, _ []byte) func(*kmsg.ProduceResponseTopicPartition) {
				switch n {
				case 1:
					return code(kerr.KafkaStorageError)
				case 2:
					return code(lost)
				}
				return nil
			})
			p := newAsync(t, c, idempotent(testConfig()))
			send(p, message(0, 0))
			wantError(t, receive(t, p.Errors()).Err, causes(sluice.ErrOutcomeUnknown, sarama.KError(lost.Code)))
			send(p, message(0, 0)) // the producer goes on
			successes(t, p, 1)
			wantInOrder(t, c, 1)
		})
	}
}

// A batch that the broker will never take must not stop its partition until the delivery timeout, whatever Retry.Max says.
func TestPoisonBatchDoesNotStopItsPartition(t *testing.T) {
	for _, poison := range []*kerr.Error{kerr.CorruptMessage, kerr.UnknownServerError} {
		t.Run(poison.Message, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				tries := 0
				answerBatches(v.Cluster, func(_ int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
					if bytes.Contains(batch, []byte("poison")) {
						tries++
						return code(poison)
					}
					return nil
				})
				conf := idempotent(v.config())
				conf.Producer.Retry.Max = 1_000_000
				conf.Producer.Retry.Backoff = 100 * time.Millisecond
				conf.Producer.Flush.MaxMessages = 1
				p := newAsync(t, v.Cluster, conf)
				start := time.Now()
				bad := &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("poison")}
				send(p, message(0, 0), bad, message(0, 1), message(0, 2))
				failed := receive(t, p.Errors())
				wantError(t, failed.Err, causes(sarama.KError(poison.Code)))
				if failed.Msg != bad {
					t.Errorf("%v failed", failed.Msg.Value)
				}
				for i, msg := range successes(t, p, 3) {
					if value := string(msg.Value.(sarama.StringEncoder)); value != fmt.Sprint(i) || msg.Offset != int64(i) {
						t.Errorf("message %s is at offset %d", value, msg.Offset)
					}
				}
				if took := time.Since(start); took > 2*time.Second || tries != 4 {
					t.Errorf("it took %v and %d tries", took, tries)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}, kfake.SeedTopics(1, "t"))
		})
	}
}

// A topic takes smaller batches than the producer makes. Each message is delivered, and not each full batch is refused
// first.
func TestWhatATopicTakesIsRemembered(t *testing.T) {
	for _, tooLarge := range []*kerr.Error{kerr.MessageTooLarge, kerr.RecordListTooLarge} {
		t.Run(tooLarge.Message, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			var refused, taken atomic.Int32
			answerBatches(c, func(_ int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
				if len(batch) > 6000 {
					refused.Add(1)
					return code(tooLarge)
				}
				taken.Add(1)
				return nil
			})
			conf := testConfig()
			conf.Producer.MaxMessageBytes = 20_000
			conf.Producer.Flush.Frequency = hour
			p := newAsync(t, c, conf)
			const rounds, n = 20, 2000
			for i := range rounds {
				p.InputBatch() <- messages(rounds*n, 1)[i*n : (i+1)*n]
				if err := p.Flush(impatient(t)); err != nil {
					t.Fatal(err)
				}
				successes(t, p, n)
			}
			if refused.Load() > 6 {
				t.Errorf("%d batches were refused, %d taken", refused.Load(), taken.Load())
			}
			wantInOrder(t, c, rounds*n)
		})
	}
}

// A codec that the broker does not take: the error names codec and remedy, at both of its causes.
func TestRefusedCompressionNamesCodecAndRemedy(t *testing.T) {
	words := &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(fmt.Sprintf("%01000d", 0))}
	t.Run("the broker's answer", func(t *testing.T) {
		c := newTopicCluster(t, 1, 1)
		failProduce(c, kerr.UnsupportedCompressionType, -1)
		conf := testConfig()
		conf.Producer.Compression = sarama.CompressionSnappy
		p := newAsync(t, c, conf)
		send(p, words)
		wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrUnsupportedCompressionType), "snappy", "gzip", "Producer.Compression")
	})
	t.Run("zstd at an old broker", func(t *testing.T) {
		old := kversion.V2_0_0()
		c := newTopicCluster(t, 1, 1, kfake.MaxVersions(old))
		w := watch(c)
		conf := idempotent(testConfig())
		conf.Producer.Compression = sarama.CompressionZSTD
		conf.Version = sarama.V2_1_0_0
		conf.Producer.Retry.Max = 1_000_000
		p := newAsync(t, c, conf)
		send(p, words)
		err := receive(t, p.Errors()).Err
		wantError(t, err, causes(sarama.ErrUnsupportedCompressionType), "zstd", "Produce v6", "Producer.Compression")
		if errors.Is(err, sluice.ErrOutcomeUnknown) || len(w.seen()) > 0 {
			t.Errorf("sent %d times: %v", len(w.seen()), err)
		}
		send(p, message(0, 0)) // too short to be compressed
		successes(t, p, 1)
	})
}
