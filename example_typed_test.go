package sluice_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// printer stands in for the *testing.T of a real test.
type printer struct{}

func (printer) Errorf(format string, args ...any) { fmt.Printf("test fails: "+format+"\n", args...) }

type Order struct {
	Item  string
	Count int
}

// As in Java: send returns a future.
func ExampleNewTyped() {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	orders := sluice.NewTyped(producer, sluice.StringSerializer, sluice.JSONSerializer[Order])
	defer orders.Close() // and the producer with it

	ctx := context.Background()
	written, err := orders.Send(ctx, "orders", "user-7", Order{"tea", 2}).Get(ctx)
	fmt.Println(written.Partition, written.Offset, err)
	for _, m := range kafka.Messages("orders") {
		fmt.Printf("%s: %s\n", m.Key, m.Value)
	}
	// Output:
	// 0 0 <nil>
	// user-7: {"Item":"tea","Count":2}
}

// As in Python: produce takes a callback, flush waits.
func ExampleTyped_Produce() {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	orders := sluice.NewTyped(producer, sluice.StringSerializer, sluice.JSONSerializer[Order])
	ctx := context.Background()
	err = orders.Produce(ctx, "orders", "user-7", Order{"tea", 2}, func(written sluice.RecordMetadata, err error) {
		fmt.Println("delivered:", written.Offset, err)
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := orders.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	orders.Close()
	// Output: delivered: 0 <nil>
}

// What Java's ProducerRecord has besides: partition, timestamp, headers.
func ExampleTyped_Send() {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	orders := sluice.NewTyped(producer, sluice.Int64Serializer, sluice.StringSerializer)
	ctx := context.Background()
	orders.Send(ctx, "orders", 7, "tea",
		sluice.MessagePartition(0),
		sluice.MessageHeader("trace", []byte("4711")),
		sluice.MessageTimestamp(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	if err := orders.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	for _, m := range kafka.Messages("orders") {
		fmt.Printf("%x %s %s=%s %v\n", m.Key, m.Value, m.Headers[0].Key, m.Headers[0].Value, m.Timestamp.UTC().Year())
	}
	// Output: 0000000000000007 tea trace=4711 2026
}

// A program that has a sarama.SyncProducer, as a test with a mock.
func ExampleNewTypedSync() {
	mock := mocks.NewSyncProducer(printer{}, nil).ExpectSendMessageAndSucceed()
	orders := sluice.NewTypedSync(mock, sluice.StringSerializer, sluice.StringSerializer)
	ctx := context.Background()
	written, err := orders.Send(ctx, "orders", "user-7", "tea").Get(ctx)
	fmt.Println(written.Topic, written.Offset, err)
	orders.Close()
	// Output: orders 1 <nil>
}

// A program that has a sarama.AsyncProducer: the Typed reads Successes and Errors.
func ExampleNewTypedAsync() {
	config := mocks.NewTestConfig()
	config.Producer.Return.Successes = true
	mock := mocks.NewAsyncProducer(printer{}, config).ExpectInputAndFail(sarama.ErrNotEnoughReplicas)
	orders := sluice.NewTypedAsync(mock, sluice.StringSerializer, sluice.StringSerializer)
	ctx := context.Background()
	_, err := orders.Send(ctx, "orders", "user-7", "tea").Get(ctx)
	fmt.Println(errors.Is(err, sarama.ErrNotEnoughReplicas))
	orders.Close()
	// Output: true
}

// A typed producer of a transaction.
func ExampleMessageProducer() {
	mock := mocks.New(printer{}, nil).ExpectAndSucceed()
	var producer sluice.MessageProducer = mock // or a *sluice.Producer, or the Tx of a Transact
	orders := sluice.NewTyped(producer, sluice.StringSerializer, sluice.StringSerializer)
	written, err := orders.Send(context.Background(), "orders", "user-7", "tea", sluice.MessagePartition(5)).Get(context.Background())
	fmt.Println(written.Partition, err)
	orders.Close()
	// Output: 5 <nil>
}

func ExampleTyped() {
	mock := mocks.New(printer{}, nil).ExpectAndSucceed()
	orders := sluice.NewTyped(mock, sluice.StringSerializer, sluice.JSONSerializer[Order])
	fmt.Printf("%T\n", orders)
	orders.Send(context.Background(), "orders", "user-7", Order{"tea", 2})
	orders.Close()
	// Output: *sluice.Typed[string,github.com/sluice-kafka/sluice_test.Order]
}

func ExampleFuture() {
	mock := mocks.New(printer{}, nil).ExpectAndSucceed()
	orders := sluice.NewTyped(mock, sluice.StringSerializer, sluice.StringSerializer)
	future := orders.Send(context.Background(), "orders", "user-7", "tea")
	select { // beside other channels
	case <-future.Done():
		written, err := future.Get(context.Background())
		fmt.Println(written.Offset, err)
	case <-time.After(10 * time.Second):
		fmt.Println("not yet")
	}
	orders.Close()
	// Output: 1 <nil>
}

func ExampleRecordMetadata() {
	done := func(written sluice.RecordMetadata, err error) {
		fmt.Printf("%s/%d/%d\n", written.Topic, written.Partition, written.Offset)
	}
	done(sluice.RecordMetadata{Topic: "orders", Partition: 3, Offset: 41}, nil)
	// Output: orders/3/41
}

// An option of your own.
func ExampleMessageOption() {
	traced := func(ctx context.Context) sluice.MessageOption {
		return func(msg *sarama.ProducerMessage) {
			msg.Headers = append(msg.Headers, sarama.RecordHeader{Key: []byte("trace"), Value: []byte("4711")})
		}
	}
	mock := mocks.New(printer{}, nil).ExpectAndSucceed(func(msg *sarama.ProducerMessage) error {
		fmt.Printf("%s\n", msg.Headers[0].Value)
		return nil
	})
	orders := sluice.NewTyped(mock, sluice.StringSerializer, sluice.StringSerializer)
	ctx := context.Background()
	orders.Send(ctx, "orders", "user-7", "tea", traced(ctx))
	orders.Close()
	// Output: 4711
}

// option prints what an option makes of a message.
func option(o sluice.MessageOption) *sarama.ProducerMessage {
	msg := &sarama.ProducerMessage{}
	o(msg)
	return msg
}

func ExampleMessagePartition() {
	fmt.Println(option(sluice.MessagePartition(3)).Partition)
	// Output: 3
}

func ExampleMessageHeader() {
	fmt.Printf("%s\n", option(sluice.MessageHeader("trace", []byte("4711"))).Headers)
	// Output: [{trace 4711}]
}

func ExampleMessageTimestamp() {
	fmt.Println(option(sluice.MessageTimestamp(time.Unix(0, 0))).Timestamp.UTC())
	// Output: 1970-01-01 00:00:00 +0000 UTC
}

// A serializer of your own is a function. Its error names topic and type.
func ExampleSerializer() {
	minutes := func(topic string, d time.Duration) ([]byte, error) {
		if d < 0 {
			return nil, errors.New("a negative duration")
		}
		return fmt.Appendf(nil, "%d", int(d.Minutes())), nil
	}
	mock := mocks.New(printer{}, nil)
	waits := sluice.NewTyped(mock, sluice.StringSerializer, minutes)
	_, err := waits.Send(context.Background(), "waits", "user-7", -time.Second).Get(context.Background())
	fmt.Println(err)
	waits.Close()
	// Output: sluice: a message to topic "waits": serializing the value, a time.Duration: a negative duration
}

func ExampleStringSerializer() {
	b, err := sluice.StringSerializer("orders", "tea")
	fmt.Printf("%q %v\n", b, err)
	// Output: "tea" <nil>
}

func ExampleBytesSerializer() {
	b, err := sluice.BytesSerializer("orders", []byte{1, 2})
	fmt.Println(b, err)
	// Output: [1 2] <nil>
}

func ExampleInt64Serializer() {
	b, err := sluice.Int64Serializer("orders", 258)
	fmt.Println(b, err)
	// Output: [0 0 0 0 0 0 1 2] <nil>
}

func ExampleInt32Serializer() {
	b, err := sluice.Int32Serializer("orders", 258)
	fmt.Println(b, err)
	// Output: [0 0 1 2] <nil>
}

func ExampleFloat64Serializer() {
	b, err := sluice.Float64Serializer("orders", 1.5)
	fmt.Printf("%x %v\n", b, err)
	// Output: 3ff8000000000000 <nil>
}

func ExampleJSONSerializer() {
	b, err := sluice.JSONSerializer("orders", Order{"tea", 2})
	fmt.Printf("%s %v\n", b, err)
	// Output: {"Item":"tea","Count":2} <nil>
}

// Messages without a key.
func ExampleNullSerializer() {
	mock := mocks.New(printer{}, nil).ExpectAndSucceed(func(msg *sarama.ProducerMessage) error {
		fmt.Println(msg.Key, msg.Value)
		return nil
	})
	lines := sluice.NewTyped(mock, sluice.NullSerializer, sluice.StringSerializer)
	lines.Send(context.Background(), "lines", nil, "a line")
	lines.Close()
	// Output: <nil> [97 32 108 105 110 101]
}

// A nil pointer is a tombstone: a compacted topic forgets the key.
func ExampleNullable() {
	serializer := sluice.Nullable(sluice.JSONSerializer[Order])
	order, _ := serializer("orders", &Order{"tea", 2})
	tombstone, _ := serializer("orders", nil)
	fmt.Printf("%s %v\n", order, tombstone == nil)
	// Output: {"Item":"tea","Count":2} true
}
