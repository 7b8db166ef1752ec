package sluice_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

type order struct {
	What string `json:"what"`
}

type typedOrders = sluice.Typed[string, order]

// typedOver makes a Typed over each kind of producer.
var typedOver = map[string]func(addrs []string, conf *sarama.Config) (*typedOrders, error){
	"sluice": func(addrs []string, conf *sarama.Config) (*typedOrders, error) {
		p, err := sluice.New(addrs, conf)
		return sluice.NewTyped(p, sluice.StringSerializer, sluice.JSONSerializer[order]), err
	},
	"sluice, sync": func(addrs []string, conf *sarama.Config) (*typedOrders, error) {
		p, err := sluice.NewSyncProducer(addrs, conf)
		return sluice.NewTypedSync(p, sluice.StringSerializer, sluice.JSONSerializer[order]), err
	},
	"sluice, async": func(addrs []string, conf *sarama.Config) (*typedOrders, error) {
		p, err := sluice.NewAsyncProducer(addrs, conf)
		return sluice.NewTypedAsync(p, sluice.StringSerializer, sluice.JSONSerializer[order]), err
	},
	"sarama, sync": func(addrs []string, conf *sarama.Config) (*typedOrders, error) {
		p, err := sarama.NewSyncProducer(addrs, conf)
		return sluice.NewTypedSync(p, sluice.StringSerializer, sluice.JSONSerializer[order]), err
	},
	"sarama, async": func(addrs []string, conf *sarama.Config) (*typedOrders, error) {
		p, err := sarama.NewAsyncProducer(addrs, conf)
		return sluice.NewTypedAsync(p, sluice.StringSerializer, sluice.JSONSerializer[order]), err
	},
}

func theirs(name string) bool { return strings.HasPrefix(name, "sarama") }

func newTyped(t *testing.T, name string, cluster *mocks.Cluster, conf *sarama.Config) *typedOrders {
	t.Helper()
	orders, err := typedOver[name](cluster.Brokers(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := orders.Close(); err != nil {
			t.Error(err)
		}
	})
	return orders
}

func TestTypedSendsAllOfAMessage(t *testing.T) {
	for name := range typedOver {
		t.Run(name, func(t *testing.T) {
			cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 4))
			conf := cluster.Config()
			if theirs(name) {
				conf.Producer.Partitioner = sarama.NewManualPartitioner
			}
			orders := newTyped(t, name, cluster, conf)
			at := time.UnixMilli(1_700_000_000_123)
			var outcomes sync.WaitGroup
			outcomes.Add(1)
			err := orders.Produce(t.Context(), "orders", "a", order{"tea"}, func(written sluice.RecordMetadata, err error) {
				defer outcomes.Done()
				if err != nil || written.Topic != "orders" || written.Partition != 3 || written.Offset != 0 {
					t.Errorf("%+v, %v", written, err)
				}
			}, sluice.MessagePartition(3), sluice.MessageHeader("trace", []byte("t1")), sluice.MessageHeader("trace", nil), sluice.MessageTimestamp(at))
			if err != nil {
				t.Fatal(err)
			}
			written, err := orders.Send(t.Context(), "orders", "b", order{"coffee"}, sluice.MessagePartition(3)).Get(t.Context())
			if err != nil || written.Partition != 3 || written.Offset != 1 {
				t.Errorf("%+v, %v", written, err)
			}
			if err := orders.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			outcomes.Wait()

			got := cluster.Messages("orders")
			if len(got) != 2 {
				t.Fatalf("the topic has %d messages", len(got))
			}
			m := got[0]
			if string(m.Key) != "a" || string(m.Value) != `{"what":"tea"}` || !m.Timestamp.Equal(at) || len(m.Headers) != 2 ||
				string(m.Headers[0].Key) != "trace" || string(m.Headers[0].Value) != "t1" || string(m.Headers[1].Key) != "trace" {
				t.Errorf("the first message is %+v", m)
			}
		})
	}
}

func TestTypedPartitionThatIsNotThere(t *testing.T) {
	for name := range typedOver {
		cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 2))
		conf := cluster.Config()
		if theirs(name) {
			conf.Producer.Partitioner = sarama.NewManualPartitioner
		}
		orders := newTyped(t, name, cluster, conf)
		for _, partition := range []int32{-1, 2, 1 << 30} {
			written, err := orders.Send(t.Context(), "orders", "a", order{}, sluice.MessagePartition(partition)).Get(t.Context())
			if !errors.Is(err, sarama.ErrInvalidPartition) || written.Offset != -1 {
				t.Errorf("%s, partition %d: %+v, %v", name, partition, written, err)
			}
		}
	}
}

