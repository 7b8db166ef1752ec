package apitest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-kafka/sluice"
)

// Every retriable code is retried, the batch behind it waits, and the log has the order of Input.
func TestRetriableCodes(t *testing.T) {
	for _, code := range []*kerr.Error{
		kerr.UnknownTopicOrPartition, kerr.LeaderNotAvailable, kerr.NotLeaderForPartition, kerr.ReplicaNotAvailable,
		kerr.NetworkException, kerr.KafkaStorageError, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch,
		kerr.BrokerNotAvailable, kerr.UnknownTopicID, kerr.CorruptMessage, kerr.NotEnoughReplicas,
		kerr.CoordinatorLoadInProgress, kerr.ThrottlingQuotaExceeded,
	} {
		t.Run(code.Message, func(t *testing.T) {
			c := newTopicCluster(t, 2, 2)
			failProduce(c, code, 2)
			p := newAsync(t, c, testConfig())
			const n = 500
			go send(p, messages(n, 2)...)
			successes(t, p, n)
			wantInOrder(t, c, n)
		})
	}
}

func TestLostConnections(t *testing.T) {
	c := newTopicCluster(t, 2, 4)
	conf := testConfig()
	conf.Producer.Retry.Max = 20
	p := newAsync(t, c, conf)
	const rounds, n = 10, 3000
	for i := range rounds {
		loseConnections(c, 1)
		send(p, messages(n, 4)[i*n/rounds:(i+1)*n/rounds]...)
		successes(t, p, n/rounds)
	}
	wantInOrder(t, c, n)
}

func TestLostConnectionsUnderLoad(t *testing.T) {
	c := newTopicCluster(t, 2, 4)
	conf := testConfig()
	conf.Producer.Retry.Max = 50
	conf.Producer.Flush.MaxMessages = 20 // many requests
	p := newAsync(t, c, conf)
	loseConnections(c, 20)
	const n = 5000
	go send(p, messages(n, 4)...)
	successes(t, p, n)
	wantInOrder(t, c, n)
}

func TestRetryMaxCountsAttempts(t *testing.T) {
	for _, limit := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			w := watch(c)
			failed := failProduce(c, kerr.NotEnoughReplicas, -1)
			conf := testConfig()
			conf.Producer.Retry.Max = limit
			conf.Producer.RequiredAcks = sarama.WaitForAll
			p := newAsync(t, c, conf)
			send(p, message(0, 0))
			outcome := receive(t, p.Errors())
			wantError(t, outcome.Err, causes(sarama.ErrNotEnoughReplicas), `"t"`, "partition 0")
			if errors.Is(outcome.Err, sluice.ErrOutcomeUnknown) {
				t.Errorf("%v: a definite answer", outcome.Err)
			}
			if n := len(w.seen()); n != limit+1 {
				t.Errorf("%d requests, want %d", n, limit+1)
			}
			failed.Remove()
			send(p, message(0, 0))
			successes(t, p, 1)
			wantInOrder(t, c, 1)
		})
	}
}

// With Retry.Max 0 a lost connection is the end of a batch, too, and whether it was written is not known.
func TestNoRetryOfLostConnection(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Retry.Max = 0
	loseConnections(c, 1)
	p := newAsync(t, c, conf)
	send(p, message(0, 0))
	wantError(t, receive(t, p.Errors()).Err, causes(sluice.ErrOutcomeUnknown), "broker 0")
	send(p, message(0, 0))
	successes(t, p, 1)
}

