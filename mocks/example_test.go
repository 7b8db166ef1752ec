package mocks_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/mocks"
)

// printer stands in for the *testing.T of a real test.
type printer struct{}

func (printer) Errorf(format string, args ...any) { fmt.Printf("test fails: "+format+"\n", args...) }

func order(what string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder(what)}
}

// The program says which methods it uses. *sluice.Producer has them, and so has the mock.
func ExampleNew() {
	type producer interface {
		Produce(context.Context, *sarama.ProducerMessage, func(*sarama.ProducerMessage, error)) error
		SendMessage(*sarama.ProducerMessage) (partition int32, offset int64, err error)
		Flush(context.Context) error
		Close() error
	}
	program := func(p producer) {
		p.Produce(context.Background(), order("tea"), func(msg *sarama.ProducerMessage, err error) {
			fmt.Println("tea:", msg.Offset, err)
		})
		_, _, err := p.SendMessage(order("coffee"))
		fmt.Println("coffee:", err)
		p.Close()
	}

	program(mocks.New(printer{}, nil).
		ExpectAndSucceed().
		ExpectAndFail(sluice.ErrDeliveryTimeout).
		ExpectAndSucceed())
	// Unordered output:
	// tea: 1 <nil>
	// coffee: sluice: delivery timeout
	// test fails: Expected to exhaust all expectations, but 1 are left.
}

func ExampleCheckValue() {
	notEmpty := mocks.CheckValue(func(value []byte) error {
		if len(value) == 0 {
			return errors.New("the order is empty")
		}
		return nil
	})
	mock := mocks.New(printer{}, nil).ExpectAndSucceed(notEmpty).ExpectAndSucceed(notEmpty)
	fmt.Println(mock.SendMessages([]*sarama.ProducerMessage{order("tea"), order("")}))
	mock.Close()
	// Output:
	// test fails: Check function returned an error: the order is empty
	// kafka: Failed to deliver 1 messages.
}

func ExampleNewAsyncProducer() {
	config := mocks.NewTestConfig()
	config.Producer.Return.Successes = true
	mock := mocks.NewAsyncProducer(printer{}, config).
		ExpectInputAndSucceed().
		ExpectInputAndFail(sarama.ErrOutOfBrokers).
		ExpectInputAndSucceed()

	var producer sarama.AsyncProducer = mock // what the program under test takes
	producer.Input() <- order("tea")
	producer.Input() <- order("coffee")
	fmt.Println("delivered at offset", (<-producer.Successes()).Offset)
	fmt.Println("failed:", (<-producer.Errors()).Err == sarama.ErrOutOfBrokers)
	producer.Close()
	// Output:
	// delivered at offset 1
	// failed: true
	// test fails: Expected to exhaust all expectations, but 1 are left.
}

func ExampleNewSyncProducer() {
	mock := mocks.NewSyncProducer(printer{}, nil).
		ExpectSendMessageAndSucceed().
		ExpectSendMessageAndFail(sarama.ErrOutOfBrokers)

	var producer sarama.SyncProducer = mock // what the program under test takes
	_, offset, err := producer.SendMessage(order("tea"))
	fmt.Println(offset, err)
	_, _, err = producer.SendMessage(order("coffee"))
	fmt.Println(err == sarama.ErrOutOfBrokers)
	_, _, err = producer.SendMessage(order("cocoa"))
	fmt.Println(err)
	producer.Close()
	// Output:
	// 1 <nil>
	// true
	// test fails: No more expectation set on this mock producer to handle the input message.
	// no more expectations set on mock
}

func ExampleNewTopicConfig() {
	topics := mocks.NewTopicConfig()
	topics.SetPartitions(map[string]int32{"orders": 1})
	mock := mocks.NewSyncProducer(printer{}, nil).ExpectSendMessageAndSucceed()
	mock.TopicConfig = topics // several mocks may share it
	fmt.Println(mock.SendMessage(order("tea")))
	// Output: 0 1 <nil>
}

func ExampleNewConsumer() {
	mock := mocks.NewConsumer(printer{}, nil)
	mock.ExpectConsumePartition("orders", 0, mocks.AnyOffset).
		YieldMessage(&sarama.ConsumerMessage{Value: []byte("tea")})

	var consumer sarama.Consumer = mock // what the program under test takes
	orders, err := consumer.ConsumePartition("orders", 0, sarama.OffsetOldest)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", (<-orders.Messages()).Value)
	consumer.Close()
	// Output: tea
}

