package sluice_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// startKafka starts a Kafka within this process. A program has the addresses of its own brokers.
func startKafka(topics ...string) *mocks.Cluster {
	opts := []mocks.ClusterOption{mocks.WithBrokers(1)}
	for _, topic := range topics {
		opts = append(opts, mocks.WithTopic(topic, 1))
	}
	cluster, err := mocks.StartCluster(opts...)
	if err != nil {
		log.Fatal(err)
	}
	return cluster
}

// message is a message to the topic "orders".
func message(value string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder(value)}
}

// Send one message and wait until it is written.
func Example() {
	kafka := startKafka("orders") // a Kafka in this process; yours has its own addresses
	defer kafka.Close()

	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	partition, offset, err := producer.SendMessageContext(ctx, &sarama.ProducerMessage{
		Topic: "orders",
		Key:   sarama.StringEncoder("user-7"),
		Value: sarama.StringEncoder("tea"),
	})
	fmt.Println(partition, offset, err)
	// Output: 0 0 <nil>
}

// Every way of sending, in one producer.
func ExampleNew() {
	kafka := startKafka("orders")
	defer kafka.Close()
	config := sluice.NewConfig()
	config.Producer.Return.Successes = true
	producer, err := sluice.New(kafka.Brokers(), config, sluice.WithDeliveryTimeout(30*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	producer.Input() <- message("tea") // as with sarama's AsyncProducer
	fmt.Println("offset", (<-producer.Successes()).Offset)
	_, offset, err := producer.SendMessage(message("coffee")) // as with its SyncProducer
	fmt.Println("offset", offset, err)
	err = producer.Produce(ctx, message("cocoa"), func(msg *sarama.ProducerMessage, err error) {
		fmt.Println("offset", msg.Offset, err)
	})
	if err != nil {
		log.Fatal(err)
	}
	producer.Close() // delivers what was sent
	// Output:
	// offset 0
	// offset 1 <nil>
	// offset 2 <nil>
}

func ExampleNewFromClient() {
	kafka := startKafka("orders")
	defer kafka.Close()
	client, err := sarama.NewClient(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	producer, err := sluice.NewFromClient(client) // closed before the client
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	fmt.Println(producer.SendMessage(message("tea")))
	// Output: 0 0 <nil>
}

func ExampleNewAsyncProducer() {
	kafka := startKafka("orders")
	defer kafka.Close()
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	producer, err := sluice.NewAsyncProducer(kafka.Brokers(), config) // was: sarama.NewAsyncProducer
	if err != nil {
		log.Fatal(err)
	}

	go func() {
		for _, what := range []string{"tea", "coffee"} {
			producer.Input() <- message(what)
		}
		producer.AsyncClose()
	}()
	go func() {
		for failure := range producer.Errors() {
			log.Println("not delivered:", failure)
		}
	}()
	for msg := range producer.Successes() {
		fmt.Println(msg.Topic, msg.Partition, msg.Offset)
	}
	// Output:
	// orders 0 0
	// orders 0 1
}

func ExampleNewAsyncProducerFromClient() {
	kafka := startKafka("orders")
	defer kafka.Close()
	client, err := sarama.NewClient(kafka.Brokers(), sarama.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	producer, err := sluice.NewAsyncProducerFromClient(client)
	if err != nil {
		log.Fatal(err)
	}
	producer.Input() <- message("tea")
	fmt.Println(producer.Close()) // tells what was not delivered
	// Output: <nil>
}

func ExampleNewSyncProducer() {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.NewSyncProducer(kafka.Brokers(), nil) // was: sarama.NewSyncProducer
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()

	partition, offset, err := producer.SendMessage(message("tea"))
	fmt.Println(partition, offset, err)
	// Output: 0 0 <nil>
}

func ExampleNewSyncProducerFromClient() {
	kafka := startKafka("orders")
	defer kafka.Close()
	client, err := sarama.NewClient(kafka.Brokers(), sarama.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	producer, err := sluice.NewSyncProducerFromClient(client)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	fmt.Println(producer.SendMessages([]*sarama.ProducerMessage{message("tea"), message("coffee")}))
	// Output: <nil>
}

// Start from what is recommended, and change what you need.
func ExampleNewConfig() {
	config := sluice.NewConfig()
	config.ClientID = "billing"
	config.Producer.Flush.Frequency = 20 * time.Millisecond // linger: larger batches

	fmt.Println(config.Producer.RequiredAcks == sarama.WaitForAll, config.Producer.Idempotent, config.Producer.Compression)
	fmt.Println(config.Validate())
	// Output:
	// true true lz4
	// <nil>
}

// Sarama's hash is the default of NewConfig, so that keys stay where sarama's producers put them.
func ExampleNewStickyPartitioner() {
	sticky, theirs := sluice.NewStickyPartitioner("orders"), sarama.NewHashPartitioner("orders")
	msg := &sarama.ProducerMessage{Topic: "orders", Key: sarama.StringEncoder("user-7")}
	ours, _ := sticky.Partition(msg, 12)
	hash, _ := theirs.Partition(msg, 12)
	fmt.Println(ours == hash)
	// Output: true
}

// Where Java's programs write to the same topics, or join them by key.
func ExampleNewStickyMurmur2Partitioner() {
	config := sluice.NewConfig()
	config.Producer.Partitioner = sluice.NewStickyMurmur2Partitioner

	partitioner := config.Producer.Partitioner("orders")
	msg := &sarama.ProducerMessage{Topic: "orders", Key: sarama.StringEncoder("user-7")}
	fmt.Println(partitioner.Partition(msg, 12)) // where Java's producer sends it
	// Output: 8 <nil>
}

// A message that may be delivered by another try, and one that can't.
func ExampleIsRetriable() {
	for _, err := range []error{sarama.ErrNotEnoughReplicas, sluice.ErrDeliveryTimeout, sarama.ErrMessageSizeTooLarge} {
		fmt.Println(sluice.IsRetriable(err))
	}
	// Output:
	// true
	// true
	// false
}

// What to do about a transaction that was not committed.
func ExampleIsTxnAbortable() {
	kafka := startKafka("orders")
	defer kafka.Close()
	config := sluice.NewConfig()
	config.Producer.Transaction.ID = "billing-1"
	producer, err := sluice.New(kafka.Brokers(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()

	kafka.FailNext("orders", sarama.ErrInvalidRecord, 1)
	for {
		err := producer.Transact(context.Background(), func(tx sluice.Tx) error {
			return tx.Produce(context.Background(), message("tea"), nil)
		})
		switch {
		case err == nil:
			fmt.Println("committed")
			return
		case sluice.IsTxnFatal(err):
			log.Fatal(err) // close it, and make another producer
		case errors.Is(err, sluice.ErrOutcomeUnknown):
			log.Fatal(err) // it may be committed
		case sluice.IsTxnAbortable(err):
			fmt.Println("aborted; again")
		default:
			log.Fatal(err)
		}
	}
	// Output:
	// aborted; again
	// committed
}

// Another instance with the same transactional id fences this one: only the newest may go on.
func ExampleIsTxnFatal() {
	kafka := startKafka("orders")
	defer kafka.Close()
	config := sluice.NewConfig()
	config.Producer.Transaction.ID = "billing-1"
	first, err := sluice.New(kafka.Brokers(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer first.Close()
	second, err := sluice.New(kafka.Brokers(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer second.Close()

	send := func(tx sluice.Tx) error { return tx.Produce(context.Background(), message("tea"), nil) }
	fmt.Println(sluice.IsTxnFatal(first.Transact(context.Background(), send)))
	fmt.Println(second.Transact(context.Background(), send))
	// Output:
	// true
	// <nil>
}

// Consume, produce, and commit what was consumed, in one transaction.
func ExampleProducer_Transact() {
	kafka := startKafka("wishes", "orders")
	defer kafka.Close()
	config := sluice.NewConfig()
	config.Producer.Transaction.ID = "shop-1"
	producer, err := sluice.New(kafka.Brokers(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()

	ctx := context.Background()
	consumed := &sarama.ConsumerMessage{Topic: "wishes", Partition: 0, Offset: 41, Value: []byte("tea")}
	group := sarama.NewConsumerGroupMetadata("shop") // in a consumer group: sarama.NewConsumerGroupMetadataFromSession
	err = producer.Transact(ctx, func(tx sluice.Tx) error {
		if err := tx.Produce(ctx, message(string(consumed.Value)), nil); err != nil {
			return err
		}
		return tx.AddMessage(consumed, group)
	})
	fmt.Println(err, len(kafka.Messages("orders")), kafka.CommittedOffset("shop", "wishes", 0))
	// Output: <nil> 1 42
}

// The transaction of sarama's methods, with contexts. Offsets are committed by AddOffsets of a Tx, too.
func ExampleTx() {
	kafka := startKafka("wishes", "orders")
	defer kafka.Close()
	config := sluice.NewConfig()
	config.Producer.Transaction.ID = "shop-1"
	producer, err := sluice.New(kafka.Brokers(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()

	err = producer.Transact(context.Background(), func(tx sluice.Tx) error {
		return tx.AddOffsets(map[string][]*sarama.PartitionOffsetMetadata{
			"wishes": {{Partition: 0, Offset: 42}},
		}, sarama.NewConsumerGroupMetadata("shop"))
	})
	fmt.Println(err, kafka.CommittedOffset("shop", "wishes", 0))
	// Output: <nil> 42
}

// By hand, with sarama's methods.
func ExampleProducer_BeginTxn() {
	kafka := startKafka("wishes", "orders")
	defer kafka.Close()
	config := sluice.NewConfig()
	config.Producer.Transaction.ID = "shop-1"
	producer, err := sluice.New(kafka.Brokers(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	ctx := context.Background()
	group := sarama.NewConsumerGroupMetadata("shop")
	offsets := func(offset int64) map[string][]*sarama.PartitionOffsetMetadata {
		return map[string][]*sarama.PartitionOffsetMetadata{"wishes": {{Partition: 0, Offset: offset}}}
	}
	consumed := &sarama.ConsumerMessage{Topic: "wishes", Offset: 2}

	fmt.Println(producer.IsTransactional(), producer.BeginTxn())
	fmt.Println(producer.SendMessage(message("tea")))
	fmt.Println(producer.AddOffsetsToTxnWithGroupMetadata(offsets(1), group))
	fmt.Println(producer.AddOffsetsToTxn(offsets(2), "shop"))
	fmt.Println(producer.AddMessageToTxn(consumed, "shop", nil))
	fmt.Println(producer.AddMessageToTxnWithGroupMetadata(consumed, group, nil))
	fmt.Println(producer.CommitTxn(), kafka.CommittedOffset("shop", "wishes", 0))

	fmt.Println(producer.BeginTxn(), producer.AbortTxn())
	fmt.Println(producer.BeginTxn(), producer.AbortTxnContext(ctx))
	fmt.Println(producer.BeginTxn(), producer.CommitTxnContext(ctx))
	fmt.Println(producer.TxnStatus()&sarama.ProducerTxnFlagReady != 0)
	// Output:
	// true <nil>
	// 0 0 <nil>
	// <nil>
	// <nil>
	// <nil>
	// <nil>
	// <nil> 3
	// <nil> <nil>
	// <nil> <nil>
	// <nil> <nil>
	// true
}

// A whole slice in one channel operation, and its outcomes in one call: the fastest way.
func ExampleProducer_InputBatch() {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig(), sluice.WithDeliveryReport(func(r sluice.DeliveryReport) {
		fmt.Println(r.Topic, r.Partition, r.BaseOffset, len(r.Messages), r.Err)
	}))
	if err != nil {
		log.Fatal(err)
	}
	producer.InputBatch() <- []*sarama.ProducerMessage{message("tea"), message("coffee"), message("cocoa")}
	producer.Close()
	// Output: orders 0 0 3 <nil>
}

// Flush waits for what was sent, without the linger, and leaves the producer open.
func ExampleProducer_Flush() {
	kafka := startKafka("orders")
	defer kafka.Close()
	config := sluice.NewConfig()
	config.Producer.Flush.Frequency = time.Hour
	producer, err := sluice.New(kafka.Brokers(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	for range 100 {
		producer.Input() <- message("tea")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(producer.Flush(ctx), len(kafka.Messages("orders")))
	// Output: <nil> 100
}

// CloseContext gives up what is not delivered when its context ends. Errors tells what that was.
func ExampleProducer_CloseContext() {
	kafka := startKafka() // the topic is not there
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	producer.Input() <- message("tea")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err = producer.CloseContext(ctx)
	failed, _ := errors.AsType[sarama.ProducerErrors](err)
	for _, failure := range failed {
		fmt.Println(failure.Msg.Value, errors.Is(failure, context.DeadlineExceeded))
	}
	// Output: tea true
}

// What is under way, for a gauge.
func ExampleProducer_Buffered() {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	fmt.Println(producer.Buffered())
	// Output: 0 0
}

// Many messages, and exactly those that failed.
func ExampleProducer_SendMessagesContext() {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	large := message(string(make([]byte, 2<<20)))
	err = producer.SendMessagesContext(context.Background(), []*sarama.ProducerMessage{message("tea"), large, message("coffee")})
	failed, _ := errors.AsType[sarama.ProducerErrors](err)
	for _, failure := range failed {
		fmt.Println(failure.Msg == large, errors.Is(failure, sarama.ErrMessageSizeTooLarge))
	}
	fmt.Println(len(kafka.Messages("orders")))
	// Output:
	// true true
	// 2
}

// A program that reads Errors sends what failed again. See docs/recipes.md.
func ExampleProducer_Errors() {
	kafka := startKafka("orders")
	defer kafka.Close()
	kafka.FailNext("orders", sarama.ErrTopicAuthorizationFailed, 1)
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	producer.Input() <- message("tea")
	failure := <-producer.Errors()
	fmt.Println(failure.Msg.Value, errors.Is(failure, sarama.ErrTopicAuthorizationFailed))
	producer.AsyncClose()
	for range producer.Errors() {
	}
	// Output: tea true
}

// newProducer starts a producer with options, sends a message, and closes the producer.
func newProducer(opts ...sluice.Option) error {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig(), opts...)
	if err != nil {
		return err
	}
	defer producer.Close()
	_, _, err = producer.SendMessage(message("tea"))
	return err
}

// Options come after the configuration. One that can't be is named by New.
func ExampleOption() {
	fmt.Println(newProducer(sluice.WithBufferMemory(64<<20), sluice.WithDeliveryTimeout(time.Minute)))
	fmt.Println(newProducer(sluice.WithMaxInFlightPerPartition(6)))
	// Output:
	// <nil>
	// kafka: invalid configuration (WithMaxInFlightPerPartition(6): must be 1 to 5)
}

func ExampleWithBufferMemory() {
	fmt.Println(newProducer(sluice.WithBufferMemory(64 << 20))) // bytes
	// Output: <nil>
}

// The error says why the time was not enough, and that the message may be sent again.
func ExampleWithDeliveryTimeout() {
	kafka := startKafka() // the topic is not there
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig(), sluice.WithDeliveryTimeout(time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	_, _, err = producer.SendMessage(message("tea"))
	fmt.Println(errors.Is(err, sluice.ErrDeliveryTimeout), errors.Is(err, sarama.ErrUnknownTopicOrPartition), sluice.IsRetriable(err))
	// Output: true true true
}

func ExampleWithDeliveryReport() {
	kafka := startKafka("orders")
	defer kafka.Close()
	report := func(r sluice.DeliveryReport) {
		for _, msg := range r.Messages {
			fmt.Println(msg.Value, msg.Offset, r.Err)
		}
	}
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig(), sluice.WithDeliveryReport(report))
	if err != nil {
		log.Fatal(err)
	}
	producer.Input() <- message("tea")
	producer.Close()
	// Output: tea 0 <nil>
}

// A report is one batch's outcome, or that of messages which were refused together.
func ExampleDeliveryReport() {
	undelivered := 0
	report := func(r sluice.DeliveryReport) {
		if r.Err != nil {
			undelivered += len(r.Messages)
		}
	}
	report(sluice.DeliveryReport{Topic: "orders", Messages: []*sarama.ProducerMessage{message("tea")}, Err: sluice.ErrDeliveryTimeout})
	fmt.Println(undelivered)
	// Output: 1
}

func ExampleWithMaxInFlightPerPartition() {
	fmt.Println(newProducer(sluice.WithMaxInFlightPerPartition(1)))
	// Output: <nil>
}

// Azure Event Hubs closes the connection on larger requests.
func ExampleWithMaxRequestBytes() {
	fmt.Println(newProducer(sluice.WithMaxRequestBytes(1_046_528)))
	// Output: <nil>
}

// What happens to the producer goes to the program's own log. Here that is a setting which it should look at.
func ExampleWithLogger() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	kafka := startKafka("orders")
	defer kafka.Close()
	conf := sluice.NewConfig()
	conf.Net.ReadTimeout = 5 * time.Second
	producer, err := sluice.New(kafka.Brokers(), conf, sluice.WithLogger(logger.With("client", "shop")))
	if err != nil {
		log.Fatal(err)
	}
	producer.Close()
	// Output: level=WARN msg="setting doubtful" client=shop setting=Net.ReadTimeout value=5s cause="it is shorter than Producer.Timeout (10s), the time that a broker waits for its replicas"
}

// Below what the load balancer allows.
func ExampleWithConnectionsMaxIdle() {
	fmt.Println(newProducer(sluice.WithConnectionsMaxIdle(3 * time.Minute)))
	// Output: <nil>
}

// For a producer that must have no connection but those for its messages.
func ExampleWithMetricsPush() {
	fmt.Println(newProducer(sluice.WithMetricsPush(false)))
	// Output: <nil>
}

// A name that will be moved to another cluster while the program runs.
func ExampleWithClusterIDCheck() {
	fmt.Println(newProducer(sluice.WithClusterIDCheck(false)))
	// Output: <nil>
}

// For a health check, or whoever asks why nothing arrives.
func ExampleWithStatus() {
	kafka := startKafka() // the topic is not there
	defer kafka.Close()
	var status sluice.Status
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig(), sluice.WithStatus(&status))
	if err != nil {
		log.Fatal(err)
	}
	waiting, stop := context.WithCancel(context.Background())
	defer func() { stop(); producer.CloseContext(waiting) }()
	producer.Produce(waiting, message("tea"), nil)

	var waits []sluice.Wait
	for len(waits) == 0 || waits[0].Err == nil {
		time.Sleep(10 * time.Millisecond)
		waits = status.Waits()
	}
	fmt.Println(waits[0].What, errors.Is(waits[0].Err, sarama.ErrUnknownTopicOrPartition))
	// Output: looking up topic orders true
}

// printing is a Tracer that prints what it hears, and gives each message a header.
type printing struct{}

func (printing) Begin(ctx context.Context, msg *sarama.ProducerMessage) func(int32, int64, error) {
	msg.Headers = append(slices.Clone(msg.Headers), sarama.RecordHeader{Key: []byte("request"), Value: []byte(ctx.Value(requestKey{}).(string))})
	fmt.Println("begins:", msg.Topic)
	return func(partition int32, offset int64, err error) { fmt.Println("ended:", partition, offset, err) }
}

type requestKey struct{}

// A tracer hears of each message twice. For OpenTelemetry there is one in github.com/sluice-kafka/sluice/otel.
func ExampleWithTracer() {
	kafka := startKafka("orders")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig(), sluice.WithTracer(printing{}))
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	ctx := context.WithValue(context.Background(), requestKey{}, "r-7")
	_, _, err = producer.SendMessageContext(ctx, message("tea"))
	fmt.Println("sent:", err)
	// Output:
	// begins: orders
	// ended: 0 0 <nil>
	// sent: <nil>
}

func ExampleTracer() {
	var tracer sluice.Tracer = printing{}
	msg := message("tea")
	end := tracer.Begin(context.WithValue(context.Background(), requestKey{}, "r-7"), msg)
	end(0, 12, nil)
	fmt.Printf("%s: %s\n", msg.Headers[0].Key, msg.Headers[0].Value)
	// Output:
	// begins: orders
	// ended: 0 12 <nil>
	// request: r-7
}

func ExampleWait() {
	fmt.Println(sluice.Wait{What: "waiting for the leader of orders/3", Since: time.Now(), Err: sarama.ErrLeaderNotAvailable})
	// Output: waiting for the leader of orders/3 for 0s: kafka server: In the middle of a leadership election, there is currently no leader for this partition and hence it is unavailable for writes
}

// What failed names its line in the file.
func ExampleAppender_Tag() {
	kafka := startKafka("lines")
	defer kafka.Close()
	producer, err := sluice.New(kafka.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	lines, err := sluice.NewAppender(producer, "lines", sluice.WithAppendReport(func(r sluice.AppendReport) {
		for record := range r.Records() {
			fmt.Printf("line %d, %q: %v\n", record.Tag, record.Value, r.Err)
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
	for i, line := range []string{"first", "second"} {
		lines.Tag(int64(i) + 1)
		if err := lines.Append(nil, []byte(line)); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// line 1, "first": <nil>
	// line 2, "second": <nil>
}
