package apitest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// What users met in the field, by every way in, with the retries that sarama.NewConfig allows.

// way makes a producer, and returns what sends messages to it and returns the error of each.
type way func(t *testing.T, addrs []string, conf *sarama.Config) sender

type sender = func(msgs ...*sarama.ProducerMessage) []error

var ways = map[string]way{
	"NewAsyncProducer": func(t *testing.T, addrs []string, conf *sarama.Config) sender {
		return throughInput(t, made[sarama.AsyncProducer](t)(sluice.NewAsyncProducer(addrs, conf)))
	},
	"NewAsyncProducerFromClient": func(t *testing.T, addrs []string, conf *sarama.Config) sender {
		return throughInput(t, made[sarama.AsyncProducer](t)(sluice.NewAsyncProducerFromClient(newClient(t, addrs, conf))))
	},
	"NewSyncProducer": func(t *testing.T, addrs []string, conf *sarama.Config) sender {
		return throughSendMessages(made[sarama.SyncProducer](t)(sluice.NewSyncProducer(addrs, conf)))
	},
	"NewSyncProducerFromClient": func(t *testing.T, addrs []string, conf *sarama.Config) sender {
		return throughSendMessages(made[sarama.SyncProducer](t)(sluice.NewSyncProducerFromClient(newClient(t, addrs, conf))))
	},
	"SendMessage": func(t *testing.T, addrs []string, conf *sarama.Config) sender {
		p := made[sarama.SyncProducer](t)(sluice.NewSyncProducer(addrs, conf))
		return oneByOne(func(msg *sarama.ProducerMessage) error {
			_, _, err := p.SendMessage(msg)
			return err
		})
	},
	"New": func(t *testing.T, addrs []string, conf *sarama.Config) sender {
		return throughInput(t, made[*sluice.Producer](t)(sluice.New(addrs, conf)))
	},
	"NewFromClient": func(t *testing.T, addrs []string, conf *sarama.Config) sender {
		return throughInput(t, made[*sluice.Producer](t)(sluice.NewFromClient(newClient(t, addrs, conf))))
	},
	"InputBatch": func(t *testing.T, addrs []string, conf *sarama.Config) sender {
		p := made[*sluice.Producer](t)(sluice.New(addrs, conf))
		return func(msgs ...*sarama.ProducerMessage) []error {
			p.InputBatch() <- slices.Clone(msgs)
			return outcomesOf(t, p, msgs)
		}
	},
	"Produce": func(t *testing.T, addrs []string, conf *sarama.Config) sender {
		p := made[*sluice.Producer](t)(sluice.New(addrs, conf))
		return func(msgs ...*sarama.ProducerMessage) []error {
			errs := make([]error, len(msgs))
			done := make(chan int, len(msgs))
			for i, msg := range msgs {
				if err := p.Produce(t.Context(), msg, func(_ *sarama.ProducerMessage, err error) { errs[i] = err; done <- i }); err != nil {
					t.Fatal(err)
				}
			}
			for range msgs {
				receive(t, done)
			}
			return errs
		}
	},
	"SendMessageContext": func(t *testing.T, addrs []string, conf *sarama.Config) sender {
		p := made[*sluice.Producer](t)(sluice.New(addrs, conf))
		return oneByOne(func(msg *sarama.ProducerMessage) error {
			_, _, err := p.SendMessageContext(impatient(t), msg)
			return err
		})
	},
}

