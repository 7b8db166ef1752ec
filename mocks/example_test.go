package mocks_test

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
	"github.com/sluice-kafka/sluice/mocks"
)

// printer stands in for the *testing.T of a real test.
type printer struct{}

func (printer) Errorf(format string, args ...any) { fmt.Printf("test fails: "+format+"\n", args...) }

func ExampleNewAsyncProducer() {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	mock := mocks.NewAsyncProducer(printer{}, config).
		ExpectInputWithCheckerFunctionAndSucceed(func(value []byte) error {
			if len(value) == 0 {
				return errors.New("the order is empty")
			}
			return nil
		}).
		ExpectInputAndFail(sarama.ErrOutOfBrokers).
		ExpectInputAndSucceed()

	var producer sarama.AsyncProducer = mock // what the program under test takes
	producer.Input() <- &sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder("tea")}
	producer.Input() <- &sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder("coffee")}

	fmt.Println("delivered at offset", (<-producer.Successes()).Offset)
	fmt.Println("failed:", errors.Is((<-producer.Errors()).Err, sarama.ErrOutOfBrokers))
	producer.Close()
	// Output:
	// delivered at offset 1
	// failed: true
	// test fails: mock producer closed with 1 expectations that no message came for
}

func ExampleNewSyncProducer() {
	mock := mocks.NewSyncProducer(printer{}, nil).
		ExpectSendMessageAndSucceed().
		ExpectSendMessageAndFail(sarama.ErrOutOfBrokers)

	var producer sarama.SyncProducer = mock // what the program under test takes
	_, offset, err := producer.SendMessage(&sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder("tea")})
	fmt.Println(offset, err)
	_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder("coffee")})
	fmt.Println(errors.Is(err, sarama.ErrOutOfBrokers))
	_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder("cocoa")})
	fmt.Println(errors.Is(err, mocks.ErrOutOfExpectations))
	producer.Close()
	// Output:
	// 1 <nil>
	// true
	// test fails: mock producer got 1 messages, and has 0 expectations left
	// true
}