// A program together with the real producer.
func TestExampleOfACluster(t *testing.T) {
	cluster := mocks.NewCluster(t, mocks.WithBrokers(1), mocks.WithTopic("orders", 4), mocks.WithAutoCreateTopics(2))
	p, err := sluice.NewSyncProducer(cluster.Brokers(), cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() }) // before the cluster

	cluster.FailNext("orders", sarama.ErrNotLeaderForPartition, 1)
	if _, _, err := p.SendMessage(order("tea")); err != nil {
		t.Error(err)
	}
	if got := cluster.Messages("orders"); len(got) != 1 || string(got[0].Value) != "tea" {
		t.Errorf("the topic has %v", got)
	}
}

// A program that consumes, produces, and commits what it has consumed in the same transaction, tested with a mock whose first
// transaction fails.
func ExampleProducer_Transact() {
	type producer interface {
		Transact(ctx context.Context, fn func(tx sluice.Tx) error) error
	}
	program := func(p producer, consumed *sarama.ConsumerMessage, group *sarama.ConsumerGroupMetadata) {
		for {
			err := p.Transact(context.Background(), func(tx sluice.Tx) error {
				if err := tx.Produce(context.Background(), order(string(consumed.Value)), nil); err != nil {
					return err
				}
				return tx.AddMessage(consumed, group)
			})
			if !sluice.IsTxnAbortable(err) {
				fmt.Println("done:", err)
				return
			}
		}
	}

	config := sluice.NewConfig()
	config.Producer.Transaction.ID = "program-1"
	mock := mocks.New(printer{}, config).
		ExpectAndFail(sarama.ErrNotEnoughReplicas).
		ExpectAndSucceed()
	consumed := &sarama.ConsumerMessage{Topic: "wishes", Partition: 3, Offset: 41, Value: []byte("tea")}
	program(mock, consumed, sarama.NewConsumerGroupMetadata("program"))
	for _, txn := range mock.Transactions() {
		fmt.Println("committed:", txn.Committed, "aborted:", txn.Aborted)
	}
	fmt.Println("offset:", mock.CommittedOffset("program", "wishes", 3))
	mock.Close()
	// Output:
	// done: <nil>
	// committed: false aborted: true
	// committed: true aborted: false
	// offset: 42
}

// A program that does not hear of its commit asks again: it is not committed twice.
func ExampleProducer_ExpectCommitTxnAndFail() {
	config := sluice.NewConfig()
	config.Producer.Transaction.ID = "program-1"
	mock := mocks.New(printer{}, config).ExpectCommitTxnAndFail(sluice.ErrOutcomeUnknown)
	mock.BeginTxn()
	err := mock.CommitTxn()
	for errors.Is(err, sluice.ErrOutcomeUnknown) {
		fmt.Println(err)
		err = mock.CommitTxn()
	}
	fmt.Println(err, len(mock.Transactions()), mock.Transactions()[0].Committed)
	mock.Close()
	// Output:
	// sluice: the message may have been written
	// <nil> 1 true
}

// A transactional program together with the real producer, while much goes wrong.
func TestExampleOfAClustersTransactions(t *testing.T) {
	for _, version := range []int{1, 2} {
		cluster := mocks.NewCluster(t, mocks.WithTopic("orders", 1), mocks.WithTransactionVersion(version))
		config := cluster.Config()
		config.Producer.Transaction.ID = "program-1"
		config.Producer.Idempotent = true
		config.Producer.RequiredAcks = sarama.WaitForAll
		config.Net.MaxOpenRequests = 1
		p, err := sluice.New(cluster.Brokers(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() }) // before the cluster

		cluster.DelayTxnMarkers(2)
		cluster.FailNextTxn(mocks.TxnOffsetCommit, sarama.ErrOffsetsLoadInProgress, 1)
		cluster.LoseNextTxn(mocks.EndTxn, 1)
		for i, what := range []string{"tea", "coffee"} {
			err := p.Transact(t.Context(), func(tx sluice.Tx) error {
				if err := tx.Produce(t.Context(), order(what), nil); err != nil {
					return err
				}
				consumed := &sarama.ConsumerMessage{Topic: "orders", Offset: int64(i)}
				return tx.AddMessage(consumed, sarama.NewConsumerGroupMetadata("program"))
			})
			if err != nil {
				t.Error(err)
			}
			cluster.MoveCoordinator("program-1")
		}
		if got := values(cluster, "orders"); !slices.Equal(got, []string{"0:tea", "0:coffee"}) {
			t.Errorf("version %d: the topic has %v", version, got)
		}
		if offset, open := cluster.CommittedOffset("program", "orders", 0), cluster.OpenTransactions(); offset != 2 || len(open) > 0 {
			t.Errorf("version %d: offset %d, open %v", version, offset, open)
		}
	}
}