// made closes a producer with the test.
func made[P interface{ Close() error }](t *testing.T) func(P, error) P {
	t.Helper()
	return func(p P, err error) P {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
}

func newClient(t *testing.T, addrs []string, conf *sarama.Config) sarama.Client {
	t.Helper()
	return made[sarama.Client](t)(sarama.NewClient(addrs, conf))
}

func throughInput(t *testing.T, p sarama.AsyncProducer) sender {
	return func(msgs ...*sarama.ProducerMessage) []error {
		for _, msg := range msgs {
			p.Input() <- msg
		}
		return outcomesOf(t, p, msgs)
	}
}

// outcomesOf reads the outcomes of messages, whose errors it returns.
func outcomesOf(t *testing.T, p sarama.AsyncProducer, msgs []*sarama.ProducerMessage) []error {
	t.Helper()
	failed := map[*sarama.ProducerMessage]error{}
	for range msgs {
		select {
		case <-p.Successes():
		case e := <-p.Errors():
			failed[e.Msg] = e.Err
		case <-time.After(patience):
			t.Fatal("no outcome")
		}
	}
	return oneByOne(func(msg *sarama.ProducerMessage) error { return failed[msg] })(msgs...)
}

func throughSendMessages(p sarama.SyncProducer) sender {
	return func(msgs ...*sarama.ProducerMessage) []error {
		failed := map[*sarama.ProducerMessage]error{}
		var errs sarama.ProducerErrors
		if errors.As(p.SendMessages(msgs), &errs) {
			for _, e := range errs {
				failed[e.Msg] = e.Err
			}
		}
		return oneByOne(func(msg *sarama.ProducerMessage) error { return failed[msg] })(msgs...)
	}
}

func oneByOne(send func(*sarama.ProducerMessage) error) sender {
	return func(msgs ...*sarama.ProducerMessage) []error {
		errs := make([]error, len(msgs))
		for i, msg := range msgs {
			errs[i] = send(msg)
		}
		return errs
	}
}

// wantDelivered checks that no message failed.
func wantDelivered(t *testing.T, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("message %d of %d: %v", i, len(errs), err)
		}
	}
}

// poisoned is n messages, of which one is poison.
func poisoned(n, bad int) []*sarama.ProducerMessage {
	msgs := messages(n, 1)
	msgs[bad].Value = sarama.StringEncoder("poison")
	return msgs
}

// wantOneFailed checks that only the message bad failed, and for that reason.
func wantOneFailed(t *testing.T, errs []error, bad int, code *kerr.Error) {
	t.Helper()
	for i, err := range errs {
		switch {
		case i == bad:
			wantError(t, err, causes(sarama.KError(code.Code)))
		case err != nil:
			t.Errorf("message %d: %v", i, err)
		}
	}
}

