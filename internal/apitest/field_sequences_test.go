package apitest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice"
)

// Sequence numbers at brokers that know nothing of the producer. Up to Kafka 4.4 such a broker takes any first number. Later
// ones, and kfake without a highest version, want 0 where the partition was never written to (KAFKA-15591).

// firstNumbers runs a test with both kinds of brokers.
func firstNumbers(t *testing.T, test func(*testing.T, *forgetful)) {
	for name, opts := range map[string][]kfake.Opt{
		"any first number": {kfake.MaxVersions(kversion.V4_2_0())},
		"from 0":           nil,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) { test(t, newForgetful(v)) }, append(opts, kfake.SeedTopics(1, "t"))...)
		})
	}
}

// The first batch of a partition does not get through at once, with many behind it.
func TestFirstBatchIsLost(t *testing.T) {
	first := func(what func(*kmsg.ProduceResponseTopicPartition), err error) func(*testing.T, *forgetful, *sarama.Config) {
		return func(_ *testing.T, m *forgetful, _ *sarama.Config) {
			m.judged(func(n int, _ []byte) (func(*kmsg.ProduceResponseTopicPartition), error) {
				if n == 1 {
					return what, err
				}
				return nil, nil
			})
		}
	}
	for name, lose := range map[string]func(*testing.T, *forgetful, *sarama.Config){
		"connection lost":                first(nil, errors.New("connection lost")),
		"NOT_ENOUGH_REPLICAS":            first(code(kerr.NotEnoughReplicas), nil),
		"NOT_LEADER_OR_FOLLOWER":         first(code(kerr.NotLeaderForPartition), nil),
		"UNKNOWN_SERVER_ERROR":           first(code(kerr.UnknownServerError), nil),
		"UNKNOWN_PRODUCER_ID":            first(code(kerr.UnknownProducerID), nil),
		"INVALID_PRODUCER_ID_MAPPING":    first(code(kerr.InvalidProducerIDMapping), nil),
		"connection lost with an answer": func(_ *testing.T, m *forgetful, conf *sarama.Config) { m.loseAnswer(conf) },
		"NOT_ENOUGH_REPLICAS_AFTER_APPEND": func(_ *testing.T, m *forgetful, _ *sarama.Config) {
			failProduce(m.Cluster, kerr.NotEnoughReplicasAfterAppend, 1)
		},
		"the leader has moved": func(t *testing.T, m *forgetful, _ *sarama.Config) {
			held := holdProduce(t, m.Cluster, nil)
			go func() {
				<-held.arrived
				move(t, m.Cluster, 0, 1)
				held.open()
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			firstNumbers(t, func(t *testing.T, m *forgetful) {
				move(t, m.Cluster, 0, 0)
				conf := m.config()
				lose(t, m, conf)
				p := newAsync(t, m.Cluster, conf)
				const n = 100
				send(p, messages(n, 1)...)
				successes(t, p, n)
				m.wantInOrder(t, p, n)
			})
		})
	}
}

// A message that was numbered is given up. What is left begins at 0 under another epoch.
func TestNumberedMessageIsGivenUp(t *testing.T) {
	for _, bad := range []int{0, 1, 30} {
		t.Run(fmt.Sprint("message ", bad), func(t *testing.T) {
			firstNumbers(t, func(t *testing.T, m *forgetful) {
				m.judged(func(_ int, batch []byte) (func(*kmsg.ProduceResponseTopicPartition), error) {
					if bytes.Contains(batch, []byte("poison")) {
						return code(kerr.MessageTooLarge), nil
					}
					return nil, nil
				})
				conf := m.config()
				conf.Producer.Flush.MaxMessages = 1
				p := newAsync(t, m.Cluster, conf)
				const n = 60
				msgs := messages(n, 1)
				send(p, msgs[:bad]...)
				send(p, &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("poison")})
				send(p, msgs[bad:]...)
				for range n {
					receive(t, p.Successes())
				}
				err := receive(t, p.Errors()).Err
				wantError(t, err, causes(sarama.ErrMessageSizeTooLarge))
				if errors.Is(err, sluice.ErrOutcomeUnknown) {
					t.Error(err)
				}
				m.wantInOrder(t, p, n)
			})
		})
	}
}