// A partitioner of a foreign producer does not know of MessagePartition. That is told.
func TestTypedPartitionIsNotIgnoredSilently(t *testing.T) {
	for _, name := range []string{"sarama, sync", "sarama, async"} {
		cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 2))
		orders := newTyped(t, name, cluster, cluster.Config())
		usual, err := orders.Send(t.Context(), "orders", "a", order{}).Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = orders.Send(t.Context(), "orders", "a", order{}, sluice.MessagePartition(1-usual.Partition)).Get(t.Context())
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("was written to partition %d, not to %d", usual.Partition, 1-usual.Partition)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A partition that is named wins over every partitioner, one that fails included.
func TestTypedPartitionWinsOverPartitioner(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 3))
	conf := cluster.Config()
	conf.Producer.Partitioner = func(string) sarama.Partitioner { return refusing{} }
	orders := newTyped(t, "sluice", cluster, conf)
	for partition := range int32(3) {
		written, err := orders.Send(t.Context(), "orders", "a", order{}, sluice.MessagePartition(partition)).Get(t.Context())
		if err != nil || written.Partition != partition {
			t.Errorf("partition %d: %+v, %v", partition, written, err)
		}
	}
	if _, err := orders.Send(t.Context(), "orders", "a", order{}).Get(t.Context()); !errors.Is(err, errRefused) {
		t.Errorf("%v", err)
	}
}

var errRefused = errors.New("refused")

type refusing struct{}

func (refusing) Partition(*sarama.ProducerMessage, int32) (int32, error) { return -1, errRefused }
func (refusing) RequiresConsistency() bool                               { return true }

func TestTypedSerializerFails(t *testing.T) {
	mock := mocks.New(t, nil)
	defer mock.Close()
	good := sluice.Serializer[string](sluice.StringSerializer)
	for name, test := range map[string]struct {
		key, value sluice.Serializer[string]
		want       string
		cause      error
	}{
		"key":      {func(string, string) ([]byte, error) { return nil, io.ErrUnexpectedEOF }, good, "the key, a string", io.ErrUnexpectedEOF},
		"value":    {good, func(string, string) ([]byte, error) { return nil, io.ErrUnexpectedEOF }, "the value, a string", io.ErrUnexpectedEOF},
		"panic":    {good, func(string, string) ([]byte, error) { panic(io.ErrNoProgress) }, "the value, a string", io.ErrNoProgress},
		"panics 2": {good, func(string, string) ([]byte, error) { panic("oh") }, "panicked: oh", nil},
	} {
		typed := sluice.NewTyped(mock, test.key, test.value)
		err := typed.Produce(t.Context(), "orders", "k", "v", func(sluice.RecordMetadata, error) { t.Error("done was called") })
		if err == nil || !strings.Contains(err.Error(), `topic "orders"`) || !strings.Contains(err.Error(), test.want) ||
			test.cause != nil && !errors.Is(err, test.cause) {
			t.Errorf("%s: %v", name, err)
		}
		written, sendErr := typed.Send(t.Context(), "orders", "k", "v").Get(t.Context())
		if sendErr == nil || sendErr.Error() != err.Error() || written.Partition != -1 || written.Offset != -1 {
			t.Errorf("%s: Send said %+v, %v", name, written, sendErr)
		}
	}
	_, err := sluice.NewTyped(mock, sluice.NullSerializer, sluice.JSONSerializer[chan int]).Send(t.Context(), "orders", nil, nil).Get(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the value, a chan int: json: unsupported type") {
		t.Errorf("%v", err)
	}
}