func TestFieldCasesByEveryWay(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *sarama.Config, way){
		"a deposed leader that does not know it": func(t *testing.T, conf *sarama.Config, open way) {
			conf.Producer.Retry.Backoff = 100 * time.Millisecond // in which the leader is looked up; Retry.Max times it
			c := newTopicCluster(t, 2, 1)
			send := open(t, c.ListenAddrs(), conf)
			wantDelivered(t, send(message(0, 0)))
			deposed(c, 0, kerr.NotEnoughReplicas)
			move(t, c, 0, 1)
			wantDelivered(t, send(messages(20, 1)...))
		},
		"the only seed lags behind": func(t *testing.T, conf *sarama.Config, open way) {
			c := newTopicCluster(t, 3, 1)
			c.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				req := kreq.(*kmsg.MetadataRequest)
				if c.CurrentNode() != 0 || len(req.Topics) == 0 {
					return nil, nil, false
				}
				return answerUnknown(c, req), nil, true
			})
			conf.Metadata.Full = false
			send := open(t, c.ListenAddrs()[:1], conf)
			wantDelivered(t, send(messages(20, 1)...))
		},
		"a new partition": func(t *testing.T, conf *sarama.Config, open way) {
			c := newTopicCluster(t, 1, 2)
			send := open(t, c.ListenAddrs(), conf)
			wantDelivered(t, send(message(0, 0), message(1, 1)))
			grow(t, c, 3)
			wantDelivered(t, send(message(2, 2), message(0, 3)))
		},
		"a poison batch": func(t *testing.T, conf *sarama.Config, open way) {
			c := newTopicCluster(t, 1, 1)
			answerBatches(c, func(_ int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
				if bytes.Contains(batch, []byte("poison")) {
					return code(kerr.CorruptMessage)
				}
				return nil
			})
			conf.Producer.Flush.MaxMessages = 1
			conf.Producer.Retry.Max = 1_000_000
			send := open(t, c.ListenAddrs(), conf)
			wantOneFailed(t, send(poisoned(20, 7)...), 7, kerr.CorruptMessage)
		},
		"a batch above the topic's segment": func(t *testing.T, conf *sarama.Config, open way) {
			c := newTopicCluster(t, 1, 1)
			answerBatches(c, func(_ int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
				if len(batch) > 200 {
					return code(kerr.RecordListTooLarge)
				}
				return nil
			})
			send := open(t, c.ListenAddrs(), conf)
			wantDelivered(t, send(messages(100, 1)...))
			wantInOrder(t, c, 100)
		},
		"a bad record": func(t *testing.T, conf *sarama.Config, open way) {
			c := newTopicCluster(t, 1, 1)
			answerBatches(c, func(_ int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
				before, _, bad := bytes.Cut(batch, []byte("poison"))
				if !bad {
					return nil
				}
				n := 0
				for i := range 50 {
					if bytes.Contains(before, fmt.Appendf(nil, "value-%d.", i)) {
						n++
					}
				}
				return invalidRecords(n)
			})
			send := open(t, c.ListenAddrs(), conf)
			msgs := poisoned(50, 7)
			for i, msg := range msgs {
				if i != 7 {
					msg.Value = sarama.StringEncoder(fmt.Sprintf("value-%d.", i))
				}
			}
			wantOneFailed(t, send(msgs...), 7, kerr.InvalidRecord)
			if n := logged(c, "t"); n != 49 {
				t.Errorf("%d messages in the log, want 49", n)
			}
		},
		"no producer id for a while": func(t *testing.T, conf *sarama.Config, open way) {
			c := newTopicCluster(t, 1, 1)
			var refused atomic.Bool
			c.ControlKey(int16(kmsg.InitProducerID), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if !refused.Load() {
					return nil, nil, false
				}
				resp := kreq.ResponseKind().(*kmsg.InitProducerIDResponse)
				resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
				return resp, nil, true
			})
			send := open(t, c.ListenAddrs(), idempotent(conf))
			forgetFirstID(c)
			refused.Store(true)
			for _, err := range send(messages(5, 1)...) {
				wantError(t, err, causes(sarama.ErrClusterAuthorizationFailed))
			}
			refused.Store(false)
			wantDelivered(t, send(messages(20, 1)...))
			wantInOrder(t, c, 20)
		},
		"a broker that forgets the producer id": func(t *testing.T, conf *sarama.Config, open way) {
			c := newTopicCluster(t, 1, 1)
			first := int64(-1)
			answerBatches(c, func(n int, _ int32, batch []byte) func(*kmsg.ProduceResponseTopicPartition) {
				id, _ := producerOf(batch)
				if first < 0 {
					first = id
				}
				if n > 1 && id == first {
					return code(kerr.InvalidProducerIDMapping)
				}
				return nil
			})
			send := open(t, c.ListenAddrs(), idempotent(conf))
			wantDelivered(t, send(message(0, 0)))
			wantDelivered(t, send(messages(21, 1)[1:]...))
			wantInOrder(t, c, 21)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for name, open := range ways {
				t.Run(name, func(t *testing.T) { test(t, testConfig(), open) })
			}
		})
	}
}

// answerUnknown answers that no topic is known.
func answerUnknown(c *kfake.Cluster, req *kmsg.MetadataRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	resp.Brokers = brokersOf(c)
	for _, asked := range req.Topics {
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.ErrorCode = asked.Topic, int16(sarama.ErrUnknownTopicOrPartition)
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}