// The first batch's delivery timeout ends while nobody knows what became of it. Those behind it are delivered.
func TestFirstBatchExpires(t *testing.T) {
	for name, written := range map[string]bool{"not written": false, "written": true} {
		t.Run(name, func(t *testing.T) {
			firstNumbers(t, func(t *testing.T, m *forgetful) {
				conf := m.config()
				conf.Producer.Retry.Max, conf.Producer.Retry.Backoff = 1_000_000, 100*time.Millisecond
				if written {
					m.loseAnswer(conf)
				}
				m.judged(func(n int, batch []byte) (func(*kmsg.ProduceResponseTopicPartition), error) {
					if _, epoch := producerOf(batch); epoch > 0 || written && n == 1 {
						return nil, nil
					}
					return nil, errors.New("connection lost")
				})
				p := newAsync(t, m.Cluster, conf, sluice.WithDeliveryTimeout(10*time.Second))
				const n, old = 60, 1
				// What is in the log is numbered from 0.
				msgs := messages(n, 1)
				if !written {
					msgs = append(msgs[n-old:], msgs[:n-old]...)
				}
				send(p, msgs[:old]...)
				time.Sleep(5 * time.Second)
				send(p, msgs[old:]...)
				for range old {
					wantError(t, receive(t, p.Errors()).Err, causes(sluice.ErrOutcomeUnknown))
				}
				successes(t, p, n-old)
				if written {
					m.wantInOrder(t, p, n)
				} else {
					m.wantInOrder(t, p, n-old)
				}
			})
		})
	}
}

// What the brokers knew of the producer is gone. What is sent then goes on where the last number ended, if not more than its
// first batch is refused for a while.
func TestBrokersForgetNumbers(t *testing.T) {
	for _, gone := range []struct {
		name  string
		lose  func(*testing.T, *forgetful)
		empty bool // the log
		long  bool // brokers do that after a while only
	}{
		{name: "nothing", lose: func(*testing.T, *forgetful) {}},
		{name: "forgotten, any number is taken", long: true, lose: func(_ *testing.T, m *forgetful) { m.forget(nil) }},
		{name: "forgotten, OUT_OF_ORDER_SEQUENCE_NUMBER", lose: func(_ *testing.T, m *forgetful) {
			m.forget(kerr.OutOfOrderSequenceNumber)
		}},
		{name: "forgotten, UNKNOWN_PRODUCER_ID", lose: func(_ *testing.T, m *forgetful) { m.forget(kerr.UnknownProducerID) }},
		{name: "forgotten, and the log is empty", long: true, empty: true, lose: func(t *testing.T, m *forgetful) {
			m.forget(nil)
			if err := m.DeleteRecords("t", 0, -1); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "created anew", empty: true, lose: func(t *testing.T, m *forgetful) {
			if err := errors.Join(m.DeleteTopic("t"), m.CreateTopic("t", 1, nil)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		for _, pause := range []struct {
			name            string
			delivery, after time.Duration // the topic is forgotten after five minutes or, if that is longer, the delivery timeout
		}{
			{"at once", time.Minute, 0},
			{"the topic is kept", 2 * time.Hour, time.Hour + time.Second},
			{"the topic is forgotten", time.Minute, idleTime},
		} {
			if gone.long && pause.after == 0 {
				continue
			}
			for _, refused := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/refused %t", gone.name, pause.name, refused), func(t *testing.T) {
					firstNumbers(t, func(t *testing.T, m *forgetful) {
						p := newAsync(t, m.Cluster, m.config(), sluice.WithDeliveryTimeout(pause.delivery))
						const n = 30
						send(p, messages(n, 1)...)
						successes(t, p, n)
						time.Sleep(pause.after)
						synctest.Wait()
						gone.lose(t, m)
						if refused {
							m.judged(func(n int, _ []byte) (func(*kmsg.ProduceResponseTopicPartition), error) {
								if n == 1 {
									return code(kerr.NotEnoughReplicas), nil
								}
								return nil, nil
							})
						}
						if gone.empty {
							send(p, messages(n, 1)...)
							successes(t, p, n)
							m.wantInOrder(t, p, n)
						} else {
							send(p, messages(2*n, 1)[n:]...)
							successes(t, p, n)
							m.wantInOrder(t, p, 2*n)
						}
					})
				})
			}
		}
	}
}

// A topic is deleted and created anew under way, with batches in flight and behind them. The new one holds what the old one
// did not acknowledge, once and in order.
func TestTopicIsCreatedAnewUnderLoad(t *testing.T) {
	firstNumbers(t, func(t *testing.T, m *forgetful) {
		p := newAsync(t, m.Cluster, m.config())
		const n, rounds = 3000, 3
		for range rounds {
			reached := make(chan struct{})
			m.judged(func(n int, _ []byte) (func(*kmsg.ProduceResponseTopicPartition), error) {
				if n == 20 {
					close(reached)
				}
				return nil, nil
			})
			go func() {
				<-reached
				if err := errors.Join(m.DeleteTopic("t"), m.CreateTopic("t", 1, nil)); err != nil {
					t.Error(err)
				}
			}()
			go send(p, messages(n, 1)...)
			successes(t, p, n)
			synctest.Wait()
			held := int(logged(m.Cluster, "t"))
			if held == 0 || held == n {
				t.Fatalf("the new topic holds %d of %d messages", held, n)
			}
			for i, r := range readTopic(t, m.Cluster, "t", held, kgo.Dialer(m.DialContext)) {
				if want := fmt.Sprint(n - held + i); string(r.Value) != want {
					t.Fatalf("offset %d holds %s, want %s", r.Offset, r.Value, want)
				}
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}