// A batch whose attempts are used up does not take those behind it along.
func TestOnlyTheExhaustedBatchFails(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Retry.Max = 1
	conf.Producer.Flush.MaxMessages = 10
	held := holdProduce(t, c, nil)
	failProduce(c, kerr.NotEnoughReplicas, 2)
	p := newAsync(t, c, conf)
	p.InputBatch() <- messages(30, 1)
	receive(t, held.arrived)
	held.open()
	for i := range 10 {
		failed := receive(t, p.Errors())
		if number := string(failed.Msg.Value.(sarama.StringEncoder)); number != fmt.Sprint(i) {
			t.Errorf("message %s failed", number)
		}
		wantError(t, failed.Err, causes(sarama.ErrNotEnoughReplicas))
	}
	for i, msg := range successes(t, p, 20) {
		if number := string(msg.Value.(sarama.StringEncoder)); number != fmt.Sprint(i+10) {
			t.Errorf("message %s in place of %d", number, i+10)
		}
	}
}

func TestUnsureBatchHasUnknownOutcome(t *testing.T) {
	for _, code := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend} {
		t.Run(code.Message, func(t *testing.T) {
			c := newTopicCluster(t, 1, 1)
			failProduce(c, code, 1)
			conf := testConfig()
			conf.Producer.Retry.Max = 0
			conf.Producer.RequiredAcks = sarama.WaitForAll
			p := newAsync(t, c, conf)
			send(p, message(0, 0))
			wantError(t, receive(t, p.Errors()).Err, causes(sluice.ErrOutcomeUnknown, sarama.KError(code.Code)))
		})
	}
}

func TestFatalCodesFailTheirBatchOnly(t *testing.T) {
	for _, code := range []*kerr.Error{
		kerr.TopicAuthorizationFailed, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.InvalidRequiredAcks,
		kerr.PolicyViolation,
	} {
		t.Run(code.Message, func(t *testing.T) {
			c := newTopicCluster(t, 1, 2)
			w := watch(c)
			failed := failProduce(c, code, -1)
			conf := testConfig()
			p := newAsync(t, c, conf)
			send(p, message(0, 100), message(1, 0))
			outcome := receive(t, p.Errors())
			if outcome.Msg.Partition != 0 {
				t.Errorf("partition %d failed", outcome.Msg.Partition)
			}
			wantError(t, outcome.Err, causes(sarama.KError(code.Code)))
			successes(t, p, 1)
			tries := 0
			for _, req := range w.seen() {
				for _, b := range req.batches {
					if b.partition == 0 {
						tries++
					}
				}
			}
			if tries != 1 {
				t.Errorf("sent %d times", tries)
			}
			failed.Remove()
			send(p, message(0, 1))
			successes(t, p, 1)
			wantInOrder(t, c, 2)
		})
	}
}

func TestTooLargeBatchIsSplit(t *testing.T) {
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionLZ4} {
		t.Run(codec.String(), func(t *testing.T) {
			c := newCluster(t, kfake.NumBrokers(1))
			limit := "400"
			if err := c.CreateTopic("t", 1, map[string]string{"max.message.bytes": limit}); err != nil {
				t.Fatal(err)
			}
			conf := testConfig()
			conf.Producer.Compression = codec
			conf.Producer.Flush.Frequency = hour
			conf.Producer.Retry.Max = 0 // a split is no retry
			p := newAsync(t, c, conf)
			const n = 1000
			p.InputBatch() <- messages(n, 1)
			if err := p.Flush(impatient(t)); err != nil {
				t.Fatal(err)
			}
			for i, msg := range successes(t, p, n) {
				if msg.Offset != int64(i) || string(msg.Value.(sarama.StringEncoder)) != fmt.Sprint(i) {
					t.Fatalf("message %v is at %d in place of %d", msg.Value, msg.Offset, i)
				}
			}
			wantInOrder(t, c, n)

			// A single one that is too large fails alone.
			p.InputBatch() <- []*sarama.ProducerMessage{
				{Topic: "t", Value: sarama.StringEncoder("before")},
				{Topic: "t", Value: encoder{value: noise(1000)}},
				{Topic: "t", Value: sarama.StringEncoder("after")},
			}
			if err := p.Flush(impatient(t)); err != nil {
				t.Fatal(err)
			}
			wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrMessageSizeTooLarge), "partition 0")
			successes(t, p, 2)
			records := readTopic(t, c, "t", n+2)
			if string(records[n].Value) != "before" || string(records[n+1].Value) != "after" {
				t.Errorf("%q, %q", records[n].Value, records[n+1].Value)
			}
		})
	}
}