// A sender that does not look at the Future must not commit a transaction that lacks a message.
func TestTypedSerializerFailsTheTransaction(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 1))
	conf := sluice.NewConfig()
	conf.Producer.Transaction.ID = "orders-1"
	p, err := sluice.New(cluster.Brokers(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for name, producer := range map[string]func(sluice.Tx) sluice.MessageProducer{
		"Tx":       func(tx sluice.Tx) sluice.MessageProducer { return tx },
		"Producer": func(sluice.Tx) sluice.MessageProducer { return p },
	} {
		err = p.Transact(t.Context(), func(tx sluice.Tx) error {
			orders := sluice.NewTyped(producer(tx), sluice.StringSerializer, sluice.JSONSerializer[any])
			orders.Send(t.Context(), "orders", "a", "tea")
			orders.Send(t.Context(), "orders", "a", make(chan int))
			if err := errors.Join(orders.Flush(t.Context())); err != nil {
				t.Error(err)
			}
			return nil
		})
		if !sluice.IsTxnAbortable(err) || !strings.Contains(err.Error(), "chan int") {
			t.Errorf("%s: %v", name, err)
		}
	}
	err = p.Transact(t.Context(), func(tx sluice.Tx) error {
		orders := sluice.NewTyped(tx, sluice.StringSerializer, sluice.JSONSerializer[any])
		orders.Send(t.Context(), "orders", "a", "coffee", sluice.MessagePartition(0))
		return orders.Close()
	})
	if got := cluster.Messages("orders"); err != nil || len(got) != 1 || string(got[0].Value) != `"coffee"` {
		t.Errorf("%v, and the topic has %v", err, got)
	}
}

func TestTypedNulls(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 1))
	p, err := sluice.New(cluster.Brokers(), cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	orders := sluice.NewTyped(p, sluice.BytesSerializer, sluice.Nullable(sluice.JSONSerializer[order]))
	for _, key := range [][]byte{nil, {}, {1}} {
		for _, value := range []*order{nil, {}} {
			if _, err := orders.Send(t.Context(), "orders", key, value).Get(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []string
	for _, m := range cluster.Messages("orders") {
		got = append(got, fmt.Sprintf("%#v %q %t", m.Key, m.Value, m.Value == nil))
	}
	want := `[]byte(nil) "" true
[]byte(nil) "{\"what\":\"\"}" false
[]byte{} "" true
[]byte{} "{\"what\":\"\"}" false
[]byte{0x1} "" true
[]byte{0x1} "{\"what\":\"\"}" false`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestSerializers(t *testing.T) {
	check := func(what, want string, got []byte, err error) {
		t.Helper()
		if b, _ := hex.DecodeString(want); err != nil || got == nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %x, %v; want %s", what, got, err, want)
		}
	}
	b, err := sluice.StringSerializer("t", "")
	check("empty string", "", b, err)
	b, err = sluice.StringSerializer("t", "größe")
	check("string", "6772c3b6c39f65", b, err)
	b, err = sluice.Int64Serializer("t", -2)
	check("int64", "fffffffffffffffe", b, err)
	b, err = sluice.Int32Serializer("t", 258)
	check("int32", "00000102", b, err)
	b, err = sluice.Float64Serializer("t", 1.5)
	check("float64", "3ff8000000000000", b, err)
	b, err = sluice.JSONSerializer("t", map[string]int{"a": 1})
	check("JSON", hex.EncodeToString([]byte(`{"a":1}`)), b, err)
	if b, err := sluice.NullSerializer("t", "anything"); b != nil || err != nil {
		t.Errorf("null: %x, %v", b, err)
	}
}

func TestFutureGetEndsWithContext(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 1))
	conf := cluster.Config()
	conf.Producer.Flush.Frequency = time.Hour
	p, err := sluice.New(cluster.Brokers(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	orders := sluice.NewTyped(p, sluice.StringSerializer, sluice.StringSerializer)
	future := orders.Send(t.Context(), "orders", "a", "tea")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if written, err := future.Get(ended); !errors.Is(err, context.Canceled) || written.Offset != -1 {
		t.Errorf("%+v, %v", written, err)
	}
	if err := orders.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-future.Done()
	if written, err := future.Get(ended); err != nil || written.Offset != 0 { // it is there: no need to wait
		t.Errorf("%+v, %v", written, err)
	}
}

func TestTypedAfterClose(t *testing.T) {
	for name := range typedOver {
		cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 1))
		orders := newTyped(t, name, cluster, cluster.Config())
		var futures []*sluice.Future
		for range 100 {
			futures = append(futures, orders.Send(t.Context(), "orders", "a", order{"tea"}))
		}
		if err := orders.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i, f := range futures {
			if written, err := f.Get(t.Context()); err != nil || written.Offset != int64(i) {
				t.Errorf("%s: message %d: %+v, %v", name, i, written, err)
			}
		}
		if _, err := orders.Send(t.Context(), "orders", "a", order{}).Get(t.Context()); !errors.Is(err, sarama.ErrShuttingDown) {
			t.Errorf("%s: after Close: %v", name, err)
		}
	}
}

// TestTypedSendBesideCloseConcurrentSafe has goroutines send until Close refuses them. What each of them sent is in order, and
// each message has one outcome, written or refused.
func TestTypedSendBesideCloseConcurrentSafe(t *testing.T) {
	for name := range typedOver {
		t.Run(name, func(t *testing.T) {
			cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 1))
			orders := newTyped(t, name, cluster, cluster.Config())
			const senders = 8
			futures := make([][]*sluice.Future, senders)
			var begun, wg sync.WaitGroup
			begun.Add(senders)
			for i := range senders {
				wg.Go(func() {
					for n := 0; ; n++ {
						f := orders.Send(t.Context(), "orders", fmt.Sprint(i), order{fmt.Sprint(n)})
						futures[i] = append(futures[i], f)
						if n == 10 {
							begun.Done()
						}
						select {
						case <-f.Done():
							if _, err := f.Get(t.Context()); err != nil && n >= 10 {
								return
							}
						default:
						}
					}
				})
			}
			begun.Wait()
			if err := orders.Close(); err != nil {
				t.Error(err)
			}
			wg.Wait()
			acknowledged := 0
			for i := range senders {
				last, refused := int64(-1), false
				for n, f := range futures[i] {
					written, err := f.Get(t.Context())
					switch {
					case err == nil && (refused || written.Offset <= last):
						t.Errorf("sender %d, message %d: %+v after offset %d, refused %t", i, n, written, last, refused)
					case err == nil:
						last = written.Offset
						acknowledged++
					case errors.Is(err, sarama.ErrShuttingDown):
						refused = true
					default:
						t.Errorf("sender %d, message %d: %v", i, n, err)
					}
				}
			}
			if n := len(cluster.Messages("orders")); n != acknowledged {
				t.Errorf("%d messages were acknowledged, and %d are there", acknowledged, n)
			}
		})
	}
}

