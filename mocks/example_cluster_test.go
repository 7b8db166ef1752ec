package mocks_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// aTest stands in for the *testing.T of a real test.
type aTest struct {
	testing.TB
	cleanups []func()
}

func (t *aTest) Helper()          {}
func (t *aTest) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }
func (t *aTest) Fatalf(format string, args ...any) {
	panic("test fails: " + fmt.Sprintf(format, args...))
}

func (t *aTest) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// A program together with the real producer, in a test.
func ExampleNewCluster() {
	t := &aTest{} // in a test: its *testing.T
	defer t.end()

	cluster := mocks.NewCluster(t, mocks.WithTopic("orders", 4))
	producer, err := sluice.NewSyncProducer(cluster.Brokers(), cluster.Config())
	if err != nil {
		log.Fatal(err)
	}
	t.Cleanup(func() { producer.Close() }) // before the cluster

	cluster.FailNext("orders", sarama.ErrNotEnoughReplicas, 2) // tried again: the program sees nothing of it
	_, _, err = producer.SendMessage(order("tea"))
	fmt.Println(err)
	for _, m := range cluster.Messages("orders") {
		fmt.Printf("%s\n", m.Value)
	}
	// Output:
	// <nil>
	// tea
}

// Where there is no test: a TestMain, an example, a program that is to be tried without a Kafka.
func ExampleStartCluster() {
	cluster, err := mocks.StartCluster(mocks.WithBrokers(1), mocks.WithAutoCreateTopics(1))
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	producer, err := sluice.New(cluster.Brokers(), sluice.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	fmt.Println(producer.SendMessage(order("tea")))
	// Output: 0 0 <nil>
}

// start starts a cluster, and a producer of it.
func start(config *sarama.Config, opts ...mocks.ClusterOption) (*mocks.Cluster, *sluice.Producer) {
	cluster, err := mocks.StartCluster(opts...)
	if err != nil {
		log.Fatal(err)
	}
	producer, err := sluice.New(cluster.Brokers(), config)
	if err != nil {
		log.Fatal(err)
	}
	return cluster, producer
}

func ExampleWithBrokers() {
	cluster, producer := start(nil, mocks.WithBrokers(5))
	defer cluster.Close()
	defer producer.Close()
	fmt.Println(len(cluster.Brokers()))
	// Output: 5
}

func ExampleWithTopic() {
	cluster, producer := start(nil, mocks.WithTopic("orders", 4))
	defer cluster.Close()
	defer producer.Close()
	_, _, err := producer.SendMessage(order("tea"))
	fmt.Println(err, len(cluster.Messages("orders")))
	// Output: <nil> 1
}

func ExampleWithAutoCreateTopics() {
	cluster, producer := start(nil, mocks.WithAutoCreateTopics(2))
	defer cluster.Close()
	defer producer.Close()
	_, _, err := producer.SendMessage(order("tea")) // creates the topic
	fmt.Println(err, len(cluster.Messages("orders")))
	// Output: <nil> 1
}

// A leader that moves while the program sends.
func ExampleCluster_MoveLeader() {
	cluster, producer := start(nil, mocks.WithBrokers(3))
	defer cluster.Close()
	defer producer.Close()
	cluster.CreateTopic("orders", 1)
	for range 3 {
		cluster.MoveLeader("orders", 0, (cluster.Leader("orders", 0)+1)%3)
		fmt.Println(producer.SendMessage(order("tea")))
	}
	// Output:
	// 0 0 <nil>
	// 0 1 <nil>
	// 0 2 <nil>
}

// transactionalConfig is a configuration for transactions.
func transactionalConfig() *sarama.Config {
	config := sluice.NewConfig()
	config.Producer.Transaction.ID = "program-1"
	return config
}

// Transactions of version 1, as older clusters have them.
func ExampleWithTransactionVersion() {
	cluster, producer := start(transactionalConfig(), mocks.WithTopic("orders", 1), mocks.WithTransactionVersion(1))
	defer cluster.Close()
	defer producer.Close()
	fmt.Println(producer.Transact(context.Background(), func(tx sluice.Tx) error {
		return tx.Produce(context.Background(), order("tea"), nil)
	}))
	// Output: <nil>
}

// The requests of a transaction fail, their answers get lost, markers are late, and the coordinator moves.
func ExampleTxnRequest() {
	cluster, producer := start(transactionalConfig(), mocks.WithBrokers(3), mocks.WithTopic("orders", 1))
	defer cluster.Close()
	defer producer.Close()
	cluster.DelayTxnMarkers(2)
	cluster.FailNextTxn(mocks.TxnOffsetCommit, sarama.ErrOffsetsLoadInProgress, 1)
	cluster.LoseNextTxn(mocks.EndTxn, 1)
	for i := range 2 {
		err := producer.Transact(context.Background(), func(tx sluice.Tx) error {
			consumed := &sarama.ConsumerMessage{Topic: "orders", Offset: int64(i)}
			return tx.AddMessage(consumed, sarama.NewConsumerGroupMetadata("program"))
		})
		fmt.Println(mocks.TxnOffsetCommit, err)
		cluster.MoveCoordinator("program-1")
	}
	fmt.Println(cluster.CommittedOffset("program", "orders", 0), cluster.OpenTransactions())
	// Output:
	// TxnOffsetCommit <nil>
	// TxnOffsetCommit <nil>
	// 2 []
}

// All of the mock's ways in, which are those of *sluice.Producer.
func ExampleProducer() {
	config := mocks.NewTestConfig()
	config.Producer.Return.Successes = true
	mock := mocks.New(printer{}, config)
	mock.SetDefaultPartitions(1)
	mock.SetPartitions(map[string]int32{"orders": 1})
	for range 5 {
		mock.ExpectAndSucceed()
	}
	ctx := context.Background()

	mock.InputBatch() <- []*sarama.ProducerMessage{order("tea"), order("coffee")}
	fmt.Println((<-mock.Successes()).Offset, (<-mock.Successes()).Offset)
	fmt.Println(mock.SendMessageContext(ctx, order("cocoa")))
	fmt.Println(mock.SendMessagesContext(ctx, []*sarama.ProducerMessage{order("milk"), order("water")}))
	fmt.Println(mock.Flush(ctx))
	fmt.Println(mock.Buffered())
	fmt.Println(mock.Stats().Records.Acknowledged.Records)
	mock.AsyncClose()
	fmt.Println(mock.CloseContext(ctx))
	// Output:
	// 1 2
	// 0 3 <nil>
	// <nil>
	// <nil>
	// 0 0
	// 5
	// <nil>
}

// What became of transactions, messages and offsets.
func ExampleTransaction() {
	mock := mocks.New(printer{}, transactionalConfig()).ExpectAndSucceed().ExpectAbortTxnAndFail(sarama.ErrRequestTimedOut)
	mock.SetDefaultPartitions(1)
	ctx := context.Background()
	group := sarama.NewConsumerGroupMetadata("shop")
	offsets := map[string][]*sarama.PartitionOffsetMetadata{"wishes": {{Partition: 0, Offset: 41}}}
	consumed := &sarama.ConsumerMessage{Topic: "wishes", Offset: 41}

	fmt.Println(mock.IsTransactional(), mock.BeginTxn())
	fmt.Println(mock.SendMessage(order("tea")))
	fmt.Println(mock.AddOffsetsToTxn(offsets, "shop"), mock.AddOffsetsToTxnWithGroupMetadata(offsets, group))
	fmt.Println(mock.AddMessageToTxn(consumed, "shop", nil), mock.AddMessageToTxnWithGroupMetadata(consumed, group, nil))
	fmt.Println(mock.CommitTxnContext(ctx))
	fmt.Println(mock.BeginTxn(), mock.AbortTxn()) // the first one fails
	fmt.Println(mock.AbortTxnContext(ctx), mock.TxnStatus()&sarama.ProducerTxnFlagReady != 0)

	first := mock.Transactions()[0]
	fmt.Println(first.Committed, first.Aborted, first.Offsets[0].Group.GroupID, first.Offsets[0].Offsets["wishes"][0].Offset)
	mock.Close()
	// Output:
	// true <nil>
	// 0 1 <nil>
	// <nil> <nil>
	// <nil> <nil>
	// <nil>
	// <nil> kafka server: Request exceeded the user-specified time limit in the request
	// <nil> true
	// true false shop 41
}

// What was added to a transaction by one call.
func ExampleTxnOffsets() {
	mock := mocks.New(printer{}, transactionalConfig())
	mock.BeginTxn()
	mock.AddMessageToTxn(&sarama.ConsumerMessage{Topic: "wishes", Partition: 3, Offset: 41}, "shop", nil)
	mock.CommitTxn()
	fmt.Println(mock.Transactions()[0].Offsets[0].Offsets["wishes"][3].Offset)
	mock.Close()
	// Output: 42
}

// It suits mocks only: a real producer refuses so old a version.
func ExampleNewTestConfig() {
	fmt.Println(mocks.NewTestConfig().Producer.Retry.Backoff)
	// Output: 0s
}

// It is what a mock of a consumer returns for a partition.
func ExamplePartitionConsumer() {
	mock := mocks.NewConsumer(printer{}, nil)
	var partition *mocks.PartitionConsumer = mock.ExpectConsumePartition("orders", 0, mocks.AnyOffset)
	partition.YieldMessage(&sarama.ConsumerMessage{Value: []byte("tea")}).ExpectMessagesDrainedOnClose()

	orders, err := mock.ConsumePartition("orders", 0, sarama.OffsetNewest)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", (<-orders.Messages()).Value)
	mock.Close()
	// Output: tea
}