// noise does not compress.
func noise(n int) string {
	var b strings.Builder
	for x := uint32(1); b.Len() < n; x = x*1664525 + 1013904223 {
		b.WriteByte(byte(x >> 24))
	}
	return b.String()
}

// The back-off is the user's.
func TestBackoffFunc(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		failProduce(v.Cluster, kerr.NotEnoughReplicas, 3)
		conf := v.config()
		conf.Producer.Retry.Max = 5
		conf.Producer.Retry.BackoffFunc = func(retries, limit int) time.Duration {
			if limit != 5 {
				t.Errorf("limit %d", limit)
			}
			return time.Duration(retries) * time.Minute / 6
		}
		p := newAsync(t, v.Cluster, conf)
		start := time.Now()
		send(p, message(0, 0))
		time.Sleep(59 * time.Second) // 10 + 20 + 30 seconds
		synctest.Wait()
		if n := logged(v.Cluster, "t"); n > 0 {
			t.Error("written before the back-offs are over")
		}
		successes(t, p, 1)
		if took := time.Since(start); took != time.Minute {
			t.Errorf("took %v, want a minute", took)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}, kfake.SeedTopics(1, "t"))
}

// A broker that can't be reached costs no attempts, only time, and what ends it names the cause.
func TestDeliveryTimeoutOfDeadBroker(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		for p := range int32(2) {
			move(t, v.Cluster, p, p)
		}
		refused := errors.New("nobody at home")
		conf := v.config()
		conf.Producer.Retry.Backoff = time.Second
		p := newAsync(t, v.Cluster, conf, sluice.WithDeliveryTimeout(time.Minute))
		v.refused.Store(&refusal{v.ListenAddrs()[1], refused})
		start := time.Now()
		send(p, message(1, 1), message(0, 0))
		successes(t, p, 1) // of the other broker
		synctest.Wait()
		time.Sleep(59 * time.Second)
		if len(p.Errors()) > 0 {
			t.Error("given up before its time")
		}
		failed := <-p.Errors()
		wantError(t, failed.Err, causes(sluice.ErrDeliveryTimeout, refused), "partition 1", v.ListenAddrs()[1])
		if errors.Is(failed.Err, sluice.ErrOutcomeUnknown) {
			t.Errorf("%v: it was never sent", failed.Err)
		}
		if took := time.Since(start); took < time.Minute || took > time.Minute+2*time.Second {
			t.Errorf("failed after %v", took)
		}
		// When the broker is back, so is the partition.
		v.refused.Store(nil)
		send(p, message(1, 2))
		successes(t, p, 1)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}, kfake.SeedTopics(2, "t"))
}

// A message that is at a broker that does not answer ends with the time-out all the same: maybe written.
func TestDeliveryTimeoutOfSilentBroker(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		held := holdProduce(t, v.Cluster, nil)
		conf := v.config()
		conf.Net.ReadTimeout = time.Hour
		p := newAsync(t, v.Cluster, conf, sluice.WithDeliveryTimeout(10*time.Second))
		start := time.Now()
		send(p, message(0, 0))
		<-held.arrived
		send(p, message(0, 1)) // waits behind it
		for i := range 2 {
			failed := <-p.Errors()
			wantError(t, failed.Err, causes(sluice.ErrDeliveryTimeout))
			if unknown := errors.Is(failed.Err, sluice.ErrOutcomeUnknown); unknown != (i == 0) {
				t.Errorf("message %d: %v", i, failed.Err)
			}
		}
		if took := time.Since(start); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("failed after %v", took)
		}
		held.open()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}, kfake.SeedTopics(1, "t"))
}