// heldSync is a SyncProducer of which a send lasts until release.
type heldSync struct {
	sarama.SyncProducer
	release chan struct{}
	closed  bool
}

func (p *heldSync) SendMessage(msg *sarama.ProducerMessage) (int32, int64, error) {
	<-p.release
	msg.Offset = 7
	return 0, 7, nil
}

func (p *heldSync) Close() error { p.closed = true; return nil }

// TestTypedCloseWaitsForSendMessage is of sarama's SyncProducer, whose SendMessage panics if Close has overtaken it.
func TestTypedCloseWaitsForSendMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := &heldSync{release: make(chan struct{})}
		typed := sluice.NewTypedSync(held, sluice.StringSerializer, sluice.StringSerializer)
		var wg sync.WaitGroup
		wg.Go(func() {
			if written, err := typed.Send(t.Context(), "orders", "a", "tea").Get(t.Context()); err != nil || written.Offset != 7 {
				t.Errorf("%+v, %v", written, err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := typed.Close(); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if held.closed {
			t.Error("closed beside a send")
		}
		close(held.release)
		wg.Wait()
		if !held.closed {
			t.Error("not closed")
		}
	})
}

func TestTypedOfForeignProducersEndsWithContext(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	sync := sluice.NewTypedSync(mocks.NewSyncProducer(t, nil), sluice.StringSerializer, sluice.StringSerializer)
	if _, err := sync.Send(ended, "orders", "a", "tea").Get(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	conf := mocks.NewTestConfig()
	conf.Producer.Return.Successes = true
	mock := mocks.NewAsyncProducer(t, conf).ExpectInputAndFail(sarama.ErrNotEnoughReplicas)
	async := sluice.NewTypedAsync(mock, sluice.StringSerializer, sluice.StringSerializer)
	if _, err := async.Send(t.Context(), "orders", "a", "tea").Get(t.Context()); !errors.Is(err, sarama.ErrNotEnoughReplicas) {
		t.Errorf("%v", err)
	}
	if err := async.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	if err := async.Close(); err != nil {
		t.Error(err)
	}
}

func TestTypedOfNothingPanics(t *testing.T) {
	mock := mocks.New(t, nil)
	defer mock.Close()
	for name, make := range map[string]func(){
		"producer":   func() { sluice.NewTyped(nil, sluice.StringSerializer, sluice.StringSerializer) },
		"sync":       func() { sluice.NewTypedSync(nil, sluice.StringSerializer, sluice.StringSerializer) },
		"async":      func() { sluice.NewTypedAsync(nil, sluice.StringSerializer, sluice.StringSerializer) },
		"serializer": func() { sluice.NewTyped[string, string](mock, nil, sluice.StringSerializer) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			make()
		}()
	}
}
